"""Memory of a network: activations by liveness, weights by dtype.

Liveness: every operation makes one tensor, which lives from its making to its last use; an operation runs while its inputs
and its output are alive, so nothing is computed in place. Counted are all of them, float32, batch 1: the stream, what a
block holds for its addition at the end, skips that wait, queries, keys and values beside the scores, the time embedding,
and the network's inputs, which are there from the start. Not counted is what a runtime needs within one operation (a
convolution's unfolded image), and what it saves by fusing two.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np

Number = TypeVar("Number", int, np.ndarray)
Step = tuple[str, tuple[str, ...], int]  # what is made, what is read to make it, bytes of what is made

# By dtype, the bytes of a weight of a convolution or dense layer, of any other parameter, and of each output channel of a
# convolution or dense layer. int8 is per output channel, as runtimes quantise weights: one float32 scale for each, and
# biases and norms in float32.
_WEIGHT_BYTES: dict[str, tuple[int, int, int]] = {
    "float32": (4, 4, 0),
    "float16": (2, 2, 0),
    "bfloat16": (2, 2, 0),
    "int8": (1, 4, 4),
}


def live_bytes(steps: Iterable[Step], inputs: Mapping[str, int]) -> tuple[int, ...]:
    """Bytes alive while each step runs.

    >>> live_bytes([("a", ("x",), 10), ("b", ("a",), 4), ("c", ("b", "a"), 10)], {"x": 7, "unused": 99})
    (17, 14, 24)

    Args:
        steps: in the order in which they run.
        inputs: bytes of tensors that are there before the first step. What is read but neither made here nor among these
            is counted elsewhere.
    """
    steps = tuple(steps)
    last_use = {name: i for i, (_, reads, _) in enumerate(steps) for name in reads}
    alive = {name: size for name, size in inputs.items() if name in last_use}
    found = []
    for i, (made, reads, size) in enumerate(steps):
        alive[made] = size
        found.append(sum(alive.values()))
        for name in reads:
            if last_use[name] == i:
                alive.pop(name, None)
    return tuple(found)


def weight_bytes(parameters: Number, *, matrix_weights: Number, matrix_channels: Number) -> dict[str, Number]:
    """Bytes of the parameters by dtype, for one network or for an array of them.

    >>> weight_bytes(110, matrix_weights=100, matrix_channels=10)["int8"]
    180

    Args:
        parameters: all of them.
        matrix_weights: those that convolutions and dense layers multiply with.
        matrix_channels: output channels of all convolutions and dense layers together.
    """
    others = parameters - matrix_weights
    return {
        dtype: per_weight * matrix_weights + per_other * others + per_channel * matrix_channels
        for dtype, (per_weight, per_other, per_channel) in _WEIGHT_BYTES.items()
    }
