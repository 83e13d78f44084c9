"""What a trait is worth: designs that lack it beside the same designs with it, and nothing else changed."""

from collections.abc import Sequence

import numpy as np

from experiments.rediscovery.traits import Trait
from objectives import Estimate
from objectives.denoising import mean_estimate
from search_space import Architecture, SearchSpace


def counterparts(designs: Sequence[Architecture], trait: Trait, space: SearchSpace) -> list[tuple[Architecture, Architecture]]:
    """Each design that lacks a trait, or has a number that could be smaller, and what it is with it; both in canonical form.

    A design is left out where of it nothing can be said, or its counterpart lies outside the space.
    """
    pairs = [(x.canonical(), trait.given(x).canonical()) for x in designs if trait.of(x) is not None]
    return [(x, given) for x, given in pairs if given != x and trait.of(x) is not True and space.contains(given)]


def ratio(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """Geometric mean of `after / before` over designs, each compared with itself, and its 95 % interval by Student's t.

    >>> ratio([1.0, 2.0], [2.0, 4.0]).value
    2.0

    Args:
        before: above 0.
        after: as many, above 0.

    Raises:
        ValueError: there are fewer than two pairs, or one value is not above 0.
    """
    if len(before) != len(after) or len(before) < 2:
        raise ValueError(f"a ratio with an interval needs two pairs or more, got {len(before)} and {len(after)} values")
    if min(*before, *after) <= 0:
        raise ValueError(f"only values above 0 have a ratio, got {min(*before, *after)}")
    of_logs = mean_estimate(np.log(after) - np.log(before))
    mean, half = of_logs.value, of_logs.half_width or 0.0
    value, low, high = (float(np.exp(x)) for x in (mean, mean - half, mean + half))
    return Estimate(value, low, high, of_logs.n)
