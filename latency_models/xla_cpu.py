"""XLA on the CPU, as JAX runs it: no export, no second runtime; also the reference that other devices are held to."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from latency_models.device import Device, Runnable, check_equal, machine_fingerprint, random_inputs
from latency_models.timing import Clock

_SINGLE_THREAD = {"xla_cpu_multi_thread_eigen": False}


class XlaCpu(Device):
    """XLA's CPU backend, timed by the CPU time of the whole process.

    A compiled program runs in a thread of XLA's own, so the caller's thread time sees nothing of it. Not controlled:
    whether XLA runs independent operations of a network side by side, on which core, and what else this process does
    meanwhile; the sum of CPU time hardly depends on the first, and the last must be avoided by the caller.
    """

    name = "xla-cpu"
    description = "XLA's CPU backend through JAX, one thread per convolution and matrix product, float32"
    threads = 1
    clock: Clock = "process_cpu"

    def prepare(self, function: Callable[..., Any], example_inputs: Sequence[Any]) -> Runnable:
        """Compiles, and checks on random inputs against JAX running operation by operation."""
        traced = trace(function, example_inputs)
        compiled = traced.lower().compile(compiler_options=_SINGLE_THREAD)
        inputs = random_inputs(example_inputs)
        check_equal(np.asarray(compiled(*inputs)), reference_output(traced, inputs), device=self.name)
        weights = sum(constant.nbytes for constant in traced.jaxpr.consts)
        return XlaRunnable(compiled, [jax.device_put(x) for x in example_inputs], weights)

    def fingerprint(self) -> dict[str, str]:
        """Version, threads, clock and machine."""
        return {
            "device": self.name,
            "threads": f"{self.threads} per operation; operations side by side are not controlled",
            "clock": "CPU time of the process",
            **machine_fingerprint("jax", "jaxlib"),
        }


class XlaRunnable(Runnable):
    """A compiled XLA program with its inputs on the device."""

    def __init__(self, compiled: Any, inputs: Sequence[jax.Array], model_bytes: int) -> None:
        """Runs once, so that `output` is always there."""
        self._compiled = compiled
        self._inputs = inputs
        self._model_bytes = model_bytes
        self.run()

    @property
    def model_bytes(self) -> int:
        """Size of the weights, in bytes: nothing else is stored."""
        return self._model_bytes

    @property
    def partitions(self) -> None:
        """XLA has no notion of partitions."""

    def run(self) -> None:
        """Runs the program once and waits for its output."""
        self._output = self._compiled(*self._inputs)
        self._output.block_until_ready()

    def output(self) -> np.ndarray:
        """A copy of the last output."""
        return np.array(self._output)


def trace(function: Callable[..., Any], example_inputs: Sequence[Any]) -> Any:
    """JAX's trace of a function (`jax.stages.Traced`); inputs that it does not use stay inputs.

    Raises:
      ValueError: The function returns something else than one array.
    """
    traced = jax.jit(function, keep_unused=True).trace(*example_inputs)
    if not isinstance(traced.out_info, jax.ShapeDtypeStruct):
        raise ValueError(f"a function to measure must return one array, got {traced.out_info!r}; pick one")
    return traced


def reference_output(traced: Any, inputs: Sequence[Any]) -> np.ndarray:
    """What JAX computes operation by operation: networks share compiled operations; a whole one takes seconds."""
    (result,) = jaxpr_as_fun(traced.jaxpr)(*inputs)
    return np.asarray(result)
