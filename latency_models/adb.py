"""An Android phone: LiteRT's or TensorFlow's `benchmark_model` runs there, started through `adb`.

What the phone computes cannot be checked: the tool feeds random inputs and gives no output back.
"""

import contextlib
import dataclasses
import hashlib
import re
import shlex
import signal
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from latency_models.adb_program import Phone, find_phone, last_line
from latency_models.benchmark_model_log import BenchmarkLog, parse_flags, parse_log
from latency_models.device import Device, KernelTime, Loaded, Session, installed_version
from latency_models.litert_file import MODEL_FILE, litert_converter
from latency_models.network import Build, Network
from latency_models.timing import Clock

FOLDER = "/data/local/tmp/pocketunet"
_TOOL = f"{FOLDER}/benchmark_model"
_MAX_SECS = 300  # of warming up, and of the runs that count; a run that began is finished
_LIMIT_S = 2.0 * _MAX_SECS + 900.0  # with loading, and a last run of a large network
_WARMUP_S = 0.5  # brings the clock of a phone's processor up
_BUFFER_ENTRIES = 65_536  # a run of SD 1.5 has some 2,000 events
_MEMORY_CHECK_MS = 5
_SEVERE = 3  # of Android's thermal status: the system slows the processor down noticeably
_PROPERTIES = {
    "phone": ("ro.product.model",),
    "android": ("ro.build.version.release",),
    "soc": ("ro.soc.model", "ro.board.platform"),  # the first since Android 12
    "abi": ("ro.product.cpu.abi",),
}
_KNOWN_OPTIONS = ("binary", "threads", "mask", "use_gpu")


@dataclasses.dataclass(frozen=True)
class AdbOptions:
    """How `benchmark_model` is called.

    Attributes:
      binary: Its file on this machine, which is pushed; None where it is on the phone already.
      threads: On the CPU.
      mask: Cores that it may use, as `taskset` takes them: a hexadecimal number; None for all.
      use_gpu: Whether the GPU is to run the network, as far as its delegate can.
    """

    binary: Path | None = None
    threads: int = 1
    mask: str | None = None
    use_gpu: bool = False

    def spelled(self) -> list[str]:
        """Options that differ from the default, the binary's place apart."""
        given = [f"threads={self.threads}"] if self.threads != 1 else []
        given += [f"mask={self.mask}"] if self.mask else []
        return given + (["use_gpu=true"] if self.use_gpu else [])


@dataclasses.dataclass(frozen=True)
class Tool:
    """`benchmark_model` on the phone.

    Attributes:
      digest: First digits of its SHA-256: it prints no version.
      flags: Names of the flags that it knows.
    """

    digest: str
    flags: frozenset[str]

    def accelerator(self, options: AdbOptions) -> list[str]:
        """Flags that say what runs the network."""
        if options.use_gpu:
            return ["--use_gpu=true"]
        # TensorFlow's tool counts the partitions of a delegate that a flag asks for.
        return ["--use_xnnpack=true"] if "use_xnnpack" in self.flags else []

    def profiling(self) -> list[str]:
        """Flags that ask for each operation's time: LiteRT's tool has another than TensorFlow's."""
        if "use_profiler" in self.flags:
            return ["--use_profiler=true"]
        return ["--enable_op_profiling=true", f"--max_profiling_buffer_entries={_BUFFER_ENTRIES}"]


