"""A device: a runtime that really runs a network on this machine, named in a fixed table."""

import abc
import functools
import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from latency_models.timing import Clock

_DEVICES = {
    "litert-cpu": ("latency_models.litert_cpu", "LiteRtCpu", ("ai_edge_litert", "litert_converter")),
    "xla-cpu": ("latency_models.xla_cpu", "XlaCpu", ("jax",)),
}
_PREFERRED, _FALLBACK = "litert-cpu", "xla-cpu"


class Runnable(abc.ABC):
    """A network that is compiled, loaded and has its inputs in place; `run` is all that is ever timed."""

    @property
    @abc.abstractmethod
    def model_bytes(self) -> int:
        """Size of the stored model, in bytes."""

    @property
    @abc.abstractmethod
    def partitions(self) -> int | None:
        """Number of pieces that the accelerated backend runs; 1 is ideal, None where there is no such notion."""

    @abc.abstractmethod
    def run(self) -> None:
        """Runs the network once on the example inputs, and returns when the output is complete."""

    @abc.abstractmethod
    def output(self) -> np.ndarray:
        """A copy of the last run's output."""

    def __call__(self) -> np.ndarray:
        """Runs once and returns a copy of the output."""
        self.run()
        return self.output()


class Device(abc.ABC):
    """Where a network runs.

    Attributes:
      name: As in the table of devices.
      description: One line for people.
      threads: Number of threads that compute.
      clock: Which clock `Runnable.run` is to be timed with.
    """

    name: str
    description: str
    threads: int
    clock: Clock

    @abc.abstractmethod
    def prepare(self, function: Callable[..., Any], example_inputs: Sequence[Any]) -> Runnable:
        """Compiles a JAX function of one array output, its weights closed over, for inputs like these.

        Raises:
          ValueError: The runtime cannot take the function, or computes something else than JAX does.
        """

    @abc.abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """What a latency depends on besides the network; measurements are comparable where this is equal."""


def device_names() -> tuple[str, ...]:
    """Names that `get_device` knows."""
    return tuple(_DEVICES)


@functools.cache
def get_device(name: str) -> Device:
    """The device of this name; one object per name and process.

    Raises:
      ValueError: There is none of this name, or a package it needs is not installed.
    """
    if name not in _DEVICES:
        raise ValueError(f"there is no device {name!r}; known are {', '.join(_DEVICES)}")
    if missing := _missing_packages(name):
        raise ValueError(
            f"device {name!r} needs {' and '.join(missing)}, not installed here; "
            f"install {' '.join(x.replace('_', '-') for x in missing)}"
            + (f" or use device {_FALLBACK!r}" if name != _FALLBACK else "")
        )
    module, factory, _ = _DEVICES[name]
    return getattr(importlib.import_module(module), factory)()


def default_device() -> Device:
    """LiteRT where both of its packages are installed; else XLA, with a line on stderr that names what is missing."""
    if missing := _missing_packages(_PREFERRED):
        names = " and ".join(missing)
        print(f"device {_PREFERRED!r} needs {names}, not installed here: using {_FALLBACK!r}", file=sys.stderr)
        return get_device(_FALLBACK)
    return get_device(_PREFERRED)


def machine_fingerprint(*packages: str) -> dict[str, str]:
    """ABI, system and processor of this machine, and the versions of the named distributions."""
    return {
        "abi": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu_model(),
        "cpus": str(os.cpu_count()),
        **{package: version(package) for package in packages},
    }


def check_equal(output: np.ndarray, reference: np.ndarray, *, device: str, tolerance: float = 1e-4) -> None:
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


def random_inputs(example_inputs: Sequence[Any]) -> list[np.ndarray]:
    """Standard normal arrays with the examples' shapes; integer inputs are kept, they index tables."""
    rng = np.random.default_rng(0)
    examples = [np.asarray(x) for x in example_inputs]
    return [rng.standard_normal(x.shape).astype(x.dtype) if x.dtype.kind == "f" else x for x in examples]


def _missing_packages(name: str) -> list[str]:
    return [package for package in _DEVICES[name][2] if importlib.util.find_spec(package) is None]


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
