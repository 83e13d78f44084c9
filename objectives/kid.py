"""Kernel distance between two sets of feature vectors: the unbiased squared MMD with a cubic polynomial kernel.

    k(x, y) = (x . y / features + 1)^3

Its expectation does not depend on n and is zero for two samples of one distribution; so it can come out negative.

Source: Binkowski et al. 2018, "Demystifying MMD GANs", section 4 and appendix E; Gretton et al. 2012, lemma 6.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from objectives.estimate import Estimate

Features = Float[np.ndarray, "n features"]
# Axis names of their own: sizes may differ, or are refused with a message that says what to do.
OtherFeatures = Float[np.ndarray, "m other_features"]


def kernel_distance(first: Features, second: OtherFeatures) -> float:
    """The unbiased squared MMD of two sets of feature vectors; symmetric.

    Raises:
      ValueError: A set has fewer than two vectors, or the two have different numbers of features.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if min(len(first), len(second)) < 2:
        raise ValueError(f"each set needs at least 2 vectors, got {len(first)} and {len(second)}")
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"both sets must have the same features, got {first.shape[1]} and {second.shape[1]}; use one classifier for both"
        )
    return _mean_off_diagonal(first) + _mean_off_diagonal(second) - 2.0 * float(_kernel(first, second).mean())


def kernel_estimate(features: Features, *, reference: OtherFeatures, num_blocks: int = 10) -> Estimate:
    """The kernel distance of generated features to those of the data, with its 95 % interval.

    The interval is the delete-a-block jackknife's over both sets. (The mean over disjoint blocks, the other block
    estimator in use, has an interval nearly twice as long: it never sees the pairs between blocks.)

    Args:
      features: Of generated images, in any order that is not related to their content.
      reference: Of the data, likewise.
      num_blocks: Into how many blocks both sets are cut; each is left out in turn.

    Returns:
      The distance; `n` is the number of generated images. NaN without interval where a feature is not finite.

    Raises:
      ValueError: A set has fewer than two vectors per block.
    """
    values, data = np.asarray(features, np.float64), np.asarray(reference, np.float64)
    if min(len(values), len(data)) < 2 * num_blocks:
        raise ValueError(
            f"an interval needs at least {2 * num_blocks} vectors in each set (2 in each of num_blocks={num_blocks}), "
            f"got {len(values)} and {len(data)}; use more, or fewer blocks"
        )
    if not np.all(np.isfinite(values)):
        return Estimate(float("nan"), n=len(values))
    distance = kernel_distance(values, data)
    parts = zip(_blocks(len(values), num_blocks), _blocks(len(data), num_blocks), strict=True)
    without = np.array(
        [kernel_distance(np.delete(values, one, axis=0), np.delete(data, other, axis=0)) for one, other in parts]
    )
    error = np.sqrt((num_blocks - 1) * np.mean((without - without.mean()) ** 2))
    half = stats.t.ppf(0.975, num_blocks - 1) * error
    return Estimate(distance, distance - half, distance + half, len(values))


def _blocks(n: int, num_blocks: int) -> list[Int[np.ndarray, " block"]]:
    return np.array_split(np.arange(n), num_blocks)


def _kernel(first: Features, second: OtherFeatures) -> Float[np.ndarray, "n m"]:
    return (first @ second.T / first.shape[1] + 1.0) ** 3


def _mean_off_diagonal(values: Features) -> float:
    kernel = _kernel(values, values)
    return float((kernel.sum() - np.trace(kernel)) / (len(values) * (len(values) - 1)))
