"""LiteRT on the CPU: StableHLO to .tflite without TensorFlow, run by XNNPACK on one thread."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from latency_models.device import Device, Runnable, check_equal, machine_fingerprint, random_inputs
from latency_models.litert_conversion import SIGNATURE, input_name
from latency_models.litert_converter_process import ConverterProcess
from latency_models.timing import Clock
from latency_models.xla_cpu import reference_output, trace

_THREADS = 1


class LiteRtCpu(Device):
    """LiteRT with XNNPACK on one thread, timed by that thread's CPU time: other load hardly moves it."""

    name = "litert-cpu"
    description = "LiteRT (TensorFlow Lite's successor) with XNNPACK kernels on one CPU thread, float32"
    threads = _THREADS
    clock: Clock = "thread_cpu"

    def __init__(self) -> None:
        """Starts no process yet: the converter starts with the first network."""
        self._converter = ConverterProcess()

    def prepare(self, function: Callable[..., Any], example_inputs: Sequence[Any]) -> Runnable:
        """Converts, loads, and checks against JAX on random inputs; JAX computes while the child process converts."""
        traced = trace(function, example_inputs)
        inputs = random_inputs(example_inputs)
        with ThreadPoolExecutor(1) as executor:
            model = executor.submit(self._convert, traced, len(inputs))
            reference = reference_output(traced, inputs)
            runnable = LiteRtRunnable(model.result(), inputs)
        check_equal(runnable(), reference, device=self.name)
        runnable.set_inputs([np.asarray(x) for x in example_inputs])
        return runnable

    def convert(self, function: Callable[..., Any], example_inputs: Sequence[Any]) -> bytes:
        """The .tflite model of a JAX function with its weights closed over, not checked.

        Raises:
          ValueError: The converter refuses it.
        """
        return self._convert(trace(function, example_inputs), len(example_inputs))

    def _convert(self, traced: Any, num_inputs: int) -> bytes:
        bytecode = io.BytesIO()
        traced.lower().compiler_ir("stablehlo").operation.write_bytecode(bytecode)
        return self._converter.convert(bytecode.getvalue(), num_inputs)

    def fingerprint(self) -> dict[str, str]:
        """Runtime, converter and JAX version, threads and machine."""
        return {
            "device": self.name,
            "threads": str(self.threads),
            "clock": "CPU time of the one computing thread",
            **machine_fingerprint("ai-edge-litert", "litert-converter", "jax"),
        }


class LiteRtRunnable(Runnable):
    """A loaded .tflite model with its inputs set."""

    def __init__(self, model: bytes, inputs: Sequence[np.ndarray]) -> None:
        """Loads the model, packs its weights and sets the inputs."""
        self._model = model  # the interpreter reads the weights from these bytes
        self._interpreter = Interpreter(model_content=model, num_threads=_THREADS)
        self._interpreter.allocate_tensors()
        # The converter may reorder tensors: the signature knows which is which. Its runner must not outlive this line.
        details = self._interpreter.get_signature_runner(SIGNATURE).get_input_details()
        self._inputs = [int(details[input_name(i)]["index"]) for i in range(len(details))]
        self._output = int(self._interpreter.get_output_details()[0]["index"])
        self.set_inputs(inputs)

    @property
    def model_bytes(self) -> int:
        """Size of the .tflite file."""
        return len(self._model)

    @property
    def partitions(self) -> int:
        """Number of pieces of the graph that XNNPACK took; 1 means all of it."""
        return sum(op["op_name"] == "DELEGATE" for op in self._interpreter._get_ops_details())

    def set_inputs(self, inputs: Sequence[np.ndarray]) -> None:
        """Copies inputs in, in the function's order."""
        for index, value in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, value)

    def run(self) -> None:
        """Runs the model once; the inputs stay in place."""
        self._interpreter.invoke()

    def output(self) -> np.ndarray:
        """A copy of the last output."""
        return self._interpreter.get_tensor(self._output)
