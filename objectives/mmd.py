"""Kernel distances between two sets of feature vectors: the unbiased squared maximum mean discrepancy (MMD).

With the cubic polynomial kernel it is the kernel distance (KID in Inception's features); with a Gaussian kernel, on CLIP's
features and on those alone, it is known as CMMD. Its expectation does not depend on n and is zero for two samples of
one distribution; so it can come out negative.

Source: Binkowski et al. 2018, "Demystifying MMD GANs", section 4 and appendix E; Gretton et al. 2012, lemma 6; Jayasumana
et al. 2024, "Rethinking FID".
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import pdist

from objectives.jackknife import Jackknifed

Features = Float[np.ndarray, "n features"]
# Axis names of their own: sizes may differ, or are refused with a message that says what to do.
OtherFeatures = Float[np.ndarray, "m other_features"]
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of two sets of vectors to a matrix of numbers

_MOST_FOR_MEDIAN = 2000  # vectors whose pairs are looked at


def cubic_kernel(first: Features, second: OtherFeatures) -> Float[np.ndarray, "n m"]:
    """k(x, y) = (x . y / features + 1)^3."""
    return (first @ second.T / first.shape[1] + 1.0) ** 3


def gaussian_kernel(bandwidth: float) -> Kernel:
    """k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)); also called RBF kernel.

    Raises:
      ValueError: `bandwidth` is not above 0.
    """
    if not bandwidth > 0:
        raise ValueError(f"`bandwidth` must be above 0, got {bandwidth}; `median_bandwidth` gives one that fits the data")
    return lambda first, second: np.exp(_squared_distances(first, second) / (-2 * bandwidth**2))


def median_bandwidth(features: Features) -> float:
    """The median distance between two vectors, of the first 2,000: a bandwidth that fits the data.

    Where most of them are the same, as of blank images, it is the median of the pairs that differ.

    Source: Gretton et al. 2012, section 8.

    Raises:
      ValueError: All vectors are the same.
    """
    distances = pdist(np.asarray(features[:_MOST_FOR_MEDIAN], np.float64))
    if not (distances > 0).any():
        raise ValueError(f"all {len(features)} images of the data have the same features, from which nothing can be told apart")
    return float(np.median(distances) or np.median(distances[distances > 0]))


@dataclasses.dataclass(frozen=True)
class KernelReference:
    """What samples are compared with; the part of their distance that does not depend on them is computed once.

    Attributes:
      features: Of the data, in any order that is not related to their content.
      kernel: Of two sets of vectors.
      sums: [blocks, blocks], of the kernel over pairs of two different vectors.
    """

    features: OtherFeatures
    kernel: Kernel
    sums: Float[np.ndarray, "blocks blocks"]

    @staticmethod
    def of(features: OtherFeatures, *, kernel: Kernel = cubic_kernel, num_blocks: int = 10) -> "KernelReference":
        """A reference whose features are cut into so many blocks, each of which an interval leaves out in turn.

        Raises:
          ValueError: There are fewer than two vectors per block.
        """
        values = _checked(features, num_blocks)
        return KernelReference(values, kernel, _pair_sums(values, kernel, num_blocks))


def kernel_jackknife(features: Features, *, reference: KernelReference) -> Jackknifed:
    """The kernel distance of generated features to those of the data, and without each block of both.

    (The mean over disjoint blocks, the other block estimator in use, has an interval nearly twice as long: it never sees
    the pairs between blocks.)

    Args:
      features: Of generated images, in any order that is not related to their content.
      reference: Of the data.

    Returns:
      The distances; NaN where a feature is not finite.

    Raises:
      ValueError: There are fewer than two vectors per block, or the two have different numbers of features.
    """
    num_blocks = len(reference.sums)
    values, data = _checked(features, num_blocks), reference.features
    if values.shape[1] != data.shape[1]:
        raise ValueError(
            f"both sets must have the same features, got {values.shape[1]} and {data.shape[1]}; use one extractor for both"
        )
    if not np.all(np.isfinite(values)):
        return Jackknifed(np.nan, np.full(num_blocks, np.nan), len(values))
    own = _pair_sums(values, reference.kernel, num_blocks)
    blocks, others = np.array_split(values, num_blocks), np.array_split(data, num_blocks)
    across = np.array([[reference.kernel(block, other).sum() for other in others] for block in blocks])
    sizes, other_sizes = np.array([len(block) for block in blocks]), np.array([len(other) for other in others])

    def distance(kept: Float[np.ndarray, " blocks"]) -> float:
        n, m = kept @ sizes, kept @ other_sizes
        inside = kept @ own @ kept / (n * (n - 1)) + kept @ reference.sums @ kept / (m * (m - 1))
        return float(inside - 2.0 * (kept @ across @ kept) / (n * m))

    without = [distance(kept) for kept in 1.0 - np.eye(num_blocks)] if num_blocks > 1 else [np.nan]
    return Jackknifed(distance(np.ones(num_blocks)), np.array(without), len(values))


def _checked(features: Features, num_blocks: int) -> Float[np.ndarray, "n features"]:
    values = np.asarray(features, np.float64)
    if len(values) < 2 * num_blocks:
        raise ValueError(
            f"an interval needs at least {2 * num_blocks} vectors in each set (2 in each of num_blocks={num_blocks}), "
            f"got {len(values)}; use more, or fewer blocks"
        )
    return values


def _squared_distances(first: Features, second: OtherFeatures) -> Float[np.ndarray, "n m"]:
    """By one product of matrices: for Inception's 2,048 features SciPy's loop takes minutes."""
    squares = np.sum(first**2, axis=1)[:, None] + np.sum(second**2, axis=1)
    return np.maximum(squares - 2 * (first @ second.T), 0.0)


def _pair_sums(values: Features, kernel: Kernel, num_blocks: int) -> Float[np.ndarray, "blocks blocks"]:
    """Of the kernel over all pairs of two different vectors, by the blocks that they are in."""
    blocks = np.array_split(values, num_blocks)
    sums = np.zeros((num_blocks, num_blocks))
    for i, block in enumerate(blocks):
        for j in range(i + 1):
            matrix = kernel(block, blocks[j])
            sums[i, j] = sums[j, i] = matrix.sum() - (np.trace(matrix) if i == j else 0.0)
    return sums
