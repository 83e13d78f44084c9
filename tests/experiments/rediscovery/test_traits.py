"""MobileDiffusion has the traits that its paper names; Stable Diffusion 1.5 has none of them."""

import dataclasses

import numpy as np
import pytest

from experiments.rediscovery.traits import TRAITS, crossed_finest
from search_space import get_design, get_space

SD15 = get_design("sd15").architecture


FIRST_VERSION = "separable convolution at all levels but the finest"  # the published network is of the second


def held(architecture):
    return {trait.name: trait.of(architecture) for trait in TRAITS}


@pytest.mark.parametrize("name", ["mobilediffusion", "md-lite"])
def test_mobilediffusion_has_them_all(name):
    assert {name for name, holds in held(get_design(name).architecture).items() if not holds} == {FIRST_VERSION}


def test_stable_diffusion_has_none():
    assert not any(held(SD15).values())


def changed(architecture, level, **stage):
    levels = list(architecture.levels)
    sides = {side: dataclasses.replace(getattr(levels[level], side), **stage) for side in ("down", "up")}
    levels[level] = dataclasses.replace(levels[level], **sides)
    return dataclasses.replace(architecture, levels=tuple(levels))


@pytest.mark.parametrize(
    ("level", "stage", "lost"),
    [
        (0, {"transformer_depth": 1, "attention": "cross", "expansion": 3}, {"no transformer at the finest level"}),
        (
            0,
            {"transformer_depth": 1, "attention": "self_cross", "expansion": 3},
            {"no transformer at the finest level", "no self-attention at the finest level"},
        ),
        (1, {"attention": "self_cross"}, {"cross-attention alone at the middle level"}),
        (1, {"transformer_depth": 0}, {"cross-attention alone at the middle level"}),
        (2, {"convolution": "full"}, {"separable convolution at the coarsest level alone"}),
        (0, {"convolution": "separable"}, {"separable convolution at the coarsest level alone"}),
        (2, {"attention_function": "softmax"}, {"ReLU in most attention"}),
        (2, {"expansion": 4}, {"feed-forward layers expand by 3 or less"}),
        (1, {"num_blocks": 3}, {"at most 11 residual blocks"}),
        (2, {"transformer_depth": 0}, {"most transformer layers at the coarsest level"}),
    ],
)
def test_a_choice_made_otherwise_loses_its_trait_alone(level, stage, lost):
    found = held(changed(get_design("mobilediffusion").architecture, level, **stage))
    assert {name for name, holds in found.items() if not holds} - {FIRST_VERSION} == lost


def test_where_there_are_no_transformers_nothing_is_said_of_them():
    architecture = get_design("mobilediffusion").architecture
    for level in range(3):
        architecture = changed(architecture, level, transformer_depth=0)
    unsaid = {name for name, holds in held(dataclasses.replace(architecture, mid=None)).items() if holds is None}
    assert unsaid == {
        "most transformer layers at the coarsest level",
        "ReLU in most attention",
        "feed-forward layers expand by 3 or less",
    }


@pytest.mark.parametrize("trait", TRAITS, ids=lambda trait: trait.name)
def test_a_design_is_given_a_trait_within_the_space(trait):
    space, rng, num_given = get_space("mobile-sd"), np.random.default_rng(0), 0
    for _ in range(200):
        design = space.sample(rng)
        given = trait.given(design)
        assert space.contains(given)
        assert trait.given(given).canonical() == given.canonical()
        if trait.of(design) is False:
            num_given += trait.of(given) is True
            assert trait.of(given) is True or trait.name == "most transformer layers at the coarsest level"
    assert num_given > 20


def test_the_coarsest_level_is_deepened_and_no_other_changes():
    trait = next(trait for trait in TRAITS if trait.name == "most transformer layers at the coarsest level")
    space, rng, depths = get_space("mobile-sd[num_levels=3]"), np.random.default_rng(0), set()
    for _ in range(300):
        design = space.sample(rng)
        if trait.of(design) is False and trait.of(given := trait.given(design)):
            assert (given.levels[:2], given.mid) == (design.levels[:2], design.mid)
            depths |= {given.levels[2].down.transformer_depth}
            shallower = changed(given, 2, transformer_depth=given.levels[2].down.transformer_depth - 1)
            assert not trait.of(shallower) or design.levels[2].down.transformer_depth == given.levels[2].down.transformer_depth
    assert depths == {1, 2, 3}


def test_blocks_are_taken_where_there_are_most():
    trait = next(trait for trait in TRAITS if trait.name == "at most 11 residual blocks")
    pruned = trait.given(SD15)  # 2 down and 3 up at four levels, 2 in the middle
    assert [(level.down.num_blocks, level.up.num_blocks) for level in pruned.levels] == [(1, 1), (1, 1), (1, 1), (2, 1)]
    assert pruned.mid == SD15.mid


@pytest.mark.parametrize("name", ["mobilediffusion", "md-lite"])
def test_mobilediffusion_has_nothing_to_be_given(name):
    design = get_design(name).architecture
    assert all(trait.given(design).canonical() == design.canonical() for trait in TRAITS if trait.name != FIRST_VERSION)


def test_cross_attention_at_the_finest_level_is_all_that_is_added():
    design = get_design("mobilediffusion").architecture
    crossed = crossed_finest(design)
    assert crossed.levels[1:] == design.levels[1:]
    for side in ("down", "up"):
        finest, middle = (getattr(crossed.levels[level], side) for level in (0, 1))
        assert (finest.transformer_depth, finest.attention, finest.convolution) == (1, "cross", "full")
        assert (finest.attention_function, finest.expansion) == (middle.attention_function, middle.expansion) == ("relu", 3)
        assert finest.num_blocks == getattr(design.levels[0], side).num_blocks
    assert get_space("mobile-sd").contains(crossed.canonical())
