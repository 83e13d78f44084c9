"""XLA as JAX runs it: no export, no second runtime."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from latency_models.device import KernelTime, machine_fingerprint, read_options
from latency_models.jax_reference import compute, jax_process, trace
from latency_models.local_device import Loader, LocalDevice
from latency_models.local_session import Runnable, reset_peak_memory
from latency_models.network import Build, Network
from latency_models.timing import Clock


class XlaCpu(LocalDevice):
    """XLA's CPU backend in a process that may use one core, timed by the CPU time of that process.

    A compiled program runs in threads of XLA's own, so the caller's thread time sees nothing of it; on one core there is
    one of them, and operations do not run side by side.
    """

    name = "xla-cpu"
    description = "XLA's CPU backend through JAX, on one core, float32"
    tolerance = 1e-4

    def absence(self) -> str | None:
        """Never absent: JAX brings it."""
        return None

    def convert(self, network: Network, build: Build, folder: Path) -> tuple[Loader, np.ndarray]:
        """Nothing to convert: the child compiles."""
        _, reference = jax_process().call(compute, network, build)
        return functools.partial(_load_on_one_core, network, build), reference

    def fingerprint(self) -> dict[str, str]:
        """Version, threads, clock and machine."""
        return {
            "device": self.name,
            "threads": "1",
            "dtype": "float32",
            "clock": "CPU time of the process",
            **machine_fingerprint("jax", "jaxlib"),
        }


class XlaRunnable(Runnable):
    """A compiled XLA program with its inputs on the device."""

    partitions = None

    def __init__(self, network: Network, build: Build, *, clocks: tuple[Clock, ...]) -> None:
        """Builds and compiles; what that needed of memory is not the network's."""
        import jax

        function, inputs = build(network)
        traced = trace(function, inputs)
        self._compiled = traced.lower().compile()
        self._inputs = [jax.device_put(x) for x in inputs]
        self.model_bytes = sum(constant.nbytes for constant in traced.jaxpr.consts)
        self.clocks = clocks
        self._output: Any = None
        reset_peak_memory()

    def run(self) -> None:
        """Runs the program once and waits for its output."""
        self._output = self._compiled(*self._inputs)
        self._output.block_until_ready()

    def output(self) -> np.ndarray:
        """A copy of the last output."""
        return np.array(self._output)

    def profile(self, count: int) -> tuple[KernelTime, ...] | None:
        """None: XLA fuses across our kernels, and its CPU backend names no times."""
        del count
        return None


def _load_on_one_core(network: Network, build: Build) -> XlaRunnable:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before JAX counts the cores for its thread pool
    return XlaRunnable(network, build, clocks=("process_cpu", "wall"))


def xla_cpu(argument: str | None, options: dict[str, str]) -> XlaCpu:
    """The device; it has no options."""
    read_options(argument, options, {})
    return XlaCpu()
