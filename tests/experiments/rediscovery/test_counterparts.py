"""Designs beside what they are with a trait, and what that changes, by hand."""

import dataclasses

import numpy as np
import pytest

from experiments.rediscovery.counterparts import counterparts, ratio
from experiments.rediscovery.traits import TRAITS
from search_space import get_design, get_space

SPACE, SD15, MOBILE = get_space("mobile-sd"), get_design("sd15").architecture, get_design("mobilediffusion").architecture
TRAIT = {trait.name: trait for trait in TRAITS}


def test_a_design_that_has_the_trait_has_no_counterpart():
    assert counterparts([MOBILE], TRAIT["ReLU in most attention"], SPACE) == []


def test_a_counterpart_differs_in_the_trait_alone():
    [(before, after)] = counterparts([SD15], TRAIT["three levels"], SPACE)
    assert before == SD15.canonical()
    assert after == dataclasses.replace(before, levels=before.levels[:3]).canonical()


def test_a_design_that_cannot_have_the_trait_has_no_counterpart():
    """With four levels the space has one layer a block at the coarsest, which cannot outweigh three other levels."""
    trait = TRAIT["most transformer layers at the coarsest level"]
    assert trait.of(SD15) is False
    assert counterparts([SD15], trait, SPACE) == []


def test_a_counterpart_outside_the_space_is_left_out():
    narrowed = get_space("mobile-sd[num_levels=4]")
    assert counterparts([SD15], TRAIT["three levels"], narrowed) == []


def test_a_ratio_is_of_each_design_with_itself():
    found = ratio([1.0, 10.0, 100.0], [2.0, 20.0, 200.0])
    assert (found.value, found.low, found.high, found.n) == (pytest.approx(2), pytest.approx(2), pytest.approx(2), 3)


def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says():
    rng, num_held = np.random.default_rng(0), 0
    for _ in range(400):
        before = rng.lognormal(size=8)
        found = ratio(list(before), list(before * 1.3 * rng.lognormal(sigma=0.2, size=8)))
        num_held += found.low <= 1.3 <= found.high
    assert 0.92 <= num_held / 400 <= 0.98


def test_images_that_all_designs_share_widen_the_interval():
    rng, num_held = np.random.default_rng(0), 0
    for _ in range(400):
        before = rng.lognormal(size=(1, 60)) * rng.lognormal(sigma=0.1, size=(8, 60))
        after = before * 1.3 * (1 + rng.uniform(-0.5, 0.5, size=(1, 60)))  # images gain differently, and alike for all designs
        found = ratio(before, after)
        num_held += found.low <= 1.3 <= found.high
        assert ratio(before.mean(axis=1), after.mean(axis=1)).half_width < 0.5 * found.half_width
    assert 0.92 <= num_held / 400 <= 0.99


@pytest.mark.parametrize(("before", "after"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([1.0, 0.0], [1.0, 1.0])])
def test_what_has_no_ratio_is_refused(before, after):
    with pytest.raises(ValueError, match=r"needs two pairs|above 0"):
        ratio(before, after)
