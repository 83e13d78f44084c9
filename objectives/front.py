"""The Pareto front over minimised objectives: membership, certain or probable, hypervolume, crowding, knee.

Arrays are numpy [points, objectives], all to be minimised (`objectives.as_minimized` turns the others round). A row
with a number that is not finite is a failure: it is never on the front and dominates nothing. The counting is pymoo's.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from pymoo.indicators.hv import HV
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

Values = Float[np.ndarray, "points objectives"]
_HALF_WIDTH_IN_DEVIATIONS = 1.959964  # of a normal's 95 % interval


def non_dominated(values: Values) -> Bool[np.ndarray, " points"]:
    """Which points no other point is at least as good as in all objectives and better than in one.

    Equal points do not dominate each other: either all of them are on the front or none is.

    >>> non_dominated(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [np.nan, 0.0]])).tolist()
    [True, True, False, False]
    """
    values = _checked(values)
    mask = np.zeros(len(values), dtype=bool)
    finite = np.flatnonzero(np.isfinite(values).all(axis=1))
    if len(finite):
        mask[finite[NonDominatedSorting().do(values[finite], only_non_dominated_front=True)]] = True
    return mask


def non_dominated_ranks(values: Values) -> Float[np.ndarray, " points"]:
    """The front each point is on when fronts are peeled off one by one: 0 for the first, infinity for a failure."""
    values = _checked(values)
    ranks = np.full(len(values), np.inf)
    finite = np.flatnonzero(np.isfinite(values).all(axis=1))
    if len(finite):
        for rank, front in enumerate(NonDominatedSorting().do(values[finite])):
            ranks[finite[front]] = rank
    return ranks


def certain_ranks(low: Values, high: Values) -> Float[np.ndarray, " points"]:
    """The front each point is on where its objectives are known up to an interval; infinity for a failure.

    A point dominates another only where it would anywhere within the two points' intervals. Those of rank 0 are all that may
    yet turn out to be on the front. With intervals of no length these are the ranks of `non_dominated_ranks`.

    >>> certain_ranks(np.array([[1.0], [2.0], [4.0]]), np.array([[2.5], [3.0], [5.0]])).tolist()
    [0.0, 0.0, 1.0]

    Source: Limbourg and Aponte 2005, "An optimization algorithm for imprecise multi-objective problem functions".
    """
    low, high = _checked(low), _checked(high)
    ranks = np.full(len(low), np.inf)
    left = np.flatnonzero(np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1))
    best, worst = low[left], high[left]
    dominates = np.ones((len(left), len(left)), dtype=bool)
    is_better = np.zeros_like(dominates)
    for i in range(low.shape[1]):
        dominates &= worst[:, None, i] <= best[None, :, i]
        is_better |= worst[:, None, i] < best[None, :, i]
    dominates &= is_better
    rank, is_left = 0, np.ones(len(left), dtype=bool)
    num_above = dominates.sum(axis=0)
    while is_left.any():
        front = np.flatnonzero(is_left & (num_above == 0))
        ranks[left[front]] = rank
        num_above -= dominates[front].sum(axis=0)
        is_left[front] = False
        rank += 1
    return ranks


def front_probability(
    values: Values, half_widths: Float[np.ndarray, "rows columns"], *, num_samples: int = 1000, seed: int = 0
) -> Float[np.ndarray, " points"]:
    """How probably each point is on the front, where every objective is known up to a 95 % interval of its own.

    The objectives of all points are taken as independent and normal, half a 95 % interval being 1.96 standard deviations;
    they are drawn `num_samples` times, and the share of draws counted in which a point is on the front. A share is thus off
    by at most 1 / sqrt(num_samples) in 95 % of cases. A failure has the probability 0. Points that are dominated even with
    intervals twice as long, which each exceeds once in 20,000 draws, are left out and have 0 as well.

    >>> front_probability(np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]]), np.zeros((3, 2))).tolist()
    [1.0, 1.0, 0.0]

    Args:
      values: To be minimised.
      half_widths: Half the length of each value's 95 % interval; 0 for a value that is exact.
      num_samples: Draws.
      seed: Of the draws.

    Raises:
      ValueError: The shapes differ, or half a width is below 0 or not finite.
    """
    values, half_widths = _checked(values), np.asarray(half_widths, dtype=np.float64)
    if half_widths.shape != values.shape:
        raise ValueError(f"`half_widths` must have the shape of `values`, {values.shape}, got {half_widths.shape}")
    if not (np.isfinite(half_widths) & (half_widths >= 0)).all():
        raise ValueError("`half_widths` must be finite and 0 or more; give 0 for a value that is exact")
    if not half_widths.any():
        return non_dominated(values).astype(np.float64)
    rows = _candidates(values - 2 * half_widths, values + 2 * half_widths)
    counts = np.zeros(len(rows))
    if len(rows):
        span = np.ptp(values[rows], axis=0)
        scale = np.where(span > 0, span, 1.0)  # sums then weigh all objectives alike, and find what dominates many
        mean, deviation = (values[rows] / scale).T, (half_widths[rows] / _HALF_WIDTH_IN_DEVIATIONS / scale).T
        rng = np.random.default_rng(seed)
        for _ in range(num_samples):
            counts[_front_columns(mean + deviation * rng.standard_normal(mean.shape))] += 1
    probability = np.zeros(len(values))
    probability[rows] = counts / num_samples
    return probability


def hypervolume(values: Values, *, reference: Float[np.ndarray, " entries"]) -> float:
    """The volume dominated by the points and bounded by the reference point; points beyond it add nothing.

    >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), reference=np.array([3.0, 3.0]))
    3.0

    Raises:
      ValueError: `reference` has another number of objectives or is not finite.
    """
    values, reference = _checked(values), _checked_reference(values, reference)
    inside = values[np.isfinite(values).all(axis=1) & (values < reference).all(axis=1)]
    return float(np.asarray(HV(ref_point=reference)(inside))) if len(inside) else 0.0


def hypervolume_over_time(values: Values, *, reference: Float[np.ndarray, " entries"]) -> Float[np.ndarray, " points"]:
    """The hypervolume after each evaluation, in the order of the rows; it never falls."""
    values, reference = _checked(values), _checked_reference(values, reference)
    found = np.zeros(len(values))
    front = np.empty((0, values.shape[1]))
    volume = 0.0
    for index, point in enumerate(values):
        is_inside = bool(np.all(np.isfinite(point)) and np.all(point < reference))
        if is_inside and not np.any(np.all(front <= point, axis=1)):
            front = np.concatenate([front[~np.all(point <= front, axis=1)], point[None]])
            volume = max(volume, hypervolume(front, reference=reference))
        found[index] = volume
    return found


def crowding_distance(values: Values) -> Float[np.ndarray, " points"]:
    """How far each point of one front is from its neighbours: the mean over objectives of the normalised gap.

    The extremes are infinitely far. Call it with the points of one front, all finite.

    Raises:
      ValueError: A value is not finite.

    Source: Deb et al. 2002 (NSGA-II), section III-B.
    """
    values = _checked(values)
    if not np.all(np.isfinite(values)):
        raise ValueError("crowding needs finite points; take those of `non_dominated` first")
    return calc_crowding_distance(values) if len(values) else np.zeros(0)


def knee(values: Values) -> int:
    """The row of the front's knee: where giving up a little of one objective stops paying in another.

    The rule: each objective is scaled so that the front runs from 0 to 1; the hyperplane goes through the front's
    extremes, the best point of each objective; the knee is the point of the front farthest from it on the side of the
    ideal point. Where the extremes fix no such plane (fewer points than objectives) all objectives weigh alike.
    The first row wins a tie.

    >>> knee(np.array([[0.0, 1.0], [0.1, 0.2], [1.0, 0.0]]))
    1

    Raises:
      ValueError: No point is finite.

    Source: Das 1999, "On characterizing the knee of the Pareto curve based on normal-boundary intersection".
    """
    values = _checked(values)
    rows = np.flatnonzero(non_dominated(values))
    if not len(rows):
        raise ValueError(f"a knee needs at least one finite point, got {len(values)} rows without; nothing was measured")
    front = values[rows]
    low, span = front.min(axis=0), np.ptp(front, axis=0)
    scaled = (front - low) / np.where(span > 0, span, 1.0)
    normal = _plane_normal(scaled)
    distance = (1.0 - scaled @ normal) / np.linalg.norm(normal)
    return int(rows[np.argmax(distance)])


def knee_shares(values: Values, half_widths: Values, *, num_draws: int = 200, seed: int = 0) -> Float[np.ndarray, " points"]:
    """How often each point is the knee where values are drawn from their intervals, independent and normal.

    Args:
        values: finite.
        half_widths: of the 95 % intervals; 0 where a value is exact.
        num_draws: how many times a knee is looked for.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros(len(values))
    for _ in range(num_draws):
        counts[knee(values + half_widths / _HALF_WIDTH_IN_DEVIATIONS * rng.standard_normal(values.shape))] += 1
    return counts / num_draws


