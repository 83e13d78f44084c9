"""A network as an XLA program whose weights are arguments: compiled in one process, stored, loaded and run in another.

A weight that is an argument cannot be folded into another constant, and is held once. What the compiler leaves in memory
stays behind in its process. The stored program is XLA's own format, which JAX's compilation cache reads and writes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from latency_models import xla_profile
from latency_models.device import KernelTime
from latency_models.jax_reference import trace
from latency_models.local_session import Runnable
from latency_models.network import Build, Network
from latency_models.timing import Clock

PROGRAM_FILE, ARGUMENTS_FILE = "program.xla", "arguments.npz"
_WEIGHT, _INPUT = "weight", "input"


def compile_program(
    network: Network,
    build: Build,
    folder: Path,
    dtype: str = "float32",
    settings: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Writes the compiled program and its arguments, weights before inputs, into a folder.

    Args:
      network: What is to run.
      build: Makes its function and inputs.
      folder: Existing.
      dtype: float32, or bfloat16: then the arguments are stored as such, and no weight is converted at a run.
      settings: Of the compiler, by XLA's names.
    """
    import jax
    import jax.numpy as jnp
    from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

    from latency_models.xla_bfloat16 import in_bfloat16, narrow_input

    function, inputs = build(network)
    traced = trace(function, inputs).jaxpr
    weights, inputs = [np.asarray(x) for x in traced.consts], [np.asarray(x) for x in inputs]
    if dtype == "bfloat16":
        weights, inputs = [x.astype(jnp.bfloat16) for x in weights], [narrow_input(x) for x in inputs]

    def program(*arguments: Any) -> Any:
        if dtype == "bfloat16":
            return in_bfloat16(traced.jaxpr, arguments[: len(weights)], arguments[len(weights) :])
        (output,) = jaxpr_as_fun(ClosedJaxpr(traced.jaxpr, arguments[: len(weights)]))(*arguments[len(weights) :])
        return output

    arguments = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (*weights, *inputs)]
    compiled = jax.jit(program, keep_unused=True).lower(*arguments).compile(dict[str, str | bool](settings))
    executable: Any = compiled.runtime_executable()
    (folder / PROGRAM_FILE).write_bytes(executable.serialize())
    named = {f"{kind}{i}": x for kind, arrays in ((_WEIGHT, weights), (_INPUT, inputs)) for i, x in enumerate(arrays)}
    np.savez(folder / ARGUMENTS_FILE, allow_pickle=False, **named)
    jax.clear_caches()  # no later network shares anything with this one


def warm_up() -> None:
    """Compiles and runs a tiny program: XLA starts its threads and brings its own code into memory."""
    import jax
    import jax.numpy as jnp

    def program(image: jax.Array, kernel: jax.Array) -> jax.Array:
        convolved = jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.nn.softmax(convolved.reshape(-1, 8) @ kernel[0, 0])

    jax.jit(program)(jnp.ones((1, 8, 8, 8)), jnp.ones((3, 3, 8, 8))).block_until_ready()


class XlaRunnable(Runnable):
    """A compiled program with its arguments on the device."""

    partitions = None

    def __init__(self, folder: Path, *, clocks: tuple[Clock, ...]) -> None:
        """Loads what `compile_program` wrote, one argument at a time."""
        import jax
        import jax.numpy as jnp
        from jaxlib import xla_client

        device = jax.devices()[0]
        program = (folder / PROGRAM_FILE).read_bytes()
        self._program = device.client.deserialize_executable(program, executable_devices=xla_client.DeviceList((device,)))
        with np.load(folder / ARGUMENTS_FILE, allow_pickle=False) as stored:
            arrays = (stored[name] for name in stored.files)
            typed = (x.view(jnp.bfloat16) if x.dtype.kind == "V" else x for x in arrays)  # NumPy has no name for bfloat16
            self._arguments = [jax.device_put(x).block_until_ready() for x in typed]
            self.model_bytes = sum(
                argument.nbytes
                for name, argument in zip(stored.files, self._arguments, strict=True)
                if name.startswith(_WEIGHT)
            )
        self.clocks = clocks
        if device.memory_stats():
            self.device_peak = lambda: device.memory_stats()["peak_bytes_in_use"]
        self._output: Any = None

    def feed(self, inputs: Sequence[np.ndarray]) -> None:
        """Replaces the inputs, which are the last arguments, each in the type that the program takes."""
        import jax

        weights, replaced = self._arguments[: -len(inputs)], self._arguments[-len(inputs) :]
        self._arguments = [*weights, *(jax.device_put(x.astype(old.dtype)) for x, old in zip(inputs, replaced, strict=True))]

    def run(self) -> None:
        """Runs the program once and waits for its output."""
        ((self._output,),) = self._program.execute_sharded(self._arguments).disassemble_into_single_device_arrays()
        self._output.block_until_ready()

    def output(self) -> np.ndarray:
        """A copy of the last output, as float32."""
        return np.array(self._output, np.float32)

    def profile(self, count: int) -> tuple[KernelTime, ...] | None:
        """Each thunk by its block; None on a GPU, whose traces name kernels of their own."""
        if self.device_peak:
            return None
        (module,) = self._program.hlo_modules()
        return xla_profile.profile(module.to_string(), self.run, count)
