"""XLA as JAX runs it: no export, no second runtime."""

import functools
import os
from pathlib import Path

import numpy as np

from latency_models.device import machine_fingerprint, read_options
from latency_models.jax_reference import JaxProcess, compute, jax_process, use_cpu
from latency_models.local_device import Loader, LocalDevice
from latency_models.network import Build, Network
from latency_models.xla_program import XlaRunnable, compile_program, warm_up


class XlaCpu(LocalDevice):
    """XLA's CPU backend in a process that may use one core, timed by the CPU time of that process.

    A compiled program runs in threads of XLA's own, so the caller's thread time sees nothing of it; on one core there is
    one of them, and operations do not run side by side.
    """

    name = "xla-cpu"
    description = "XLA's CPU backend through JAX, on one core, float32"
    tolerance = 1e-4

    def __init__(self) -> None:
        """Starts no process yet."""
        self._compiler = JaxProcess(_use_one_core)

    def absence(self) -> str | None:
        """Never absent: JAX brings it."""
        return None

    @staticmethod
    def start() -> None:
        """One core, and XLA warm."""
        _use_one_core()
        warm_up()

    def convert(self, network: Network, build: Build, folder: Path) -> tuple[Loader, np.ndarray]:
        """A compiled program, which the child loads from its folder."""
        _, reference = jax_process().call(compute, network, build)
        self._compiler.call(compile_program, network, build, folder)
        return functools.partial(XlaRunnable, folder, clocks=("process_cpu", "wall")), reference

    def fingerprint(self) -> dict[str, str]:
        """Version, threads, clock and machine."""
        return {
            "device": self.name,
            "threads": "1",
            "dtype": "float32",
            "clock": "CPU time of the process",
            **machine_fingerprint("jax", "jaxlib"),
        }


def _use_one_core() -> None:
    """Before JAX counts the cores: for its threads, and for how a program is split among them."""
    use_cpu()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def xla_cpu(argument: str | None, options: dict[str, str]) -> XlaCpu:
    """The device; it has no options."""
    read_options(argument, options, {})
    return XlaCpu()