class Adb(Device):
    """A phone. Each call of the tool loads the network anew and gives one number, in wall time.

    The phone's output is not compared with JAX's; the same .tflite file is, on device `litert-cpu`.
    """

    def __init__(self, serial: str | None, options: AdbOptions) -> None:
        """Looks at no phone yet."""
        self._serial, self._options = serial, options
        binary = [f"binary={options.binary}"] if options.binary else []
        self.name = _name([*([serial] if serial else []), *binary, *options.spelled()])
        where = "the GPU" if options.use_gpu else f"{options.threads} CPU thread(s)"
        self.description = f"LiteRT on an Android phone's {where}, float32, through adb and benchmark_model"
        self._converter = litert_converter()
        self._lock = threading.RLock()  # networks are loaded side by side here, and run one at a time there
        self._tool: Tool | None = None

    def absence(self) -> str | None:
        """No adb, no phone or several, one that does not let us in, no `benchmark_model` on it."""
        try:
            phone = find_phone(self._serial)
            if self._options.binary is None and phone.run(f"ls {_TOOL}")[0]:
                return f"phone {phone.serial} has no {_TOOL}; name the file to push as binary=PATH"
        except ValueError as error:
            return str(error)
        return None

    def load(self, network: Network, build: Build, folder: Path) -> "AdbSession":
        """Converts, pushes, and runs once."""
        self._converter.convert(network, build, folder)
        phone = find_phone(self._serial)
        with self._lock:
            return AdbSession(self, phone, folder / MODEL_FILE, f"{FOLDER}/{network.key}-{uuid.uuid4().hex[:8]}.tflite")

    def fingerprint(self) -> dict[str, str]:
        """Phone, its system and governor; the tool, its flags and threads; who converted."""
        phone = find_phone(self._serial)
        with self._lock:
            tool = self.tool(phone)
        return {
            "device": _name([phone.serial, *self._options.spelled()]),
            "threads": str(self._options.threads),
            "dtype": "float32, float16 arithmetic allowed" if self._options.use_gpu else "float32",
            "clock": "wall time, median of the runs of one call",
            "benchmark_model": tool.digest,
            "command": shlex.join(self._command(tool, [])),
            **_properties(phone),
            "governor": _governors(phone),
            **{package: installed_version(package) for package in ("litert-converter", "jax")},
        }

    def tool(self, phone: Phone) -> Tool:
        """The tool on the phone, pushed first where its file was named and the phone has another.

        Raises:
          ValueError: It is not there, or does not start.
        """
        if self._tool is None:
            phone.shell(f"mkdir -p {FOLDER}")
            digest = _digest_there(phone)
            if self._options.binary is not None and _digest_here(self._options.binary) != digest:
                phone.push(self._options.binary, _TOOL)
                phone.shell(f"chmod 755 {_TOOL}")
                digest = _digest_there(phone)
            if digest is None:
                raise ValueError(f"phone {phone.serial} has no {_TOOL}; name the file to push as binary=PATH")
            code, usage = phone.run(f"{_TOOL} --help")
            if not (flags := parse_flags(usage)):
                raise ValueError(
                    f"{_TOOL} does not start on phone {phone.serial} ({_ending(code)}): {last_line(usage)}; "
                    f"push a build for {_properties(phone)['abi']}"
                )
            self._tool = Tool(digest[:16], flags)
        return self._tool

    def benchmark(self, phone: Phone, remote: str, *, count: int, warmup_s: float, extra: Sequence[str]) -> BenchmarkLog:
        """One call of the tool.

        Raises:
          ValueError: It refuses the network or a flag, crashes, does not end in time, or left the GPU aside.
        """
        with self._lock:
            tool = self.tool(phone)
            runs = [f"--graph={remote}", f"--num_runs={count}", f"--warmup_min_secs={warmup_s}", *extra]
            code, output = phone.run(shlex.join(self._command(tool, runs)), limit_s=_LIMIT_S)
        subject = f"benchmark_model on phone {phone.serial}"
        try:
            log = parse_log(output)
        except ValueError as error:
            ended = f" ({_ending(code)})" if code else ""
            raise ValueError(f"{subject}{ended}: {error}") from None
        if code:
            raise ValueError(f"{subject} failed after its timings ({_ending(code)}): {last_line(output)}")
        if self._options.use_gpu:
            _check_gpu(log, output)
        return log

    def _command(self, tool: Tool, runs: Sequence[str]) -> list[str]:
        """The tool's command line; `runs` says of what and how often."""
        pinned = ["taskset", self._options.mask] if self._options.mask else []
        fixed = ["--warmup_runs=1", "--min_secs=0", f"--max_secs={_MAX_SECS}", f"--num_threads={self._options.threads}"]
        return [*pinned, _TOOL, *fixed, *tool.accelerator(self._options), *runs]


