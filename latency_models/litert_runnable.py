"""A .tflite file in LiteRT's interpreter, whichever kernels run it."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latency_models.device import KernelTime
from latency_models.litert_conversion import SIGNATURE
from latency_models.litert_file import input_names
from latency_models.litert_graph import blamed
from latency_models.litert_profile import profile_model
from latency_models.local_session import Runnable
from latency_models.timing import Clock


def import_litert() -> None:
    """Brings LiteRT's library into memory."""
    importlib.import_module("ai_edge_litert.interpreter")


def open_interpreter(path: Path, **options: Any) -> Any:
    """LiteRT's interpreter of a file, with its memory planned.

    Args:
      path: A .tflite file.
      options: As the interpreter takes them, threads and kernels.

    Raises:
      ValueError: LiteRT refuses an operation; the message names it and its block.
    """
    from ai_edge_litert.interpreter import Interpreter

    def opened() -> Any:
        interpreter = Interpreter(model_path=str(path), **options)
        interpreter.allocate_tensors()
        return interpreter

    return _naming_the_operation(path, opened)


class LiteRtRunnable(Runnable):
    """A loaded .tflite model with its inputs set."""

    def __init__(
        self,
        path: Path,
        inputs: Sequence[np.ndarray],
        interpreter: Any,
        *,
        clocks: tuple[Clock, ...],
        profiler_options: str,
        names: Sequence[str] = (),
        partitions: int | None = None,
        left_out: tuple[str, ...] = (),
    ) -> None:
        """Sets the inputs.

        Args:
          path: The model.
          inputs: In the order of the function's arguments.
          interpreter: From `open_interpreter`.
          clocks: That mean something for it.
          profiler_options: How the profiler is told of the same kernels and threads.
          names: Of the inputs in the file's signature, where they are not `input0` and so on.
          partitions: Of a delegate, where there is one.
          left_out: What the delegate leaves out.
        """
        self._path, self._interpreter = path, interpreter
        self.clocks, self._profiler_options = clocks, profiler_options
        self.partitions, self.left_out = partitions, left_out
        self.model_bytes = path.stat().st_size
        # The converter may reorder tensors: the signature knows which is which. Its runner must not outlive this line.
        details = interpreter.get_signature_runner(SIGNATURE).get_input_details()
        self._places = {name: int(details[name]["index"]) for name in names or input_names(len(inputs))}
        self.feed(inputs)
        self._output = int(interpreter.get_output_details()[0]["index"])

    def feed(self, inputs: Sequence[np.ndarray]) -> None:
        """Copies the inputs into the interpreter's memory."""
        self._inputs = dict(zip(self._places, inputs, strict=True))
        for name, value in self._inputs.items():
            self._interpreter.set_tensor(self._places[name], value)

    def run(self) -> None:
        """Runs the model once; the inputs stay in place."""
        _naming_the_operation(self._path, self._interpreter.invoke)

    def output(self) -> np.ndarray:
        """A copy of the last output."""
        return self._interpreter.get_tensor(self._output)

    def profile(self, count: int) -> tuple[KernelTime, ...]:
        """Loads the model a second time with the profiler on."""
        shape, options = self.output().shape, self._profiler_options
        return profile_model(self._path, self._inputs, output_shape=shape, count=count, cpu_options=options)


def _naming_the_operation(path: Path, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (ValueError, RuntimeError) as error:
        operation = blamed(path, str(error))
        if operation is None:
            raise
        raise ValueError(f"LiteRT refuses operation {operation}: {' '.join(str(error).split())}; {_REMEDY}") from None


_REMEDY = "write it differently, or measure on device 'xla-cpu'"
