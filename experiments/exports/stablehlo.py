"""A graph as StableHLO: `jax.export`'s serialised form, with the weights inside, and back.

The module in it is a portable artifact, which StableHLO's readers accept for five years; other tools than JAX take it out with
`jax.export.deserialize(content).mlir_module_serialized`. These functions run in child processes.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from latency_models.network import Build, Network


def write_stablehlo(network: Network, build: Build, path: Path) -> None:
    """Writes a function; no location in it names a file of this machine."""
    jax.config.update("jax_traceback_in_locations_limit", 0)
    function, inputs = build(network)
    arguments = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
    # Nothing in it is the CPU's own; without this, JAX would run it nowhere else.
    anywhere = [jax.export.DisabledSafetyCheck.platform()]
    exported = jax.export.export(jax.jit(function, keep_unused=True), platforms=("cpu",), disabled_checks=anywhere)
    path.write_bytes(exported(*arguments).serialize())


def run_stablehlo(network: Network, path: Path, calls: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The outputs of a file that `write_stablehlo` wrote."""
    del network
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    program = jax.jit(exported.call)
    return [np.asarray(program(*call)) for call in calls]
