"""From a network to a .tflite file: JAX lowers in one child process, LiteRT converts in another."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latency_models.jax_reference import MODULE_FILE, jax_process, lower
from latency_models.litert_converter_process import ConverterProcess
from latency_models.network import Build, Network

MODEL_FILE = "model.tflite"
_FLOAT32_FILE = "float32.tflite"


class LiteRtConverter:
    """The two child processes; a large network's lowering has ended before its conversion starts."""

    def __init__(self) -> None:
        """Starts no process yet."""
        self._converter = ConverterProcess()

    def convert(
        self, network: Network, build: Build, folder: Path, *, names: Sequence[str] = ()
    ) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Writes `folder / MODEL_FILE`; the network's inputs, and what JAX computes for them.

        Args:
          network: What is converted.
          build: Makes its function and inputs.
          folder: Existing.
          names: Of the inputs in the file's signature; `input0`, `input1` and so on where none are given.

        Raises:
          ValueError: The converter refuses it or crashes, or memory does not suffice.
        """
        inputs, reference = jax_process().call(lower, network, build, folder)
        module = folder / MODULE_FILE
        try:
            self._converter.convert(module, folder / MODEL_FILE, input_names=names or input_names(len(inputs)))
        finally:
            module.unlink(missing_ok=True)
        return inputs, reference

    def store_weights(self, folder: Path, *, dtype: str) -> None:
        """Replaces `folder / MODEL_FILE` by one whose weights are stored as `dtype`.

        Raises:
          ValueError: The quantizer refuses it or crashes, or memory does not suffice.
        """
        float32 = (folder / MODEL_FILE).rename(folder / _FLOAT32_FILE)
        try:
            self._converter.store_weights(float32, folder / MODEL_FILE, dtype=dtype)
        finally:
            float32.unlink()


def input_names(count: int) -> tuple[str, ...]:
    """The signature's names of inputs that nobody named."""
    return tuple(f"input{i}" for i in range(count))


@functools.cache
def litert_converter() -> LiteRtConverter:
    """The one of this process: devices share its children."""
    return LiteRtConverter()
