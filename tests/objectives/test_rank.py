"""Rank correlation against scipy, its intervals against resampling by hand, refusals."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from objectives.rank import kendall_tau, kendall_tau_at_equal_cost

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=15)


@given(pairs)
def test_values_are_scipys_with_ties(rows):
    first, second = np.array(rows, dtype=np.float64).T
    assume(np.ptp(first) > 0 and np.ptp(second) > 0)
    tau = kendall_tau(first, second, num_resamples=20)
    assert tau.value == pytest.approx(stats.kendalltau(first, second).statistic, abs=1e-12)
    assert -1.0 <= tau.low <= tau.value <= tau.high <= 1.0
    assert tau.n == len(rows)


def test_interval_is_that_of_resampling_one_by_one():
    generator = np.random.default_rng(0)
    first = generator.normal(size=30)
    second = first + generator.normal(size=30)
    drawn = np.random.default_rng(5).integers(0, 30, (100, 30))
    resampled = [stats.kendalltau(first[rows], second[rows]).statistic for rows in drawn]
    found = kendall_tau(first, second, num_resamples=100, seed=5)
    np.testing.assert_allclose([found.low, found.high], np.percentile(resampled, [2.5, 97.5]), atol=1e-9)


def test_equal_cost_looks_only_at_pairs_of_similar_cost():
    cost = np.array([1.0, 1.2, 10.0, 12.0])
    first = np.array([1.0, 2.0, 3.0, 4.0])
    second = np.array([2.0, 1.0, 4.0, 3.0])
    assert kendall_tau(first, second).value == pytest.approx(1 / 3)
    assert kendall_tau_at_equal_cost(first, second, cost=cost).value == -1.0
    assert kendall_tau_at_equal_cost(first, second, cost=cost, ratio=100.0).value == pytest.approx(1 / 3)


def test_refusals():
    good = np.array([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"must have the same n >= 3 items, got shapes \(3,\) and \(2,\)"):
        kendall_tau(good, good[:2])
    with pytest.raises(ValueError, match="scores must be finite"):
        kendall_tau(good, np.array([1.0, np.nan, 3.0]))
    with pytest.raises(ValueError, match="a constant score ranks nothing"):
        kendall_tau(good, np.ones(3))


def test_refuses_costs_that_leave_no_pair():
    good = np.array([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="all pairs of similar cost are tied"):
        kendall_tau_at_equal_cost(good, good, cost=np.array([1.0, 10.0, 100.0]))
    with pytest.raises(ValueError, match="`cost` must be positive, one per item"):
        kendall_tau_at_equal_cost(good, good, cost=np.array([1.0, 0.0, 100.0]))
