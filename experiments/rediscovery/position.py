"""Where a design stands to a front: on it, ahead of it or behind it, and by how much."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments.choosing import half_width_of_difference
from experiments.evaluation import Evaluation
from experiments.searchers.minimized import minimized_values
from objectives import Estimate, Objective
from objectives.front import hypervolume


@dataclasses.dataclass(frozen=True)
class Position:
    """A design beside the front of a search that was judged alike.

    Attributes:
        is_dominated: whether a design of the front is as good in quality and cost, and better in one.
        cost_ratio: the design's cost, as a multiple of the cheapest on the front that is as good; None where none is.
        quality_lost: its quality less that of the best on the front that costs no more, above 0 where the design is worse,
            with the interval of the difference; None where none is so cheap.
    """

    is_dominated: bool
    cost_ratio: float | None
    quality_lost: Estimate | None


def position(design: Evaluation, front: Sequence[Evaluation], *, quality: Objective, cost: Objective) -> Position:
    """Where a design stands to a front; smaller is better in both after `minimized_values`.

    Args:
        design: judged as the front was.
        front: its members.
        quality: an objective of both.
        cost: another one.
    """
    own_quality, own_cost = minimized_values(design, (quality, cost))
    values = [(member, *minimized_values(member, (quality, cost))) for member in front]
    as_good = [c for _, q, c in values if q <= own_quality]
    as_cheap = [(q, member) for member, q, c in values if c <= own_cost]
    lost = None
    if as_cheap:
        best_quality, best = min(as_cheap, key=lambda pair: pair[0])
        difference = own_quality - best_quality
        half = half_width_of_difference(own := design.objectives[quality.name], best.objectives[quality.name])
        lost = Estimate(difference, difference - half, difference + half, own.n)
    return Position(
        any(q <= own_quality and c <= own_cost and (q, c) != (own_quality, own_cost) for _, q, c in values),
        own_cost / min(as_good) if as_good else None,
        lost,
    )


def hypervolumes(fronts: Sequence[Sequence[Evaluation]], objectives: Sequence[Objective]) -> list[float]:
    """Of each front, as a share of the box that all of them span together, a tenth added to its worst ends."""
    values = [np.stack([minimized_values(member, objectives) for member in front]) for front in fronts]
    together = np.vstack(values)
    best, worst = together.min(axis=0), together.max(axis=0)
    span = np.where(worst > best, worst - best, 1.0)
    return [hypervolume((x - best) / span, reference=np.full(len(span), 1.1)) / 1.1 ** len(span) for x in values]
