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

_NUM_HALVES = 400


@dataclasses.dataclass(frozen=True)
class Position:
    """A design beside the front of a search that was judged alike.

    Attributes:
        is_dominated: whether a design of the front is as good in quality and cost, and better in one.
        cost_ratio: the design's cost, as a multiple of the cheapest on the front that is as good; None where none is. The
            interval is from the cheapest that is surely better to the cheapest that is not surely worse.
    """

    is_dominated: bool
    cost_ratio: Estimate | None


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
    return Position(
        any(q <= own_quality and c <= own_cost and (q, c) != (own_quality, own_cost) for q, c, _ in values),
        None if as_good is None else _ratio(own_cost, as_good, surely, perhaps),
    )


def halves(num_samples: int) -> Float[np.ndarray, "halvings samples"]:
    """Ways to part samples at random: 1 of those that choose a design, 0 of those that judge it. The same at every call."""
    rng = np.random.default_rng(0)
    first = np.arange(num_samples) < num_samples // 2
    return np.stack([rng.permutation(first) for _ in range(_NUM_HALVES)]).astype(np.float64)


def middle(values: Float[np.ndarray, " halvings"]) -> Estimate:
    """The median over halvings, and what 95 % of them lie within."""
    low, value, high = np.quantile(values, (0.025, 0.5, 0.975)).tolist()
    return Estimate(value, low, high, len(values))


def lost_to_the_best(losses: Float[np.ndarray, " samples"], others: Float[np.ndarray, "designs samples"]) -> Estimate:
    """A design's loss less that of the best of others, where one half of the samples chooses the best and the other judges it.

    By the samples that chose it, the best of many would look better than it is.

    Args:
        losses: of the design, on each sample.
        others: at least one, on the same samples.
    """
    choosing = halves(len(losses))
    best = np.argmin(choosing @ others.T, axis=1)  # the halves are of one size
    judging = 1 - choosing
    return middle(np.sum(judging * (losses - others[best]), axis=1) / judging.sum(axis=1))


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
