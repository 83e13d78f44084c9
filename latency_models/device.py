"""A device: a runtime that really runs a network somewhere, named in a fixed table, behind one interface."""

import abc
import dataclasses
import functools
import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import numpy as np
from jaxtyping import Float

from latency_models.network import Build, Network
from latency_models.timing import Clock, Timing


@dataclasses.dataclass(frozen=True)
class KernelTime:
    """One kernel of a profile, as the runtime calls it, in the order of execution.

    Attributes:
      name: The runtime's name of the kernel.
      ms: Milliseconds, lower quartile of the profiled runs; of `adb` the mean, which is what its tool says.
    """

    name: str
    ms: float

    def scaled(self, factor: float) -> "KernelTime":
        """The same on a machine that takes so many times as long."""
        return dataclasses.replace(self, ms=factor * self.ms)


def typical_times(names: Sequence[str], runs_us: Sequence[Sequence[float]]) -> tuple[KernelTime, ...]:
    """Kernels of several profiled runs: profilers read the wall clock, and the lower quartile hardly sees other load.

    >>> typical_times(["add"], [[1000.0], [1000.0], [9000.0]])
    (KernelTime(name='add', ms=1.0),)
    """
    quartiles = np.quantile(np.asarray(runs_us, float), 0.25, axis=0)
    return tuple(KernelTime(name, float(us) / 1e3) for name, us in zip(names, quartiles, strict=True))


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What is known of a network once it is loaded and has run once.

    Attributes:
      model_bytes: Size of the stored model.
      partitions: Number of pieces that the accelerated backend runs; 1 is ideal, None where there is no such notion.
      load_ms: Wall time of loading: reading, packing weights, planning memory.
      first_ms: Wall time of the first run, which touches fresh memory.
      peak_bytes: Most memory that the network needs while it is loaded and runs once: weights, activations, and what the
        runtime keeps beside them (code, plans, packed weights). The runtime's library, and what a compiler or converter
        needed before, are not in it. None where not measured.
      left_out: Operations that the accelerated backend leaves to slower kernels, each with its block; their cuts make the
        partitions.
    """

    model_bytes: int
    partitions: int | None
    load_ms: float
    first_ms: float
    peak_bytes: int | None
    left_out: tuple[str, ...] = ()


class Session(abc.ABC):
    """A network that is loaded on a device and has its inputs in place.

    Attributes:
      loaded: What loading it showed.
      recorded: Its latency, where that was measured elsewhere and nothing runs here.
    """

    loaded: Loaded
    recorded: Timing | None = None

    @abc.abstractmethod
    def run(self, count: int) -> dict[Clock, Float[np.ndarray, " runs"]]:
        """Runs the network `count` times: milliseconds of each run by clock, the clock of the latency first.

        A device that reports statistics only gives what it has: fewer numbers than runs, each of many runs.
        """

    @abc.abstractmethod
    def profile(self, count: int) -> tuple[KernelTime, ...] | None:
        """Milliseconds of each kernel over so many runs; None where the runtime has no profile."""

    @abc.abstractmethod
    def close(self) -> None:
        """Unloads the network; closing twice is allowed."""


class Device(abc.ABC):
    """Where a network runs.

    Attributes:
      name: As `get_device` takes it, options included.
      description: One line for people.
      is_shared: Whether what else this machine does makes it slower.
    """

    name: str
    description: str
    is_shared = False

    @abc.abstractmethod
    def absence(self) -> str | None:
        """Why nothing can be measured here now, with the remedy; None where it can."""

    @abc.abstractmethod
    def load(self, network: Network, build: Build, folder: Path) -> Session:
        """Converts a network, loads it, and checks its output where the device gives it back.

        Args:
          network: What is to run.
          build: Makes its function and inputs.
          folder: Existing folder of this network alone, for converted files.

        Raises:
          ValueError: The runtime cannot take the network (which operation, in which block), computes something else than
            JAX does, or memory does not suffice.
        """

    @abc.abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """What a latency depends on besides the network; measurements are comparable where this is equal."""


@dataclasses.dataclass(frozen=True)
class DeviceEntry:
    """How a name becomes a device.

    Attributes:
      module: Where its class is.
      factory: Name of a function of the argument (or None) and the options.
      packages: Modules that must be importable.
      usage: How it is written, and its options.
    """

    module: str
    factory: str
    packages: tuple[str, ...]
    usage: str


DEVICES: dict[str, DeviceEntry] = {
    "litert-cpu": DeviceEntry(
        "latency_models.litert_cpu", "litert_cpu", ("ai_edge_litert", "litert_converter", "jax"),
        "litert-cpu[:threads=1|2,dtype=float32|float16|int8]",
    ),
    "litert-builtin": DeviceEntry(
        "latency_models.litert_builtin", "litert_builtin", ("ai_edge_litert", "litert_converter", "jax"), "litert-builtin",
    ),
    "onnxruntime-cpu": DeviceEntry(
        "latency_models.onnxruntime_cpu", "onnxruntime_cpu", ("onnxruntime", "jax2onnx", "onnx", "jax"),
        "onnxruntime-cpu[:threads=1|2]",
    ),
    "xla-cpu": DeviceEntry("latency_models.xla", "xla_cpu", ("jax",), "xla-cpu"),
    "xla-gpu": DeviceEntry("latency_models.xla", "xla_gpu", ("jax",), "xla-gpu[:dtype=float32|bfloat16,autotune=on|off]"),
    "adb": DeviceEntry(
        "latency_models.adb", "adb", ("litert_converter", "jax"), "adb[:SERIAL,binary=PATH,threads=N,mask=HEX,use_gpu=true]",
    ),
    "csv": DeviceEntry("latency_models.csv_device", "csv_device", (), "csv:FILE"),
}  # fmt: skip
_PREFERRED, _FALLBACK = "litert-cpu", "xla-cpu"


def device_names() -> tuple[str, ...]:
    """Names that `get_device` knows, without argument and options."""
    return tuple(DEVICES)


@functools.cache
def get_device(spec: str) -> Device:
    """The device of this name; one object per name and process.

    Args:
      spec: `NAME`, or `NAME:` and, separated by commas, an argument (a serial number, a file) and options `key=value`.

    Raises:
      ValueError: There is none of this name, a package it needs is not installed, or an option is not known.
    """
    name, _, rest = spec.partition(":")
    if name not in DEVICES:
        raise ValueError(f"there is no device {name!r}; known are {', '.join(DEVICES)}")
    entry = DEVICES[name]
    if missing := missing_packages(name):
        raise ValueError(
            f"device {name!r} needs {' and '.join(missing)}, not installed here; "
            f"install {' '.join(x.replace('_', '-') for x in missing)}"
            + (f" or use device {_FALLBACK!r}" if name != _FALLBACK else "")
        )
    parts = [part for part in rest.split(",") if part]
    arguments = [part for part in parts if "=" not in part]
    options = dict(part.split("=", 1) for part in parts if "=" in part)
    try:
        if len(arguments) > 1:
            raise ValueError(f"it takes one argument, got {', '.join(arguments)}")
        factory: Callable[[str | None, dict[str, str]], Device] = getattr(importlib.import_module(entry.module), entry.factory)
        return factory(arguments[0] if arguments else None, options)
    except ValueError as error:
        raise ValueError(f"device {spec!r}: {error}; write {entry.usage}") from None


def default_device() -> Device:
    """LiteRT where its packages are installed; else XLA, with a line on stderr that names what is missing."""
    if missing := missing_packages(_PREFERRED):
        names = " and ".join(missing)
        print(f"device {_PREFERRED!r} needs {names}, not installed here: using {_FALLBACK!r}", file=sys.stderr)
        return get_device(_FALLBACK)
    return get_device(_PREFERRED)


def missing_packages(name: str) -> list[str]:
    """Modules that a device needs and that are not installed."""
    return [package for package in DEVICES[name].packages if importlib.util.find_spec(package) is None]


def read_options(argument: str | None, options: Mapping[str, str], allowed: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Options of a device that takes no argument, the first of the allowed values where one is not given.

    Raises:
      ValueError: There is an argument, or an option or its value is not known.
    """
    if argument is not None:
        raise ValueError(f"it takes no argument, got {argument!r}")
    for key, value in options.items():
        if key not in allowed:
            raise ValueError(f"option {key!r} is not known; known are {', '.join(allowed) or 'none'}")
        if value not in allowed[key]:
            raise ValueError(f"option {key} must be one of {', '.join(allowed[key])}, got {value!r}")
    return {key: options.get(key, next(iter(values))) for key, values in allowed.items()}


