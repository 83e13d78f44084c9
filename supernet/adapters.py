"""Low-rank updates of a network's kernels (LoRA): made, added, and read off two networks.

A kernel counts as a matrix [inputs, outputs], that of a 3x3 convolution as [9 channels, outputs]; its update is down @ up.
Depthwise kernels, nine numbers a channel, stay as they are.

Source: Hu et al. 2021 ("LoRA"), section 4.1, with alpha = rank, which leaves the scale to the learning rate; Yeh et al. 2023
("LyCORIS") for convolutions.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from supernet.initializer import Initializer

# "PATH/down" [inputs, rank] and "PATH/up" [rank, outputs], by the path of a kernel.
Updates = dict[str, Any]
_KERNEL, _DOWN, _UP = "/kernel", "/down", "/up"


def fresh_updates(parameters: Mapping[str, Any], *, rank: int, init: Initializer) -> Updates:
    """Updates of all kernels of a network but depthwise ones, that change nothing yet: `up` is zero.

    Args:
        parameters: of the network, by path.
        rank: of an update, at most.
        init: of `down`.
    """
    updates: Updates = {}
    for path in sorted(path for path in parameters if path.endswith(_KERNEL)):
        rows, columns = _as_matrix(parameters[path]).shape
        inner = min(rank, rows, columns)
        updates |= {path + _DOWN: init((rows, inner), std=rows**-0.5), path + _UP: init((inner, columns), std=0.0)}
    return updates


def with_updates(parameters: Mapping[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """A network's parameters with the updates added to its kernels."""
    paths = [path.removesuffix(_DOWN) for path in updates if path.endswith(_DOWN)]
    added = {path: updates[path + _DOWN] @ updates[path + _UP] for path in paths}
    return {**parameters, **{path: parameters[path] + x.reshape(parameters[path].shape) for path, x in added.items()}}


def updates_between(before: Mapping[str, Any], after: Mapping[str, Any], *, rank: int) -> Updates:
    """The updates with which one network becomes another, whose kernels differ by matrices of that rank at most.

    Of any other difference it is the nearest of that rank: the projection on the leading right singular vectors.
    """
    updates = {}
    for path in sorted(path for path in before if path.endswith(_KERNEL)):
        difference = _as_matrix(np.asarray(after[path], np.float64) - np.asarray(before[path], np.float64))
        _, vectors = np.linalg.eigh(difference.T @ difference)  # of rising eigenvalues
        leading = vectors[:, -min(rank, *difference.shape) :]
        updates |= {path + _DOWN: (difference @ leading).astype(np.float32), path + _UP: leading.T.astype(np.float32)}
    return updates


def _as_matrix(kernel: Any) -> Any:
    return kernel.reshape(-1, kernel.shape[-1])
