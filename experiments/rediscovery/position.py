"""Where a design stands to a front: on it, ahead of it or behind it, and by how much."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from experiments.evaluation import Evaluation
from experiments.front import reference_box
from experiments.searchers.minimized import minimized_values
from objectives import Estimate, Objective
from objectives.front import hypervolume


@dataclasses.dataclass(frozen=True)
class Position:
    """A design beside the front of a search that was judged alike.

    Attributes:
        is_dominated: whether a design of the front is as good in quality and cost, and better in one.
        is_dominated_surely: whether one that costs no more is better in quality beyond the interval of their difference.
        cost_ratio: the design's cost, as a multiple of the cheapest on the front that is as good; None where none is. The
            interval is from the cheapest that is surely better to the cheapest that is not surely worse.
        quality_lost: its quality less that of the best on the front that costs no more, above 0 where the design is worse,
            with the interval of the difference; None where none is so cheap.
    """

    is_dominated: bool
    is_dominated_surely: bool
    cost_ratio: Estimate | None
    quality_lost: Estimate | None


def position(
    design: Evaluation,
    front: Sequence[Evaluation],
    *,
    quality: Objective,
    cost: Objective,
    lost: Callable[[Evaluation, Evaluation], Estimate],
) -> Position:
    """Where a design stands to a front; smaller is better in both after `minimized_values`.

    Args:
        design: judged as the front was.
        front: its members.
        quality: an objective of both.
        cost: another one.
        lost: how much worse in quality the first is than the second, with the interval of the difference.
    """
    own_quality, own_cost = minimized_values(design, (quality, cost)).tolist()
    values = [(*minimized_values(member, (quality, cost)).tolist(), lost(design, member)) for member in front]
    as_good = min((c for q, c, _ in values if q <= own_quality), default=None)
    surely = min((c for *_, c, of in values if of.low is not None and of.low > 0), default=None)
    perhaps = min((c for *_, c, of in values if of.high is None or of.high >= 0), default=None)
    as_cheap = [(q, of) for q, c, of in values if c <= own_cost]
    return Position(
        any(q <= own_quality and c <= own_cost and (q, c) != (own_quality, own_cost) for q, c, _ in values),
        surely is not None and surely <= own_cost,
        None if as_good is None else _ratio(own_cost, as_good, surely, perhaps),
        min(as_cheap, key=lambda pair: pair[0])[1] if as_cheap else None,
    )


def _ratio(cost: float, as_good: float, surely: float | None, perhaps: float | None) -> Estimate:
    if surely is None or perhaps is None:
        return Estimate(cost / as_good)
    return Estimate(cost / as_good, cost / surely, cost / perhaps)


def hypervolumes(
    fronts: Sequence[Sequence[Evaluation]], objectives: Sequence[Objective], *, spanned_by: Sequence[Sequence[Evaluation]]
) -> list[float]:
    """Of each front, as a share of the box that some of them span together, as `reference_box` draws it."""

    def points(front: Sequence[Evaluation]) -> Float[np.ndarray, "members objectives"]:
        return np.stack([minimized_values(member, objectives) for member in front])

    ideal, lengths = reference_box(np.vstack([points(front) for front in spanned_by]))
    return [hypervolume((points(front) - ideal) / lengths, reference=np.ones(len(lengths))) for front in fronts]
