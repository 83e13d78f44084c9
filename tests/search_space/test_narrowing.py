"""Spaces narrowed by a name."""

import numpy as np
import pytest

from search_space import get_space
from search_space.narrowing import narrowed_name, split_name
from search_space.spaces import deploy_scale, space_names

SOFTMAX = "mobile-sd[*.attention_function=softmax,level2.width=14|16,*.shared_kv=true]"


def test_genes_keep_only_what_is_named_and_all_others_keep_all():
    whole, narrow = get_space("mobile-sd"), get_space(SOFTMAX)
    expected = {"attention_function": ("softmax",), "shared_kv": (True,)}
    for before, after in zip(whole.genes, narrow.genes, strict=True):
        kept = (14, 16) if after.name == "level2.width" else expected.get(after.name.split(".")[-1], before.choices)
        assert (after.name, after.choices) == (before.name, kept)


def test_every_architecture_of_it_is_one_of_the_whole_space():
    whole, narrow = get_space("mobile-sd"), get_space(SOFTMAX)
    rng = np.random.default_rng(0)
    assert 1 < narrow.size < whole.size
    assert all(whole.contains(narrow.sample(rng)) for _ in range(30))
    assert not all(narrow.contains(whole.sample(rng)) for _ in range(30))


def test_fewer_levels_take_the_genes_of_the_others_along():
    narrow = get_space("mobile-sd[num_levels=3]")
    assert len(narrow.levels) == 3
    assert not any(gene.name.startswith(("level3", "down3", "up3", "num_levels")) for gene in narrow.genes)
    assert len(get_space("mobile-sd[num_levels=4]").levels) == 4


def test_a_space_may_be_narrowed_to_one_architecture():
    fixed = {gene.name: gene.choices[0] for gene in get_space("digits").genes}
    space = get_space(narrowed_name("digits", fixed))
    assert space.size == 1
    assert space.smallest() == space.largest() == get_space("digits").smallest()


@pytest.mark.parametrize("name", space_names())
def test_nothing_narrowed_is_the_space_itself(name):
    assert narrowed_name(name, {}) == name
    assert split_name(name) == (name, {})
    everything = {gene.name: list(gene.choices) for gene in get_space(name).genes}
    again = get_space(narrowed_name(name, everything))
    assert (again.levels, again.mid, again.num_levels) == tuple(
        getattr(get_space(name), field) for field in ("levels", "mid", "num_levels")
    )


def test_it_runs_where_the_whole_space_runs():
    assert deploy_scale(get_space(SOFTMAX)) == deploy_scale(get_space("mobile-sd"))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("digits[level0.width=9]", "gene 'level0.width' has no choice 9; its choices are 2, 3"),
        (
            "digits[*.convolution=full,down0.convolution=separable]",
            "gene 'down0.convolution' has no choice separable; its choices are full .an earlier pattern leaves them.",
        ),
        ("digits[level0.width=2|9]", "gene 'level0.width' has no choice 9; its choices are 2, 3"),
        ("digits[*.width=2]", "gene 'level1.width' has no choice 2; its choices are 3, 4"),
        ("digits[levle0.width=2]", "space 'digits' has no gene 'levle0.width'; did you mean 'level0.width'"),
        ("digits[num_levels=3]", "space 'digits' has no gene 'num_levels'; did you mean '(?!num_levels')"),
        ("digits[level0.width]", "is no name of a narrowed space; write as in"),
        ("digits[]", "is no name of a narrowed space"),
        ("digits[level0.width=2", "is no name of a narrowed space"),
        ("digits[level0.width=2,level0.width=3]", "narrows the same genes twice"),
        ("digit[level0.width=2]", "there is no search space 'digit'; known are .* did you mean 'digits'"),
        ("digits[down0.num_blocks=1,up0.num_blocks=3]", "up0.num_blocks would be at least 3 beside down0.num_blocks of 1"),
    ],
)
def test_what_cannot_be_narrowed_is_refused(name, told):
    with pytest.raises(ValueError, match=told):
        get_space(name)
