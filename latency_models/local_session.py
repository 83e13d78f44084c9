"""A network loaded in a child process of its own: a runtime's crash is a message, and memory is that network's alone."""

import abc
import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from latency_models.device import KernelTime, Loaded, Session
from latency_models.timing import CLOCKS, Clock

_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")
_REASON_CHARS = 600


class Runnable(abc.ABC):
    """A network in the runtime's hands, its inputs in place; `run` is all that is ever timed.

    Attributes:
      clocks: Clocks that mean something for this runtime, that of the latency first.
      model_bytes: Size of the stored model.
      partitions: Number of pieces that the accelerated backend runs; None where there is no such notion.
      left_out: Operations that the accelerated backend does not run, each with its block.
      device_peak: Most bytes in use so far, where memory of its own (a GPU's) is what counts; None: this process's.
    """

    clocks: tuple[Clock, ...]
    model_bytes: int
    partitions: int | None
    left_out: tuple[str, ...] = ()
    device_peak: Callable[[], int] | None = None

    @abc.abstractmethod
    def feed(self, inputs: Sequence[np.ndarray]) -> None:
        """Puts other inputs of the same shapes in place, in the order of the network's arguments."""

    @abc.abstractmethod
    def run(self) -> None:
        """Runs the network once, and returns when the output is complete."""

    @abc.abstractmethod
    def output(self) -> np.ndarray:
        """A copy of the last run's output."""

    @abc.abstractmethod
    def profile(self, count: int) -> tuple[KernelTime, ...] | None:
        """Milliseconds of each kernel, lower quartile of so many runs; None where the runtime has no profile."""


class LocalSession(Session):
    """Loads in a child process with `load`, and runs there.

    `load` crosses into the child: a function of a module, with arguments that are plain data.
    """

    def __init__(self, load: Callable[[], Runnable], *, subject: str, start: Callable[[], Any] | None = None) -> None:
        """Starts the child and waits until the network has run once.

        Args:
          load: Makes the runnable.
          subject: Who is blamed in messages: "device 'litert-cpu'".
          start: Called in the child before anything is counted: brings the runtime into memory.

        Raises:
          ValueError: The runtime refuses the network, or crashes.
        """
        self._subject = subject
        self._log = tempfile.NamedTemporaryFile(prefix="pocketunet-runtime-", suffix=".log")  # noqa: SIM115 - close() closes it
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, start, load, self._log.name), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.loaded = self._ask("load")
        except BaseException:
            self.close()
            raise

    def run(self, count: int) -> dict[Clock, Float[np.ndarray, " runs"]]:
        """Runs `count` times, each run read on every clock."""
        return self._ask("run", count)

    def profile(self, count: int) -> tuple[KernelTime, ...] | None:
        """The runtime's own profile."""
        return self._ask("profile", count)

    def output(self) -> np.ndarray:
        """A copy of the last run's output."""
        return self._ask("output")

    def output_of(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The output for other inputs, which stay in place."""
        return self._ask("compute", tuple(inputs))

    def close(self) -> None:
        """Ends the child."""
        self._connection.close()
        self._log.close()
        self._process.join(timeout=2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, *request: Any) -> Any:
        try:
            self._connection.send(request)
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(timeout=10)
            death = _death(self._process.exitcode)
            raise ValueError(f"{self._subject} {death} when asked to {request[0]} this network{self._last_words()}") from None
        if isinstance(answer, Exception):
            raise ValueError(f"{self._subject}: {answer}{self._last_words()}") from None
        return answer

    def _last_words(self) -> str:
        """What the runtime printed about an error, if it did."""
        lines = Path(self._log.name).read_text(errors="replace").splitlines()
        return "".join(f"; it says: {line.strip()}" for line in lines if "ERROR" in line.upper())[:_REASON_CHARS]


def _serve(connection: Connection, start: Callable[[], Any] | None, load: Callable[[], Runnable], log: str) -> None:
    """Answers requests until the other side closes; what runtimes print goes into a log."""
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    runnable: Runnable | None = None
    while True:
        try:
            name, *arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            if name == "load":
                if start is not None:
                    start()
                runnable, answer = _load(load)
            else:
                answer = _REQUESTS[name](cast(Runnable, runnable), *arguments)
        except Exception as error:  # runtimes raise their own, undocumented kinds
            answer = RuntimeError(str(error) or type(error).__name__)
        connection.send(answer)


def _load(load: Callable[[], Runnable]) -> tuple[Runnable, Loaded]:
    with contextlib.suppress(OSError):  # not Linux, or not allowed: then the peak is larger than it need be
        _RESET_PEAK.write_text("5")
    before = _status_bytes("VmRSS")
    start = time.perf_counter()
    runnable = load()
    loaded = time.perf_counter()
    runnable.run()
    end = time.perf_counter()
    peak = _status_bytes("VmHWM")
    used = None if before is None or peak is None else peak - before
    if runnable.device_peak is not None:
        used = runnable.device_peak()
    return runnable, Loaded(
        runnable.model_bytes, runnable.partitions, 1e3 * (loaded - start), 1e3 * (end - loaded), used, runnable.left_out
    )


def _run(runnable: Runnable, count: int) -> dict[Clock, Float[np.ndarray, " runs"]]:
    reads = [CLOCKS[clock] for clock in runnable.clocks]
    seconds = np.empty((len(reads), count))
    for i in range(count):
        starts = [read() for read in reads]
        runnable.run()
        seconds[:, i] = [read() - start for read, start in zip(reads, starts, strict=True)]
    return dict(zip(runnable.clocks, 1e3 * seconds, strict=True))


def _compute(runnable: Runnable, inputs: Sequence[np.ndarray]) -> np.ndarray:
    runnable.feed(inputs)
    runnable.run()
    return runnable.output()


_REQUESTS: dict[str, Callable[..., Any]] = {
    "compute": _compute,
    "run": _run,
    "profile": lambda runnable, count: runnable.profile(count),
    "output": lambda runnable: runnable.output(),
}


def _status_bytes(key: str) -> int | None:
    if not _STATUS.exists():
        return None
    line = next((line for line in _STATUS.read_text().splitlines() if line.startswith(key)), None)
    return 1024 * int(line.split()[1]) if line else None


def _death(code: int | None) -> str:
    if code is None:
        return "does not answer"
    return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
