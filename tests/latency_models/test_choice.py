"""Choosing what to measure: it spans a space, is worth more than chance, and refuses what is not there."""

import numpy as np
import pytest
from known_machines import measured_on, random_networks, tiled_machine, true_ms

from latency_models.choice import choose, choose_architectures, choose_blocks
from latency_models.fitting import observations
from latency_models.kernel_costs import fit_costs
from search_space import get_scale, get_space


def _error(chosen, fresh) -> float:
    measured = measured_on(tiled_machine, chosen)
    costs = fit_costs(observations(measured, measured.measurements.values()))
    truth = np.array([true_ms(network, tiled_machine) for network in fresh])
    return float(np.mean(np.abs(costs.networks_ms([network.kernels for network in fresh]) / truth - 1)))


def test_chosen_networks_teach_more_than_random_ones():
    pool, fresh = random_networks(120, seed=1), random_networks(60, seed=2)
    designed = _error([pool[i] for i in choose(pool, 12)], fresh)
    rng = np.random.default_rng(0)
    chance = [_error([pool[i] for i in rng.choice(len(pool), 12, replace=False)], fresh) for _ in range(5)]
    assert designed < np.mean(chance)


def test_choice_is_without_repeats_and_keeps_what_is_given_first():
    pool = random_networks(30)
    chosen = choose(pool, 30, first=(4, 7))
    assert sorted(chosen) == list(range(30))
    assert chosen[:2] == [4, 7]


def test_architectures_hold_both_extremes_and_repeat_with_the_seed():
    space, scale = get_space("digits"), get_scale("digits-deploy")
    chosen = choose_architectures(space, scale, 8, np.random.default_rng(0))
    assert len({a.digest for a in chosen}) == 8
    assert chosen[:2] == [space.smallest(), space.largest()]
    assert all(space.contains(a) for a in chosen)
    assert chosen == choose_architectures(space, scale, 8, np.random.default_rng(0))


def test_a_space_of_one_architecture_has_blocks_too():
    space = get_space("digits-small[*.width=2,*.num_blocks=1,*.convolution=full,*.transformer_depth=0]")
    assert space.size == 1
    assert len(choose_blocks(space, get_scale("digits-deploy"), 3, np.random.default_rng(0))) == 3


def test_blocks_are_distinct_and_of_every_kind():
    chosen = choose_blocks(get_space("digits"), get_scale("digits-deploy"), 40, np.random.default_rng(0))
    assert len({network.key for network in chosen}) == 40
    assert {type(network.blocks[0].spec).__name__ for network in chosen} >= {"ResidualSpec", "TransformerSpec"}
    assert all(network.architecture is None for network in chosen)


def test_too_few_and_too_many_are_refused():
    space, scale, rng = get_space("digits"), get_scale("digits-deploy"), np.random.default_rng(0)
    with pytest.raises(ValueError, match="architectures to measure must be from 3 to"):
        choose_architectures(space, scale, 2, rng)
    with pytest.raises(ValueError, match="blocks to measure must be from 1 to"):
        choose_blocks(space, scale, 10**6, rng)
