"""Holds the network of a bundle to inputs and outputs that were recorded elsewhere."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bundle import apply_network, open_bundle, read_bundle
from experiments.errors import InputError
from experiments.npz_file import read_npz
from search_space import LayerPlan
from supernet import XLA

_KEYS = {
    "x": "(n, channels, height, width)", "t": "(n,)", "context": "(n, tokens, features)",
    "y": "(n, channels, height, width)",
}  # fmt: skip
# A program runs a few times here: unoptimised code compiles in half the time, and multiplies matrices as fast.
QUICK_COMPILE: dict[str, Any] = {"xla_backend_optimization_level": 0}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far a network is from a recording of n examples: the norm of the difference over the norm of what was recorded."""

    relative_error: float
    n: int
    tolerance: float

    @property
    def is_equal(self) -> bool:
        """Whether the error is within the tolerance; one that is no number is not."""
        return self.relative_error <= self.tolerance

    def __str__(self) -> str:
        """One line for people."""
        verdict = "equal" if self.is_equal else "NOT EQUAL"
        return f"{verdict}: relative error {self.relative_error:.3g} over {self.n} examples, at most {self.tolerance:g} allowed"


def compare_weights(path: Path, recording: Path, *, tolerance: float) -> Comparison:
    """Runs the network of a bundle on recorded inputs, in float32, and compares with the recorded outputs.

    Args:
        path: the bundle.
        recording: an npz file of `x`, `t`, `context` and `y`; images have their channels first.
        tolerance: relative error up to which the two count as equal.

    Raises:
        InputError: the recording is no such file, or its shapes do not fit the network.
    """
    bundle, _ = open_bundle(path)
    recorded = _read_recording(recording, bundle.plan)
    network, parameters = bundle.network(XLA), read_bundle(path).parameters["network"]
    apply = jax.jit(functools.partial(apply_network, network), compiler_options=QUICK_COMPILE)
    inputs = [jnp.asarray(recorded[key]) for key in ("x", "t", "context")]
    inputs[0] = inputs[0].transpose(0, 2, 3, 1)
    n = len(inputs[0])
    with jax.default_matmul_precision("highest"):  # accelerators multiply float32 in fewer bits by default
        outputs = [
            np.asarray(apply(parameters, *(each[i : i + 1] for each in inputs)))
            for i in range(n)  # one by one: a recording of many needs no more memory than one of one
        ]
    expected = recorded["y"].astype(np.float64)
    found = np.concatenate(outputs).transpose(0, 3, 1, 2).astype(np.float64)
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    return Comparison(error, n, tolerance)


def _read_recording(path: Path, plan: LayerPlan) -> dict[str, np.ndarray]:
    arrays = _read_npz(path)
    if missing := [key for key in _KEYS if key not in arrays]:
        wanted = ", ".join(f"{key} {shape}" for key, shape in _KEYS.items())
        raise InputError(f"{path}: key {missing[0]!r} is missing; the file must hold {wanted}")
    for key in _KEYS:
        if arrays[key].dtype.kind not in "fiu" or not np.isfinite(arrays[key]).all():
            raise InputError(f"{path}: {key} must hold finite numbers, got type {arrays[key].dtype}; record it again")
    _check_shapes(path, arrays, plan)
    if not arrays["y"].any():
        raise InputError(f"{path}: y is all zeros, so that no error is relative to it; record an output of the network")
    return {key: np.asarray(arrays[key], np.float32) for key in _KEYS}


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; give an npz file of {', '.join(_KEYS)}")
    return read_npz(path, wants=_KEYS.__contains__)


def _check_shapes(path: Path, arrays: Mapping[str, np.ndarray], plan: LayerPlan) -> None:
    scale, shapes = plan.scale, {key: arrays[key].shape for key in _KEYS}
    n, step = len(arrays["x"]) if arrays["x"].ndim else 0, 1 << (len(plan.architecture.levels) - 1)
    height, width = shapes["x"][2:] if len(shapes["x"]) == 4 else (0, 0)
    wanted = {
        "x": (shapes["x"] == (n, scale.in_channels, height, width), f"(n, {scale.in_channels}, height, width)"),
        "y": (shapes["y"] == (n, scale.out_channels, height, width), f"({n}, {scale.out_channels}, {height}, {width})"),
        "t": (shapes["t"] == (n,), f"({n},)"),
        "context": (
            len(shapes["context"]) == 3 and shapes["context"][::2] == (n, scale.context_width),
            f"({n}, tokens, {scale.context_width})",
        ),
    }
    for key, (fits, shape) in wanted.items():
        if not fits:
            raise InputError(f"{path}: {key} must have shape {shape} for this network, got {shapes[key]}")
    if not n or height % step or width % step or not height * width * shapes["context"][1]:
        raise InputError(
            f"{path}: x must hold examples whose height and width are multiples of {step}, with at least one token of context, "
            f"got x {shapes['x']} and context {shapes['context']}"
        )
