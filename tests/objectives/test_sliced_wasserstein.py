"""The sliced Wasserstein distance against an assignment solved outright, and its invariances."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from objectives.sliced_wasserstein import sliced_wasserstein

RNG = np.random.default_rng(0)


def _assigned(first, second):
    """Squared 2-Wasserstein distance of two sets of as many numbers, by the cheapest assignment."""
    costs = (first[:, None] - second[None]) ** 2
    return costs[linear_sum_assignment(costs)].mean()


@pytest.mark.parametrize(("num_first", "num_second"), [(12, 12), (8, 12), (5, 3), (1, 7)])
def test_along_each_direction_it_is_the_cheapest_assignment(num_first, num_second):
    """Numbers that do not divide each other are compared by copies: the distance is of distributions."""
    first, second = RNG.normal(size=(num_first, 5)), RNG.normal(size=(num_second, 5)) + 0.3
    directions = np.random.default_rng(7).normal(size=(5, 20))
    directions /= np.linalg.norm(directions, axis=0)
    expected = np.mean(
        [
            _assigned(np.repeat(first @ direction, num_second), np.repeat(second @ direction, num_first))
            for direction in directions.T
        ]
    )
    assert sliced_wasserstein(first, second, num_directions=20, seed=7) == pytest.approx(expected, rel=1e-9)


def test_a_shift_is_seen_by_its_length_in_the_mean_over_directions():
    first = RNG.normal(size=(50, 3))
    shift = np.array([2.0, 0.0, 0.0])
    found = sliced_wasserstein(first, first + shift, num_directions=20_000)
    assert found == pytest.approx(4 / 3, rel=0.02)  # one third of the squared length, of three dimensions


def test_it_is_symmetric_zero_to_itself_and_ignores_order():
    first, second = RNG.normal(size=(30, 4)), RNG.normal(size=(20, 4))
    assert sliced_wasserstein(first, second) == pytest.approx(sliced_wasserstein(second[::-1], first))
    assert sliced_wasserstein(first, first[::-1]) == pytest.approx(0, abs=1e-12)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="both sets need at least one vector, got 0 and 2; use more samples"):
        sliced_wasserstein(np.zeros((0, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="features must be finite"):
        sliced_wasserstein(np.full((2, 2), np.nan), np.zeros((2, 2)))
