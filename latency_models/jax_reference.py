"""What JAX makes of a network, in a child process: its StableHLO, its inputs, and the output that devices are held to.

One long-lived child serves all networks, since networks share compiled operations; after a large network it is replaced,
so that its memory is free for what comes next.
"""

import concurrent.futures
import functools
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from latency_models.network import Build, Network

Result = TypeVar("Result")
MODULE_FILE = "module.mlirbc"
_LARGE_BYTES = 1 << 30
_LOWERING_COPIES = 3.2  # of the weights: JAX's own, as MLIR constants, as bytecode


class JaxProcess:
    """A child process in which networks are built, lowered and computed."""

    def __init__(self, start: Callable[[], None]) -> None:
        """Starts nothing yet.

        Args:
          start: Called first in each child: says on what JAX computes there.
        """
        self._start = start
        self._executor: concurrent.futures.ProcessPoolExecutor | None = None
        self._lock = threading.Lock()  # networks are loaded from several threads; the child serves one at a time

    def call(self, function: Callable[..., Result], network: Network, *arguments: Any) -> Result:
        """`function(network, *arguments)` in the child.

        Raises:
          ValueError: JAX or the function refused, or the child crashed, or there is not enough free memory.
        """
        with self._lock:
            large = network.weight_bytes > _LARGE_BYTES
            if large:
                self._end()
                check_free_memory(int(_LOWERING_COPIES * network.weight_bytes), "JAX to lower it")
            if self._executor is None:
                context = multiprocessing.get_context("spawn")
                self._executor = concurrent.futures.ProcessPoolExecutor(
                    1, mp_context=context, initializer=_begin, initargs=(self._start,)
                )
            try:
                return self._executor.submit(function, network, *arguments).result()
            except BrokenProcessPool:
                self._executor = None
                raise ValueError("the process that builds networks in JAX was killed; is there enough free memory?") from None
            except (ValueError, RuntimeError, MemoryError) as error:  # JAX's own are RuntimeErrors
                raise ValueError(str(error) or type(error).__name__) from error
            finally:
                if large:
                    self._end()

    def close(self) -> None:
        """Ends the child; the next call starts another."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None


def _begin(start: Callable[[], None]) -> None:
    """Starts a child, which ends with its parent, killed or not: the pool's own wait for work would never end."""
    start()  # before there is another thread: it may say how the process keeps memory, which holds for threads to come
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


@functools.cache
def jax_process() -> JaxProcess:
    """The one of this process: devices share its child."""
    return JaxProcess(use_cpu)


def use_cpu() -> None:
    """JAX computes on the CPU in this process, whatever else there is: a GPU rounds products differently."""
    import jax

    jax.config.update("jax_platforms", "cpu")


def lower(network: Network, build: Build, folder: Path) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Writes the network's StableHLO into `folder / MODULE_FILE`; its inputs, and its output for them.

    Locations name scopes and no lines of code, for the whole process: that is how a converter's refusal names a block.
    """
    import jax

    jax.config.update("jax_traceback_in_locations_limit", 0)
    function, inputs = build(network)
    traced = trace(function, inputs)
    with (folder / MODULE_FILE).open("wb") as file:
        traced.lower().compiler_ir("stablehlo").operation.write_bytecode(file)
    return tuple(inputs), reference_output(traced, inputs)


def compute(network: Network, build: Build) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The network's inputs, and its output for them."""
    function, inputs = build(network)
    return tuple(inputs), reference_output(trace(function, inputs), inputs)


def compute_each(network: Network, build: Build, batches: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The network's output for each of several inputs, given in the order of its function's arguments."""
    function, inputs = build(network)
    traced = trace(function, inputs)
    return [reference_output(traced, batch) for batch in batches]


def trace(function: Callable[..., Any], example_inputs: Sequence[Any]) -> Any:
    """JAX's trace of a function (`jax.stages.Traced`); inputs that it does not use stay inputs.

    Weights are constants of such a function, of any size, and JAX's warning of large ones is off for the whole process.

    Raises:
      ValueError: The function returns something else than one array.
    """
    import jax

    jax.config.update("jax_captured_constants_warn_bytes", -1)
    traced = jax.jit(function, keep_unused=True).trace(*example_inputs)
    if not isinstance(traced.out_info, jax.ShapeDtypeStruct):
        raise ValueError(f"a function to measure must return one array, got {traced.out_info!r}; pick one")
    return traced


def reference_output(traced: Any, inputs: Sequence[Any]) -> np.ndarray:
    """What JAX computes operation by operation: networks share compiled operations; a whole one takes seconds."""
    from jax.extend.core import jaxpr_as_fun

    (result,) = jaxpr_as_fun(traced.jaxpr)(*inputs)
    return np.asarray(result)


def check_free_memory(needed: int, who: str) -> None:
    """Refuses before memory runs out.

    Raises:
      ValueError: Less is free.
    """
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return
    line = next((line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable")), None)
    if line is None:
        return
    free = 1024 * int(line.split()[1])
    if free < needed:
        raise ValueError(
            f"this network needs about {needed / 1e9:.1f} GB of free memory for {who}, {free / 1e9:.1f} GB are free; "
            "end other programs, or measure a smaller network"
        )
