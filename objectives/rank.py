"""How well one score ranks what another ranks: Kendall's tau-b, with bootstrap intervals.

The bootstrap draws items with replacement. A pair of two copies of one item is tied in both scores, so tau-b leaves
it out by its own definition.

Source: Kendall 1945 (tau-b); Efron and Tibshirani 1993, section 13.3 (percentile interval).
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from objectives.estimate import Estimate

Scores = Float[np.ndarray, " n"]
# Axis names of their own: another length is refused with a message that says which.
OtherScores = Float[np.ndarray, " m"]
Costs = Float[np.ndarray, " k"]


def kendall_tau(first: Scores, second: OtherScores, *, num_resamples: int = 1000, seed: int = 0) -> Estimate:
    """Kendall's tau-b: the share of pairs ranked alike less the share ranked against, corrected for ties.

    >>> kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0])).value
    1.0

    Args:
      first: One score per item.
      second: The other score of the same items, in the same order.
      num_resamples: How many times the items are drawn again.
      seed: Of those draws.

    Returns:
      Tau with a 95 % interval; `n` is the number of items.

    Raises:
      ValueError: Fewer than 3 items, different lengths, a score that is not finite, or one that is constant.
    """
    first, second = _checked(first, second)
    return _kendall(first, second, np.ones((len(first), len(first)), bool), num_resamples, seed)


def kendall_tau_at_equal_cost(
    first: Scores, second: OtherScores, *, cost: Costs, ratio: float = 1.5, num_resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Kendall's tau-b over the pairs whose costs differ by less than a factor: what a score knows beyond the cost.

    Args:
      first: One score per item.
      second: The other score.
      cost: Positive cost of each item, for instance MACs.
      ratio: A pair counts where the larger cost is at most this many times the smaller.
      num_resamples: How many times the items are drawn again.
      seed: Of those draws.

    Raises:
      ValueError: As `kendall_tau`; or a cost is not positive, or all pairs that count are tied.
    """
    first, second = _checked(first, second)
    cost = np.asarray(cost, np.float64)
    if cost.shape != first.shape or not np.all(cost > 0) or ratio <= 1:
        raise ValueError(f"`cost` must be positive, one per item ({len(first)}), and `ratio` above 1, got ratio={ratio}")
    return _kendall(first, second, pairs_at_equal_cost(cost, ratio=ratio), num_resamples, seed)


def pairs_at_equal_cost(cost: Costs, *, ratio: float) -> Bool[np.ndarray, "k k"]:
    """Which pairs of positive costs differ by at most a factor; symmetric, and each with itself."""
    return np.abs(np.log(cost)[:, None] - np.log(cost)[None, :]) <= np.log(ratio)


def _kendall(first: Scores, second: Scores, counts: Bool[np.ndarray, "n n"], num_resamples: int, seed: int) -> Estimate:
    n = len(first)
    signs_first = np.sign(first[:, None] - first[None, :]) * counts
    signs_second = np.sign(second[:, None] - second[None, :]) * counts
    # How often each item was drawn; a pair then counts as often as the product of its two counts.
    drawn = _resamples(n, num_resamples, seed)
    draws = np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float64)
    weights = np.concatenate([np.ones((1, n)), draws])
    agreement = _pair_sums(weights, signs_first * signs_second)
    pairs_first, pairs_second = _pair_sums(weights, signs_first**2), _pair_sums(weights, signs_second**2)
    if pairs_first[0] == 0 or pairs_second[0] == 0:
        raise ValueError("all pairs of similar cost are tied, so they have no ranking; use a larger `ratio`")
    scale = np.sqrt(pairs_first * pairs_second)
    taus = np.divide(agreement, scale, out=np.full_like(scale, np.nan), where=scale > 0)
    return _with_interval(taus[0], taus[1:], n)


def _pair_sums(weights: Float[np.ndarray, "rows n"], values: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " rows"]:
    return np.einsum("ki,ki->k", weights @ values, weights)


def _resamples(n: int, num_resamples: int, seed: int) -> Int[np.ndarray, "rows n"]:
    return np.random.default_rng(seed).integers(0, n, (num_resamples, n))


def _with_interval(value: float, resampled: Float[np.ndarray, " rows"], n: int) -> Estimate:
    # A resample of copies of one item has no ranking; it says nothing on the interval.
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    value = float(np.clip(value, -1.0, 1.0))
    return Estimate(value, min(max(low, -1.0), value), max(min(high, 1.0), value), n)


def _checked(first: Scores, second: OtherScores) -> tuple[Scores, Scores]:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 1 or first.shape != second.shape or len(first) < 3:
        raise ValueError(f"both scores must have the same n >= 3 items, got shapes {first.shape} and {second.shape}")
    if not (np.all(np.isfinite(first)) and np.all(np.isfinite(second))):
        raise ValueError("scores must be finite; leave failed items out of both")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        raise ValueError("a constant score ranks nothing; rank correlation needs at least two distinct values in each")
    return first, second
