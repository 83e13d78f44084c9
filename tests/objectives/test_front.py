"""The front against brute force under permutation, duplication, ties and failures; hypervolume; knee."""

import itertools
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.front import (
    certain_ranks,
    crowding_distance,
    front_probability,
    hypervolume,
    hypervolume_over_time,
    knee,
    knee_shares,
    nearest_to_wish,
    non_dominated,
    non_dominated_ranks,
)

# Few distinct values make ties and duplicates common.
entries = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0]) | st.sampled_from([np.nan, np.inf, -np.inf])
finite_entries = st.integers(0, 6).map(float)


def tables(elements, num_objectives=(1, 2, 3), max_rows=12):
    return st.sampled_from(num_objectives).flatmap(
        lambda m: st.lists(st.lists(elements, min_size=m, max_size=m), min_size=1, max_size=max_rows).map(np.array)
    )


def brute_force(values):
    """The definition, pair by pair."""
    usable = np.isfinite(values).all(axis=1)
    return np.array(
        [
            usable[i]
            and not any(
                usable[j] and np.all(values[j] <= values[i]) and np.any(values[j] < values[i]) for j in range(len(values))
            )
            for i in range(len(values))
        ]
    )


@given(tables(entries))
def test_is_the_brute_force_front(values):
    np.testing.assert_array_equal(non_dominated(values), brute_force(values))


@given(tables(entries), st.randoms(use_true_random=False))
def test_order_does_not_matter(values, random):
    order = np.array(random.sample(range(len(values)), len(values)))
    np.testing.assert_array_equal(non_dominated(values[order]), non_dominated(values)[order])


@given(tables(entries))
def test_duplicates_share_their_fate(values):
    doubled = np.concatenate([values, values])
    np.testing.assert_array_equal(non_dominated(doubled), np.tile(non_dominated(values), 2))


@given(tables(entries))
def test_failures_are_never_on_the_front_and_change_nothing(values):
    failures = np.full((2, values.shape[1]), -1.0)
    failures[:, 0] = np.nan
    found = non_dominated(np.concatenate([values, failures]))
    np.testing.assert_array_equal(found, np.concatenate([non_dominated(values), [False, False]]))


@given(tables(entries))
def test_ranks_peel_the_fronts_one_by_one(values):
    ranks, left, rank = non_dominated_ranks(values), np.isfinite(values).all(axis=1), 0
    np.testing.assert_array_equal(np.isinf(ranks), ~left)
    while left.any():
        front = brute_force(np.where(left[:, None], values, np.nan))
        np.testing.assert_array_equal(ranks == rank, front)
        left, rank = left & ~front, rank + 1


@settings(max_examples=40)
@given(tables(entries))
def test_without_intervals_certain_ranks_are_the_ranks(values):
    np.testing.assert_array_equal(certain_ranks(values, values), non_dominated_ranks(values))


@given(tables(entries, num_objectives=(2, 4)), st.integers(0, 99))
def test_certain_ranks_are_one_more_than_the_worst_of_what_certainly_dominates(ends, seed):
    half = ends.shape[1] // 2
    low, high = np.sort([ends[:, :half], ends[:, half:]], axis=0)
    ranks = certain_ranks(low, high)
    for i in range(len(low)):
        if not np.isfinite([low[i], high[i]]).all():
            assert ranks[i] == np.inf
            continue
        above = [
            ranks[j]
            for j in range(len(low))
            if np.isfinite([low[j], high[j]]).all() and np.all(high[j] <= low[i]) and np.any(high[j] < low[i])
        ]
        assert ranks[i] == max(above, default=-1) + 1
    order = np.random.default_rng(seed).permutation(len(low))
    np.testing.assert_array_equal(certain_ranks(low[order], high[order]), ranks[order])


def test_front_probability_of_two_points_is_that_of_the_normal_distribution():
    """One is on the front unless the other is better in both: one minus a product of normal probabilities."""
    values, half_widths = np.array([[1.0, 1.0], [1.5, 1.2]]), np.array([[0.8, 0.2], [0.6, 0.4]])
    deviation = np.sqrt((half_widths**2).sum(axis=0)) / 1.959964
    better = [NormalDist().cdf(gap / sigma) for gap, sigma in zip(values[1] - values[0], deviation, strict=True)]
    expected = [1 - np.prod([1 - p for p in better]), 1 - np.prod(better)]
    found = front_probability(values, half_widths, num_samples=20_000)
    np.testing.assert_allclose(found, expected, atol=0.015)  # four standard errors: fails once in 8,000 choices of the seed
    np.testing.assert_array_equal(found, front_probability(values, half_widths, num_samples=20_000))


def test_front_probability_of_the_least_of_equals_is_shared():
    values, half_widths = np.full((4, 1), 3.0), np.full((4, 1), 0.5)
    found = front_probability(values, half_widths, num_samples=10_000)
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(found, 0.25, atol=0.02)


@given(tables(entries))
def test_without_intervals_the_front_is_certain(values):
    np.testing.assert_array_equal(front_probability(values, np.zeros_like(values)), non_dominated(values))


