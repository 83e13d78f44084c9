"""What a trait is worth: designs that lack it beside the same designs with it, and nothing else changed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from experiments.rediscovery.traits import Trait
from objectives import Estimate
from objectives.denoising import mean_estimate
from search_space import Architecture, SearchSpace


def counterparts(designs: Sequence[Architecture], trait: Trait, space: SearchSpace) -> list[tuple[Architecture, Architecture]]:
    """Each design that lacks a trait, and what it is with it; both in canonical form.

    A design is left out where of it nothing can be said, or its counterpart has the trait no more than it, or lies outside the
    space.
    """
    pairs = [(x.canonical(), trait.given(x).canonical()) for x in designs if trait.of(x) is False]
    return [(x, given) for x, given in pairs if trait.of(given) and space.contains(given)]


def ratio(before: ArrayLike, after: ArrayLike) -> Estimate:
    """Geometric mean of `after / before` over designs, each compared with itself, and its 95 % interval.

    >>> ratio([1.0, 2.0], [2.0, 4.0]).value
    2.0

    The interval is Student's t over designs. Where each value is a mean over images that are the same for all designs, another
    draw of images would move all pairs together: that error, by the images' share in the mean, is added in quadrature.

    Args:
        before: above 0, of each design; or [designs, images], whose means are compared.
        after: of the same shape.

    Raises:
        ValueError: there are fewer than two pairs, or one value is not above 0.
    """
    pairs = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if pairs[0].shape != pairs[1].shape or len(pairs[0]) < 2:
        raise ValueError(f"a ratio with an interval needs two pairs or more, got {len(pairs[0])} and {len(pairs[1])} values")
    if min(x.min() for x in pairs) <= 0:
        raise ValueError(f"only values above 0 have a ratio, got {min(x.min() for x in pairs)}")
    means = [x.reshape(len(x), -1).mean(axis=1) for x in pairs]
    of_logs = mean_estimate(np.log(means[1]) - np.log(means[0]))
    mean, half = of_logs.value, of_logs.half_width or 0.0
    if pairs[0].ndim == 2:
        shares = [np.mean(x / of_design[:, None], axis=0) for x, of_design in zip(pairs, means, strict=True)]
        half = float(np.hypot(half, mean_estimate(shares[1] - shares[0]).half_width or 0.0))
    value, low, high = (float(np.exp(x)) for x in (mean, mean - half, mean + half))
    return Estimate(value, low, high, of_logs.n)
