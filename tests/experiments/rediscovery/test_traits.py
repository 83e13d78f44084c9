"""MobileDiffusion has the traits that its paper names; Stable Diffusion 1.5 has none of them."""

import dataclasses

import numpy as np
import pytest

from experiments.rediscovery.traits import TRAITS, transformers
from search_space import get_design, get_space

SD15 = get_design("sd15").architecture


def held(architecture):
    """By name; numbers are small where they are below those of Stable Diffusion 1.5."""
    found = {trait.name: (trait.of(architecture), trait.of(SD15)) for trait in TRAITS}
    return {name: value < usual if isinstance(value, float) else value for name, (value, usual) in found.items()}


@pytest.mark.parametrize("name", ["mobilediffusion", "md-lite"])
def test_mobilediffusion_has_them_all(name):
    assert all(held(get_design(name).architecture).values())


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
        (0, {"transformer_depth": 1, "attention": "self_cross"}, {"no self-attention at the finest level"}),
        (1, {"attention": "self_cross"}, {"cross-attention alone at the middle level"}),
        (1, {"transformer_depth": 0}, {"cross-attention alone at the middle level"}),
        (2, {"convolution": "full"}, {"separable convolution at the coarsest level alone"}),
        (0, {"convolution": "separable"}, {"separable convolution at the coarsest level alone"}),
        (2, {"attention_function": "softmax"}, {"ReLU in most attention"}),
        (2, {"expansion": 8}, {"feed-forward layers expand little"}),
        (2, {"transformer_depth": 0}, {"most transformer layers at the coarsest level"}),
    ],
)
def test_a_choice_made_otherwise_loses_its_trait_alone(level, stage, lost):
    found = held(changed(get_design("mobilediffusion").architecture, level, **stage))
    assert {name for name, holds in found.items() if not holds} == lost


def test_where_there_are_no_transformers_nothing_is_said_of_them():
    architecture = get_design("mobilediffusion").architecture
    for level in range(3):
        architecture = changed(architecture, level, transformer_depth=0)
    unsaid = {name for name, holds in held(dataclasses.replace(architecture, mid=None)).items() if holds is None}
    assert unsaid == {
        "most transformer layers at the coarsest level",
        "ReLU in most attention",
        "feed-forward layers expand little",
    }


@pytest.mark.parametrize("trait", TRAITS, ids=lambda trait: trait.name)
def test_any_design_is_given_a_trait_within_the_space(trait):
    space, rng, num_changed = get_space("mobile-sd"), np.random.default_rng(0), 0
    for _ in range(200):
        design = space.sample(rng)
        before, given = trait.of(design), trait.given(design)
        after = trait.of(given)
        if isinstance(after, float):
            assert before is None or after <= before
        else:
            assert after is True or (after is None and before is None)
        assert space.contains(given)
        assert trait.given(given).canonical() == given.canonical() or trait.name == "few residual blocks"
        num_changed += given.canonical() != design.canonical()
    assert num_changed > 20


def test_transformers_move_to_the_coarsest_level_and_are_not_merely_taken_away():
    def num_layers(architecture):
        return sum(num for *_, num in transformers(architecture))

    trait = next(trait for trait in TRAITS if trait.name == "most transformer layers at the coarsest level")
    space, rng, shares = get_space("mobile-sd[num_levels=3]"), np.random.default_rng(0), []
    for _ in range(300):
        design = space.sample(rng)
        if trait.of(design) is False:
            given = trait.given(design)
            assert not any(level == 0 for level, *_ in transformers(given))
            shares.append(num_layers(given) / num_layers(design))
    assert np.mean(shares) > 0.9


def test_mobilediffusion_changes_by_none_that_is_a_statement():
    design = get_design("mobilediffusion").architecture
    said = [trait for trait in TRAITS if isinstance(trait.of(design), bool)]
    assert all(trait.given(design).canonical() == design.canonical() for trait in said)