@given(tables(entries))
def test_intervals_that_hardly_matter_change_nothing(values):
    """Each row that is a duplicate is left out: noise, however small, decides between equals."""
    values = np.unique(values, axis=0) + np.linspace(0, 0.1, len(np.unique(values, axis=0)))[:, None]
    found = front_probability(values, np.full_like(values, 1e-9), num_samples=20)
    np.testing.assert_array_equal(found, non_dominated(values))


def test_refuses_widths_that_are_none():
    with pytest.raises(ValueError, match=r"`half_widths` must have the shape of `values`, \(2, 2\), got \(2, 1\)"):
        front_probability(np.ones((2, 2)), np.ones((2, 1)))
    with pytest.raises(ValueError, match="`half_widths` must be finite and 0 or more; give 0 for a value that is exact"):
        front_probability(np.ones((1, 1)), np.full((1, 1), -1.0))


@given(tables(finite_entries, num_objectives=(2, 3), max_rows=8))
def test_hypervolume_counts_unit_cells(values):
    """Whole-number points dominate whole cells: count the cells up to the reference point."""
    reference = np.full(values.shape[1], 5.0)
    cells = itertools.product(range(5), repeat=values.shape[1])
    expected = sum(bool(np.any(np.all(values <= np.array(cell), axis=1))) for cell in cells)
    assert hypervolume(values, reference=reference) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40)
@given(tables(entries, num_objectives=(2, 3), max_rows=8))
def test_hypervolume_over_time_is_that_of_each_prefix(values):
    reference = np.full(values.shape[1], 3.5)
    found = hypervolume_over_time(values, reference=reference)
    expected = [hypervolume(values[: i + 1], reference=reference) for i in range(len(values))]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.all(np.diff(found) >= 0)


def test_crowding_is_the_mean_normalised_gap():
    values = np.array([[0.0, 4.0], [1.0, 2.0], [2.0, 1.0], [4.0, 0.0]])
    found = crowding_distance(values)
    assert np.isinf(found[[0, 3]]).all()
    np.testing.assert_allclose(found[1:3], [(2 / 4 + 3 / 4) / 2, (3 / 4 + 2 / 4) / 2])


def test_knee_of_a_bent_front_is_its_corner_whatever_the_units():
    values = np.array([[9.0, 9.0], [0.0, 1.0], [0.15, 0.3], [0.2, 0.1], [0.6, 0.05], [1.0, 0.0], [np.nan, -5.0]])
    assert knee(values) == 3
    assert knee(values * np.array([1e9, 1e-3]) + np.array([5.0, -7.0])) == 3


def test_knee_in_three_objectives_is_nearest_the_ideal_on_a_symmetric_front():
    values = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.2, 0.2, 0.2], [0.4, 0.1, 0.6]])
    assert knee(values) == 3


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[np.nan, 0.0], [1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]]])
def test_knee_of_a_single_point_is_that_point(values):
    values = np.array(values)
    assert knee(values) == int(np.flatnonzero(np.isfinite(values).all(axis=1))[0])


@given(tables(entries).filter(lambda values: np.isfinite(values).all(axis=1).any()))
def test_knee_is_on_the_front(values):
    assert non_dominated(values)[knee(values)]


def test_nothing_measured_is_an_empty_front():
    empty = np.empty((0, 2))
    assert non_dominated(empty).shape == non_dominated_ranks(empty).shape == crowding_distance(empty).shape == (0,)
    assert hypervolume(empty, reference=np.ones(2)) == 0.0


def test_refuses_a_knee_of_failures():
    with pytest.raises(ValueError, match="a knee needs at least one finite point, got 2 rows without"):
        knee(np.full((2, 2), np.nan))


def test_refuses_a_reference_of_another_length():
    with pytest.raises(ValueError, match=r"`reference` must have 2 finite entries, one per objective, got \[1\.0\]"):
        hypervolume(np.zeros((3, 2)), reference=np.ones(1))


def test_refuses_crowding_of_failures():
    with pytest.raises(ValueError, match="crowding needs finite points"):
        crowding_distance(np.array([[np.nan, 1.0]]))


def test_knee_shares_are_how_often_each_is_the_knee():
    """Two points that mirror each other are the knee equally often; exact values always have the same knee."""
    values = np.array([[0.0, 1.0], [0.3, 0.2], [0.2, 0.3], [1.0, 0.0]])
    exact = knee_shares(values, np.zeros_like(values))
    assert exact.tolist() == np.eye(4)[knee(values)].tolist()
    spread = np.zeros_like(values)
    spread[1:3] = 0.1
    shares = knee_shares(values, spread, num_draws=1000)
    assert shares.sum() == pytest.approx(1)
    assert shares[1] == pytest.approx(0.5, abs=0.06)
    assert shares[2] == pytest.approx(0.5, abs=0.06)


@given(tables(finite_entries, num_objectives=(2, 3)), st.lists(finite_entries, min_size=3, max_size=3))
def test_nothing_that_another_dominates_is_nearest_to_a_wish(values, wish):
    values = np.unique(values, axis=0)
    row = nearest_to_wish(values, wish=np.array(wish[: values.shape[1]]))
    assert non_dominated(values)[row]


def test_a_failure_is_nearest_to_no_wish():
    assert nearest_to_wish(np.array([[1.0, 1.0], [np.nan, 0.0], [0.2, 0.0]]), wish=np.zeros(2)) == 2