def nearest_to_wish(values: Values, *, wish: Float[np.ndarray, " objectives"]) -> int:
    """The row whose worst shortfall from the wish is least, in units of each objective's range; a surplus counts for it.

    >>> nearest_to_wish(np.array([[0.0, 1.0], [0.5, 0.4], [1.0, 0.0]]), wish=np.array([0.6, 0.6]))
    1

    Source: Wierzbicki 1980, the augmented achievement function: the largest shortfall plus a little of their sum.
    """
    usable = np.flatnonzero(np.isfinite(values).all(axis=1))
    span = np.ptp(values[usable], axis=0)
    shortfalls = (values[usable] - wish) / np.where(span > 0, span, 1.0)
    return int(usable[np.argmin(shortfalls.max(axis=1) + 1e-3 * shortfalls.sum(axis=1))])


def _candidates(low: Values, high: Values) -> Int[np.ndarray, " candidates"]:
    """Rows that no other one dominates for certain: those of rank 0 in `certain_ranks`."""
    is_left = np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1)
    # Whatever dominates a point for certain is dominated at its worst by one of these, which then does so too.
    for worst in high[non_dominated(high)]:
        is_left &= ~(np.all(worst <= low, axis=1) & np.any(worst < low, axis=1))
    return np.flatnonzero(is_left)