class AdbSession(Session):
    """A network's file on the phone. Every call loads it anew: nothing stays in the phone's memory between calls."""

    def __init__(self, device: Adb, phone: Phone, model: Path, remote: str) -> None:
        """Pushes the file and runs it once.

        `loaded.peak_bytes` is that of the tool's whole process, its own few megabytes included.

        Raises:
          ValueError: The file cannot be pushed, or the tool refuses it.
        """
        self._device, self._phone, self._remote = device, phone, remote
        self._is_closed = False
        memory = ["--report_peak_memory_footprint=true", f"--memory_footprint_check_interval_ms={_MEMORY_CHECK_MS}"]
        try:
            device.tool(phone)  # makes the folder
            phone.push(model, remote)
            log = device.benchmark(phone, remote, count=1, warmup_s=0.0, extra=memory)
        except BaseException:
            self.close()
            raise
        peak = None if log.peak_mib is None else round(log.peak_mib * 2**20)
        self.loaded = Loaded(model.stat().st_size, log.partitions, log.init_ms or 0.0, log.first_ms or 0.0, peak)

    def run(self, count: int) -> dict[Clock, Float[np.ndarray, " runs"]]:
        """One number: the median of `count` runs in one call of the tool, the mean where the tool has no median.

        Raises:
          ValueError: The phone has become so hot that it slows down.
        """
        log = self._device.benchmark(self._phone, self._remote, count=count, warmup_s=_WARMUP_S, extra=[])
        status = thermal_status(self._phone)
        if status is not None and status >= _SEVERE:
            raise ValueError(
                f"phone {self._phone.serial} is too hot and slows down (thermal status {status}, allowed is below {_SEVERE}); "
                "let it cool and give the same command again: what was measured before is kept"
            )
        return {"wall": np.array([log.inference.ms])}

    def profile(self, count: int) -> tuple[KernelTime, ...] | None:
        """Kernels inside the delegate, and the operations that it did not take, in a call of their own."""
        extra = self._device.tool(self._phone).profiling()
        log = self._device.benchmark(self._phone, self._remote, count=count, warmup_s=_WARMUP_S, extra=extra)
        return log.kernels or None

    def close(self) -> None:
        """Deletes the file on the phone."""
        if not self._is_closed:
            self._is_closed = True
            with contextlib.suppress(ValueError):  # the phone is gone: what failed before this is the news
                self._phone.remove(self._remote)


def thermal_status(phone: Phone) -> int | None:
    """Android's thermal status, 0 (none) to 6 (shutdown); None where the phone does not tell."""
    _, output = phone.run("dumpsys thermalservice")
    found = re.search(r"^Thermal Status: (\d+)", output, re.MULTILINE)
    return int(found[1]) if found else None


def adb(argument: str | None, options: Mapping[str, str]) -> Adb:
    """The device with these options; the argument is the phone's serial number.

    Raises:
      ValueError: An option is not known, or its value makes no sense.
    """
    for key in options:
        if key not in _KNOWN_OPTIONS:
            raise ValueError(f"option {key!r} is not known; known are {', '.join(_KNOWN_OPTIONS)}")
    threads, mask, use_gpu = options.get("threads", "1"), options.get("mask"), options.get("use_gpu", "false")
    if not re.fullmatch(r"[1-9]\d*", threads):
        raise ValueError(f"option threads must be a whole number from 1, got {threads!r}")
    if mask is not None and not re.fullmatch(r"[0-9a-fA-F]+", mask):
        raise ValueError(f"option mask must be a hexadecimal number, as f0 for cores 4 to 7, got {mask!r}")
    if use_gpu not in ("true", "false"):
        raise ValueError(f"option use_gpu must be true or false, got {use_gpu!r}")
    binary = Path(options["binary"]) if "binary" in options else None
    if binary is not None and not binary.is_file():
        raise ValueError(f"option binary: there is no file {str(binary)!r}")
    return Adb(argument, AdbOptions(binary, int(threads), mask, use_gpu == "true"))


def _name(parts: Sequence[str]) -> str:
    return f"adb:{','.join(parts)}" if parts else "adb"


def _check_gpu(log: BenchmarkLog, output: str) -> None:
    """Refuses a run that another processor than the GPU did."""
    by_gpu = [x for x in log.delegations if "xnnpack" not in x.delegate.lower()]
    is_aside = log.delegations and not any(x.partitions for x in by_gpu)
    if is_aside or "GPU acceleration is unsupported" in output:
        raise ValueError(
            "the GPU runs nothing of this network, so the CPU was measured; "
            "leave use_gpu out, or use a build of benchmark_model with the GPU's delegate"
        )


def _ending(code: int) -> str:
    """How a command on the phone ended: a shell adds 128 to the number of a signal."""
    if code > 128 and code - 128 in {s.value for s in signal.Signals}:
        return f"crashed, {signal.Signals(code - 128).name}"
    return f"exit code {code}"


def _properties(phone: Phone) -> dict[str, str]:
    names = [name for alternatives in _PROPERTIES.values() for name in alternatives]
    output = phone.shell(f"for p in {' '.join(names)}; do getprop $p; done")
    values = dict(zip(names, (line.strip() for line in output.splitlines()), strict=False))
    return {
        key: next((values[name] for name in alternatives if values.get(name)), "unknown")
        for key, alternatives in _PROPERTIES.items()
    }


def _governors(phone: Phone) -> str:
    """Those of the cores that are awake."""
    _, output = phone.run("cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor 2>/dev/null")
    return " ".join(sorted(set(output.split()))) or "unknown"


def _digest_there(phone: Phone) -> str | None:
    code, output = phone.run(f"sha256sum {_TOOL}")
    return None if code else output.split()[0]


def _digest_here(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
