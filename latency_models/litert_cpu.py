"""LiteRT on the CPU: StableHLO to .tflite without TensorFlow, run by XNNPACK."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latency_models.device import KernelTime, machine_fingerprint, read_options, spelled
from latency_models.jax_reference import MODULE_FILE, JaxProcess, lower
from latency_models.litert_conversion import SIGNATURE, input_name
from latency_models.litert_converter_process import ConverterProcess
from latency_models.litert_profile import profile_model
from latency_models.local_device import Loader, LocalDevice
from latency_models.local_session import Runnable
from latency_models.network import Build, Network

_OPTIONS = {"threads": ("1", "2"), "dtype": ("float32",)}
_DEFAULTS = {key: values[0] for key, values in _OPTIONS.items()}
MODEL_FILE = "model.tflite"


class LiteRtConverter:
    """From a network to a .tflite file in a folder: JAX lowers in one child process, LiteRT converts in another."""

    def __init__(self) -> None:
        """Starts no process yet."""
        self._jax = JaxProcess()
        self._converter = ConverterProcess()

    def convert(self, network: Network, build: Build, folder: Path) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Writes `folder / MODEL_FILE`; the network's inputs, and what JAX computes for them.

        Raises:
          ValueError: The converter refuses it or crashes, or memory does not suffice.
        """
        inputs, reference = self._jax.call(lower, network, build, folder)
        module = folder / MODULE_FILE
        try:
            self._converter.convert(module, folder / MODEL_FILE, num_inputs=len(inputs))
        finally:
            module.unlink(missing_ok=True)
        return inputs, reference


class LiteRtCpu(LocalDevice):
    """LiteRT with XNNPACK. On one thread it is timed by that thread's CPU time: other load hardly moves it."""

    tolerance = 1e-4

    def __init__(self, options: dict[str, str]) -> None:
        """Starts no process yet."""
        self._threads = int(options["threads"])
        self._dtype = options["dtype"]
        self._converter = LiteRtConverter()
        self.name = spelled("litert-cpu", options, _DEFAULTS)
        self.description = f"LiteRT with XNNPACK kernels on {self._threads} CPU thread(s), {self._dtype}"

    def absence(self) -> str | None:
        """Never absent once its packages are there."""
        return None

    def convert(self, network: Network, build: Build, folder: Path) -> tuple[Loader, np.ndarray]:
        """A .tflite file, which the child loads from its path."""
        inputs, reference = self._converter.convert(network, build, folder)
        return functools.partial(LiteRtRunnable, folder / MODEL_FILE, inputs, threads=self._threads), reference

    def fingerprint(self) -> dict[str, str]:
        """Runtime, converter and JAX version, threads, dtype and machine."""
        clock = "CPU time of the one computing thread" if self._threads == 1 else "CPU time of the process"
        return {
            "device": self.name,
            "threads": str(self._threads),
            "dtype": self._dtype,
            "clock": clock,
            **machine_fingerprint("ai-edge-litert", "litert-converter", "jax"),
        }


class LiteRtRunnable(Runnable):
    """A loaded .tflite model with its inputs set."""

    def __init__(self, path: Path, inputs: Sequence[np.ndarray], *, threads: int) -> None:
        """Loads the model, packs its weights and sets the inputs."""
        from ai_edge_litert.interpreter import Interpreter

        self._path, self._inputs, self._threads = path, tuple(inputs), threads
        self.clocks = ("thread_cpu", "wall") if threads == 1 else ("process_cpu", "wall")
        self.model_bytes = path.stat().st_size
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        # The converter may reorder tensors: the signature knows which is which. Its runner must not outlive this line.
        details = self._interpreter.get_signature_runner(SIGNATURE).get_input_details()
        for i, value in enumerate(inputs):
            self._interpreter.set_tensor(int(details[input_name(i)]["index"]), value)
        self._output = int(self._interpreter.get_output_details()[0]["index"])
        self.partitions = sum(op["op_name"] == "DELEGATE" for op in self._interpreter._get_ops_details())

    def run(self) -> None:
        """Runs the model once; the inputs stay in place."""
        self._interpreter.invoke()

    def output(self) -> np.ndarray:
        """A copy of the last output."""
        return self._interpreter.get_tensor(self._output)

    def profile(self, count: int) -> tuple[KernelTime, ...]:
        """Loads the model a second time with the profiler on."""
        named = {input_name(i): value for i, value in enumerate(self._inputs)}
        return profile_model(self._path, named, output_shape=self.output().shape, count=count, threads=self._threads)


def litert_cpu(argument: str | None, options: dict[str, str]) -> LiteRtCpu:
    """The device with these options."""
    return LiteRtCpu(read_options(argument, options, _OPTIONS))