def spelled(name: str, options: Mapping[str, str], defaults: Mapping[str, str]) -> str:
    """The shortest spelling of a device: options that have their default are left out."""
    given = [f"{key}={value}" for key, value in options.items() if value != defaults[key]]
    return f"{name}:{','.join(given)}" if given else name


def machine_fingerprint(*packages: str) -> dict[str, str]:
    """ABI, system and processor of this machine, and the versions of the named distributions."""
    return {
        "abi": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu_model(),
        "cpus": str(os.cpu_count()),
        **{package: installed_version(package) for package in packages},
    }


def installed_version(package: str) -> str:
    """The version of an installed distribution; with its name where the package came by another, as nightly builds do.

    Raises:
      ValueError: It is not installed.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        others = packages_distributions().get(package.replace("-", "_"), [])
        if not others:
            raise ValueError(f"package {package} is not installed; install it") from None
        return f"{others[0]} {version(others[0])}"


def check_equal(output: np.ndarray, reference: np.ndarray, *, device: str, tolerance: float) -> None:
    """Refuses a compiled network whose output is not what JAX computes.

    Raises:
      ValueError: Shapes differ, the reference is constant zero or not finite, or the largest error exceeds `tolerance`
        times the largest magnitude of the reference.
    """
    if output.shape != reference.shape:
        raise ValueError(f"device {device!r} returns shape {output.shape}, JAX {reference.shape}; measure elsewhere")
    largest = float(np.abs(reference).max())
    if not 0 < largest < np.inf:
        raise ValueError(
            f"the network's largest output is {largest}, it must be finite and not 0: constant weights let a converter "
            "drop operations; give the network random weights"
        )
    error = float(np.abs(output - reference).max()) / largest
    if not error < tolerance:
        raise ValueError(
            f"device {device!r} differs from JAX by {error:.1e} of the largest output, allowed is {tolerance:.0e}; "
            "write the operation that differs another way, or measure on another device"
        )


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor, with family, model and stepping where told: clouds give generations of twice the speed one name."""
    if not cpuinfo.exists():
        return platform.processor() or "unknown"
    first, _, _ = cpuinfo.read_text().partition("\n\n")
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    numbers = ", ".join(f"{key} {fields[key]}" for key in ("cpu family", "model", "stepping") if key in fields)
    name = fields.get("model name") or platform.processor() or "unknown"
    return f"{name} ({numbers})" if numbers else name