def _front_columns(values: Float[np.ndarray, "objectives points"]) -> list[int]:
    """Columns of the front of finite points, by taking the least sum that is left, and with it all that it dominates."""
    order = np.argsort(values.sum(axis=0))
    left = values[:, order]
    found = []
    while len(order):
        found.append(int(order[0]))
        # Nothing that is left dominates a least sum; it dominates what is better nowhere, but for its equals.
        first = left[:, :1]
        is_left = np.any(left < first, axis=0) | np.all(left == first, axis=0)
        is_left[0] = False
        order, left = order[is_left], left[:, is_left]
    return found


def _plane_normal(scaled: Values) -> Float[np.ndarray, " objectives"]:
    """The w of the plane w . f = 1 through the best point of each objective; all ones where there is no such plane."""
    # Of several best points the one that is best elsewhere is the extreme.
    extremes = np.stack([scaled[np.lexsort((scaled.sum(axis=1), scaled[:, axis]))[0]] for axis in range(scaled.shape[1])])
    ones = np.ones(scaled.shape[1])
    if np.linalg.matrix_rank(extremes) < scaled.shape[1]:
        return ones
    normal = np.linalg.solve(extremes, ones)
    return normal if np.all(normal > 0) else ones


def _checked(values: Values) -> Values:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 1:
        raise ValueError(f"values must have shape [points, objectives], got {values.shape}; give one row per point")
    return values


def _checked_reference(values: Values, reference: Float[np.ndarray, " entries"]) -> Float[np.ndarray, " objectives"]:
    reference = np.asarray(reference, dtype=np.float64)
    if reference.shape != values.shape[1:] or not np.all(np.isfinite(reference)):
        raise ValueError(f"`reference` must have {values.shape[1]} finite entries, one per objective, got {reference.tolist()}")
    return reference
