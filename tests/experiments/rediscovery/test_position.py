"""Where designs stand to a front whose members are written down."""

import numpy as np
import pytest
from toy_problem import architectures

from experiments.evaluation import Evaluation
from experiments.rediscovery.position import hypervolumes, lost_to_the_best, position
from objectives import Estimate, get_objective

LOSS, LATENCY = get_objective("denoising_loss"), get_objective("latency_ms")


def outcome(loss, latency, index=0):
    architecture = architectures(9)[index]
    numbers = {"denoising_loss": Estimate(loss, loss - 0.03, loss + 0.03, 100), "latency_ms": Estimate.exact(latency)}
    return Evaluation(index, architecture.digest, architecture, "done", numbers, "f")


FRONT = [outcome(0.5, 2.0, 1), outcome(0.4, 4.0, 2), outcome(0.3, 8.0, 3)]


def lost(one, other, half=0.03):
    difference = one.objectives["denoising_loss"].value - other.objectives["denoising_loss"].value
    return Estimate(difference, difference - half, difference + half, 100)


def placed(loss, latency):
    return position(outcome(loss, latency), FRONT, quality=LOSS, cost=LATENCY, lost=lost)


def test_a_design_behind_the_front_is_told_by_how_much():
    found = placed(0.45, 6.0)
    assert found.is_dominated
    assert found.cost_ratio == Estimate(1.5, 1.5, 1.5)


def test_what_cannot_be_told_apart_widens_the_ratio_of_costs():
    found = placed(0.41, 6.0)  # better than 0.5 beyond doubt, perhaps no better than 0.4, surely worse than 0.3
    assert found.is_dominated
    assert found.cost_ratio == Estimate(6 / 4, 6 / 8, 6 / 4)
    assert placed(0.48, 6.0).cost_ratio == Estimate(6 / 4, 6 / 4, 6 / 2)


def test_a_member_of_the_front_is_neither_ahead_nor_behind():
    found = placed(0.4, 4.0)
    assert not found.is_dominated
    assert found.cost_ratio == Estimate(1.0, 0.5, 1.0)


def test_a_design_ahead_of_the_front_has_nothing_to_be_held_against():
    better, cheaper = placed(0.2, 9.0), placed(0.6, 1.0)
    assert not better.is_dominated
    assert better.cost_ratio is None
    assert not cheaper.is_dominated
    assert cheaper.cost_ratio == Estimate(0.5, 0.5, 0.5)


def test_the_best_of_many_is_not_flattered_by_the_samples_that_choose_it():
    rng = np.random.default_rng(0)
    losses, others = np.zeros(400), rng.standard_normal((200, 400))
    chosen_and_judged_alike = -others.mean(axis=1).min()
    assert chosen_and_judged_alike > 0.1
    found = lost_to_the_best(losses, others)
    assert found.low is not None
    assert found.low < 0
    assert abs(found.value) < 0.5 * chosen_and_judged_alike


def test_a_design_that_is_worse_by_as_much_on_every_sample_loses_just_that():
    losses = np.random.default_rng(0).standard_normal(401)
    found = lost_to_the_best(losses + 0.5, np.stack([losses, losses + 1]))
    assert (found.value, found.low, found.high, found.n) == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5), 400)


def test_hypervolumes_of_fronts_are_shares_of_the_box_that_they_span():
    other = [outcome(0.5, 2.0, 4), outcome(0.3, 8.0, 5)]
    one, two = hypervolumes([FRONT, other], (LOSS, LATENCY), spanned_by=[FRONT])
    # In the box from (0.3, 2) to (0.5, 8): corners (1, 0), (0.5, 1/3) and (0, 1), seen from (1.1, 1.1).
    assert two == pytest.approx((1.1 * 1.1 - 1.0 * 1.0) / 1.21)
    assert one - two == pytest.approx(0.5 * (2 / 3) / 1.21)
