"""Features of a network for the latency predictor: sums over its kernels, by class, fast enough for a search.

Each column is a quantity that costs time: the number of kernels, the MACs of each class with a matrix product, and the
bytes or elements that each class moves. Blocks recur between architectures: each distinct block is summed once.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from latency_models.kernels import Kernel, block_kernels
from latency_models.network import Network
from search_space import BlockPlan, Scale

# Matrix products over few and many rows (pixels or tokens) differ in speed, so their MACs are counted by size.
_SIZES = {"small": 128, "medium": 512, "large": math.inf}
# Column name -> cost of a unit in nanoseconds, measured kernel by kernel on LiteRT and an x86-64 core. Only the ratios
# matter: a fit of few networks leans on them where its measurements do not tell two columns apart.
PRIOR_NS: dict[str, float] = {
    "kernels.count": 500.0,
    **{f"convolution.macs.{size}": 0.0195 for size in _SIZES},
    "convolution.bytes": 0.02,
    "depthwise_convolution.macs": 0.044,
    **{f"fully_connected.macs.{size}": 0.0175 for size in _SIZES},
    "fully_connected.bytes": 0.02,
    "matrix_vector.bytes": 0.1,
    "attention_scores.macs": 0.0195,
    "attention_scores.elements": 0.2,
    "attention_values.macs": 0.0195,
    "attention_values.elements": 0.2,
    "softmax.elements": 0.3,
    "clamp.elements": 0.1,
    "sigmoid.elements": 0.2,
    "gelu.elements": 1.75,
    "elementwise.elements": 0.085,
    "reduction.elements": 0.06,
    "copy.elements": 0.04,
    "transpose.elements": 0.105,
}
COLUMNS: tuple[str, ...] = tuple(PRIOR_NS)
_INDEX = {name: i for i, name in enumerate(COLUMNS)}
_MOST_CACHED = 1 << 16
_cache: dict[tuple[object, ...], Float[np.ndarray, " columns"]] = {}


def features(networks: Sequence[Network]) -> Float[np.ndarray, "networks columns"]:
    """One row per network, in the order of `COLUMNS`, in counts, MACs, bytes and elements.

    Raises:
      ValueError: There are no networks.
    """
    if not len(networks):
        raise ValueError("at least one network is needed, got none")
    return np.array([sum(_block_features(network.scale, block) for block in network.blocks) for network in networks])


def _block_features(scale: Scale, block: BlockPlan) -> Float[np.ndarray, " columns"]:
    """A block's row; what a block is and where it stands determine its kernels, so they are the key."""
    key = (block.spec, block.resolution, scale)
    row = _cache.get(key)
    if row is None:
        if len(_cache) >= _MOST_CACHED:
            _cache.clear()
        row = _cache[key] = sum_kernels(block_kernels(block))
    return row


def sum_kernels(kernels: Sequence[Kernel]) -> Float[np.ndarray, " columns"]:
    """The features of a list of kernels; a quantity whose class has no column for it costs nothing."""
    row = np.zeros(len(COLUMNS))
    row[0] = len(kernels)
    for kernel in kernels:
        for name, quantity in (
            (f"{kernel.kind}.macs.{_size(kernel)}", kernel.macs),
            (f"{kernel.kind}.macs", kernel.macs),
            (f"{kernel.kind}.bytes", kernel.bytes),
            (f"{kernel.kind}.elements", kernel.elements),
        ):
            if name in _INDEX:
                row[_INDEX[name]] += quantity
    return row


def _size(kernel: Kernel) -> str:
    """The first size class that holds the rows of a kernel's output."""
    rows = math.prod(kernel.out_shape[:-1])
    return next(size for size, most in _SIZES.items() if rows <= most)
