"""XLA as JAX runs it: no export, no second runtime."""

import concurrent.futures
import ctypes
import functools
import importlib.metadata
import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from latency_models.device import machine_fingerprint, read_options, spelled
from latency_models.jax_reference import JaxProcess, compute, jax_process, use_cpu
from latency_models.local_device import Loader, LocalDevice
from latency_models.network import Build, Network
from latency_models.xla_program import XlaRunnable, compile_program, warm_up

# Largest errors as shares of the largest output, about 2.5 times the largest seen when four networks of 290 to 1,030 kernels
# were computed on the CPU with a GPU's rounding: products of float32 arrays keep 10 bits (TF32, JAX's default there; seen
# 1.3e-3), bfloat16 keeps 7 (seen 0.018; rounding the weights alone makes 0.009 of it). An argument out of place is an error
# of the order of 1.
_GPU_TOLERANCES = {"float32": 3e-3, "bfloat16": 0.05}
_GPU_OPTIONS = {"dtype": tuple(_GPU_TOLERANCES), "autotune": ("on", "off")}
_GPU_DEFAULTS = {key: values[0] for key, values in _GPU_OPTIONS.items()}
# Numbers and values of glibc's mallopt: a protocol of measuring, whatever training does with its memory.
_GLIBC_KEEPS = {"M_ARENA_MAX": (-8, 1), "M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1)}
_DRIVER = Path("/proc/driver/nvidia/version")
_GPU_REMEDY = "on a machine with an NVIDIA GPU run `make install EXTRAS=cuda`, or install jax[cuda13]"
_REASON_CHARS = 200


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
        """One core, memory that stays, and XLA warm."""
        _use_one_core()
        _keep_memory()
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
            "memory": "kept between runs",
            **machine_fingerprint("jax", "jaxlib"),
        }


def _use_one_core() -> None:
    """Before JAX counts the cores: for its threads, and for how a program is split among them."""
    use_cpu()
    _compile_afresh()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _compile_afresh() -> None:
    """Leaves JAX's cache of programs out: what comes out of it cannot be serialised again, functions of it are lost."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)


def _keep_memory() -> None:
    """Lets glibc keep what is freed.

    XLA asks for a program's scratch at every run. From 32 MB on glibc takes it from the system and gives it back each time:
    zeroing fresh pages is then most of a large network's run (one with 1 GB of it took 1,358 ms, and takes 556), and falls
    on whichever block is the first to need them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for parameter, value in _GLIBC_KEEPS.values():
            mallopt(parameter, value)


class XlaGpu(LocalDevice):
    """XLA on an NVIDIA GPU, timed by the wall clock from the call to the finished output.

    By default XLA times candidates for each product and takes the fastest, which can take a minute a network; with
    autotune=off it takes the libraries' own first choice.

    Its peak of memory is the GPU's: weights, activations and scratch, as XLA's allocator counts them; programs are compiled
    in another process, whose tuning of kernels does not count.
    """

    def __init__(self, options: dict[str, str]) -> None:
        """Starts no process yet."""
        self._dtype, self._autotune = options["dtype"], options["autotune"]
        self._compiler = JaxProcess(_use_gpu)
        self.tolerance = _GPU_TOLERANCES[self._dtype]
        self.name = spelled("xla-gpu", options, _GPU_DEFAULTS)
        self.description = f"XLA on an NVIDIA GPU through JAX, {self._dtype}, kernels tuned: {self._autotune}"

    @staticmethod
    def start() -> None:
        """The GPU, not warm: compiling tries kernels, whose scratch would be the peak of its memory."""
        _use_gpu()

    def absence(self) -> str | None:
        """Why JAX sees no GPU; asking it takes a process of its own, where a plugin for one is installed."""
        try:
            _gpu_facts()
        except ValueError as error:
            return str(error)
        return None

    def convert(self, network: Network, build: Build, folder: Path) -> tuple[Loader, np.ndarray]:
        """A compiled program, which the child loads from its folder; what it is held to is computed on the CPU."""
        _gpu_facts()
        _, reference = jax_process().call(compute, network, build)
        settings = {} if self._autotune == "on" else {"xla_gpu_autotune_level": "0"}
        self._compiler.call(compile_program, network, build, folder, self._dtype, settings)
        return functools.partial(XlaRunnable, folder, clocks=("wall",)), reference

    def fingerprint(self) -> dict[str, str]:
        """GPU, driver, platform and plugin versions, dtype, clock and machine.

        Raises:
          ValueError: JAX sees no GPU.
        """
        return {
            "device": self.name,
            "threads": "the GPU's",
            "dtype": self._dtype,
            "autotune": self._autotune,
            "clock": "wall time until the output is there",
            **_gpu_facts(),
            **machine_fingerprint("jax", "jaxlib", *_gpu_packages()),
        }


def _use_gpu() -> None:
    """Memory is taken as it is needed, so that the compiling and the measured process both fit."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    import jax

    jax.config.update("jax_platforms", "cuda")
    _compile_afresh()


@functools.cache
def _gpu_facts() -> dict[str, str]:
    """What JAX tells of the GPU, asked in a process that ends: a GPU's context is not this process's to hold.

    Raises:
      ValueError: It sees none; the message says why, with the remedy.
    """
    if not _gpu_packages():
        raise ValueError(f"JAX sees no GPU here: its CUDA plugin is not installed; {_GPU_REMEDY}")
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=_use_gpu
    ) as executor:
        try:
            return executor.submit(_first_gpu).result()
        except (RuntimeError, AssertionError) as error:  # JAX's own, and a child that died
            reason = " ".join(str(error).split())[:_REASON_CHARS] or type(error).__name__
            raise ValueError(f"JAX sees no GPU here: {reason}; {_GPU_REMEDY}") from None


def _gpu_packages() -> tuple[str, ...]:
    """Distributions that bring JAX its CUDA plugin."""
    entries = importlib.metadata.entry_points(group="jax_plugins")
    return tuple(sorted(x.dist.name for x in entries if x.dist is not None and "cuda" in x.name))


def _first_gpu() -> dict[str, str]:
    import jax

    return describe_gpu(jax.devices()[0])


def describe_gpu(device: Any) -> dict[str, str]:
    """Name, platform (CUDA's version) and driver of a JAX device, as far as they are told."""
    driver = re.search(r"\d+\.\d+(\.\d+)*", _DRIVER.read_text()) if _DRIVER.exists() else None
    return {
        "gpu": device.device_kind,
        "platform": " ".join(device.client.platform_version.split()),
        "driver": driver[0] if driver else "unknown",
    }


def xla_cpu(argument: str | None, options: dict[str, str]) -> XlaCpu:
    """The device; it has no options."""
    read_options(argument, options, {})
    return XlaCpu()


def xla_gpu(argument: str | None, options: dict[str, str]) -> XlaGpu:
    """The device with these options."""
    return XlaGpu(read_options(argument, options, _GPU_OPTIONS))
