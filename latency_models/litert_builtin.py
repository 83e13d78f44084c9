"""LiteRT's own kernels on the CPU, without XNNPACK: what a phone runs where the delegate is off or takes nothing."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latency_models.device import machine_fingerprint, read_options
from latency_models.litert_file import MODEL_FILE, litert_converter
from latency_models.litert_runnable import LiteRtRunnable, import_litert, open_interpreter
from latency_models.local_device import Loader, LocalDevice
from latency_models.network import Build, Network

_PROFILER_OPTIONS = "num_threads = 1\nkernel_mode = 2\n"  # kLiteRtCpuKernelModeBuiltin


class LiteRtBuiltin(LocalDevice):
    """The same .tflite file as `litert-cpu`'s, on other kernels, timed by the CPU time of the one computing thread."""

    name = "litert-builtin"
    description = "LiteRT's own kernels on one CPU thread, float32, without XNNPACK"
    tolerance = 1e-4

    def absence(self) -> str | None:
        """Never absent once its packages are there."""
        return None

    @staticmethod
    def start() -> None:
        """LiteRT's interpreter."""
        import_litert()

    def convert(self, network: Network, build: Build, folder: Path) -> tuple[Loader, np.ndarray]:
        """A .tflite file, which the child loads from its path."""
        inputs, reference = litert_converter().convert(network, build, folder)
        return functools.partial(_load, folder / MODEL_FILE, inputs), reference

    def fingerprint(self) -> dict[str, str]:
        """Runtime, converter and JAX version, clock and machine."""
        return {
            "device": self.name,
            "threads": "1",
            "dtype": "float32",
            "clock": "CPU time of the one computing thread",
            **machine_fingerprint("ai-edge-litert", "litert-converter", "jax"),
        }


def _load(path: Path, inputs: Sequence[np.ndarray]) -> LiteRtRunnable:
    from ai_edge_litert.interpreter import OpResolverType

    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = open_interpreter(path, num_threads=1, experimental_op_resolver_type=kernels)
    return LiteRtRunnable(path, inputs, interpreter, clocks=("thread_cpu", "wall"), profiler_options=_PROFILER_OPTIONS)


def litert_builtin(argument: str | None, options: dict[str, str]) -> LiteRtBuiltin:
    """The device; it has no options."""
    read_options(argument, options, {})
    return LiteRtBuiltin()
