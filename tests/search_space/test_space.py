"""Laws of every search space: encoding, sampling, variation, size, refusals."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_space import Architecture, Gene, Level, SearchSpace, Stage, get_space, space_names, spaces
from search_space.space import LevelChoices, StageChoices

SPACES = [get_space(name) for name in space_names()]
SEEDS = st.integers(0, 2**32 - 1)
every_space = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


def _tiny(mid: tuple[int, ...] = (0, 2)) -> SearchSpace:
    side = StageChoices(num_blocks=(1, 2), transformer_depth=(0, 1), attention=("cross", "self"), shared_kv=(False, True))
    up = StageChoices(num_blocks=(1, 3), convolution=("full", "separable"))
    return SearchSpace("tiny", (LevelChoices((1, 2), side, up),), StageChoices(num_blocks=mid, transformer_depth=(0, 1)))


@every_space
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_encode_then_decode_is_the_identity(space: SearchSpace, seed: int):
    architecture = space.sample(np.random.default_rng(seed))
    assert architecture == architecture.canonical()
    assert space.decode(space.encode(architecture)) == architecture
    assert space.contains(architecture)
    assert Architecture.from_json(architecture.to_json()) == architecture


@every_space
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_variation_stays_in_the_space_and_mutation_changes_something(space: SearchSpace, seed: int):
    rng = np.random.default_rng(seed)
    one, other = space.sample(rng), space.sample(rng)
    mutant, child = space.mutate(one, rng), space.crossover(one, other, rng)
    assert space.contains(mutant)
    assert space.contains(child)
    assert mutant.digest != one.digest
    assert space.crossover(one, one, rng) == one


@every_space
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_repair_gives_a_valid_genotype_and_leaves_valid_ones_alone(space: SearchSpace, seed: int):
    rng = np.random.default_rng(seed)
    genotype = np.array([rng.integers(len(gene.choices)) for gene in space.genes], np.int32)
    repaired = space.repair(genotype)
    assert space.contains(space.decode(repaired))
    assert np.array_equal(space.repair(repaired), repaired)


def _few_levels(num_levels: tuple[int, ...] = (1, 2)) -> SearchSpace:
    side = StageChoices(num_blocks=(1, 2))
    levels = (LevelChoices((1, 2), side, StageChoices(num_blocks=(1,))), LevelChoices((2,), side, StageChoices((1, 3))))
    return SearchSpace("few", levels, StageChoices((0, 2), transformer_depth=(0, 1)), num_levels)


@pytest.mark.parametrize("space", [_tiny((0,)), _tiny((0, 1)), _tiny((1, 2)), _few_levels(), _few_levels((2,))])
def test_size_counts_distinct_architectures(space: SearchSpace):
    found = set()
    for genotype in itertools.product(*(range(len(gene.choices)) for gene in space.genes)):
        if np.array_equal(space.repair(np.array(genotype, np.int32)), genotype):
            found.add(space.decode(np.array(genotype, np.int32)).digest)
    assert space.size == len(found)


def test_the_digits_space_is_large_and_has_every_gene_of_the_mission():
    space = get_space("digits")
    assert space.size >= 10**8
    assert len(space.levels) == 3
    genes = {gene.name: gene.choices for gene in space.genes}
    for field in ("num_blocks", "convolution", "transformer_depth", "attention", "attention_function"):
        assert all(len(genes[f"{side}{i}.{field}"]) > 1 for side in ("down", "up") for i in range(3))


def test_the_size_of_mobile_sd_is_the_one_that_its_documentation_states():
    assert spaces.__doc__
    assert f"{get_space('mobile-sd').size:,} architectures" in spaces.__doc__


def test_a_variable_number_of_levels_is_a_gene_and_absent_levels_have_none():
    space = _few_levels()
    assert space.genes[0] == Gene("num_levels", (1, 2))
    values = {gene.name: gene.choices[0] for gene in space.genes} | {"num_levels": 1, "mid.num_blocks": 2}
    one = space.from_values(values)
    # The second level is not there: neither its genes nor a broken skip rule in them make a difference.
    assert space.from_values(values | {"down1.num_blocks": 1, "up1.num_blocks": 3}) == one
    assert len(one.levels) == 1
    assert one.mid == Stage(2)
    two = space.from_values(values | {"num_levels": 2, "down1.num_blocks": 2})
    assert len(two.levels) == 2
    assert not np.any(space.encode(one)[[gene.name[-1:] == "1" or "1." in gene.name for gene in space.genes]])
    children = {len(space.crossover(one, two, np.random.default_rng(seed)).levels) for seed in range(20)}
    mutants = {len(space.mutate(one, np.random.default_rng(seed)).levels) for seed in range(20)}
    assert children == mutants == {1, 2}


def test_a_space_of_all_its_levels_has_no_gene_for_them():
    assert [gene.name for gene in get_space("digits").genes][:2] == ["level0.width", "down0.num_blocks"]
    assert _few_levels((2,)).genes == SearchSpace("few", _few_levels().levels, _few_levels().mid).genes


@pytest.mark.parametrize("wrong", [(2, 1), (1,), (0, 2), (1, 1, 2), (0,)])
def test_numbers_of_levels_that_the_levels_do_not_fit_are_refused(wrong: tuple[int, ...]):
    with pytest.raises(ValueError, match="space 'few': num_levels must ascend, from 1 or more to the 2 levels that are given"):
        _few_levels(wrong)


def test_stages_up_that_no_stage_down_allows_and_choices_given_twice_are_refused():
    def of(down, up, width=(1,)):
        return SearchSpace("odd", (LevelChoices(width, StageChoices(down), StageChoices(up)),), StageChoices((0,)))

    with pytest.raises(ValueError, match="space 'odd': up0.num_blocks would be at least 3 beside down0.num_blocks of 1"):
        of((1, 2), (3,))
    with pytest.raises(ValueError, match=r"gene 'level0.width' needs at least one choice and no choice twice, got \(1, 1\)"):
        of((1,), (1,), width=(1, 1))
    assert of((1, 2), (2,)).size == 2


@every_space
def test_sampling_reaches_every_choice_and_follows_the_seed(space: SearchSpace):
    rng = np.random.default_rng(0)
    genotypes = np.stack([space.encode(space.sample(rng)) for _ in range(400)])
    assert [len(np.unique(column)) for column in genotypes.T] == [len(gene.choices) for gene in space.genes]
    again = np.random.default_rng(0)
    assert np.array_equal(space.encode(space.sample(again)), genotypes[0])


@every_space
def test_smallest_and_largest_are_the_ends(space: SearchSpace):
    smallest, largest = space.smallest(), space.largest()
    assert space.contains(smallest)
    assert space.contains(largest)
    assert (len(smallest.levels), len(largest.levels)) == (space.num_levels[0], space.num_levels[-1])
    for low, high in zip(smallest.levels, largest.levels, strict=False):
        assert low.width < high.width
        assert low.down.num_blocks <= high.down.num_blocks
        assert low.up.num_blocks < high.up.num_blocks


def test_what_is_not_in_the_space_is_refused_by_gene_with_the_nearest_value():
    space = get_space("digits")
    first, *rest = space.smallest().levels
    wide = Architecture((Level(7, first.down, first.up), *rest), None)
    with pytest.raises(
        ValueError, match=r"not in space 'digits': gene 'level0.width' must be one of 2, 3, got 7; the nearest is 3"
    ):
        space.validate(wide)
    with pytest.raises(ValueError, match="it has 1 levels, the space has 3"):
        space.validate(Architecture((first,)))
    with pytest.raises(ValueError, match="not in space 'mobile-sd': it has 1 levels, the space has 3 or 4"):
        get_space("mobile-sd").encode(Architecture((first,)))
    assert not space.contains(wide)


def test_bad_genotypes_and_values_are_refused():
    space = get_space("digits")
    with pytest.raises(ValueError, match=f"has {len(space.genes)} genes, got 3"):
        space.decode(np.zeros(3, np.int32))
    bad = np.zeros(len(space.genes), np.int32)
    bad[0] = 9
    with pytest.raises(ValueError, match="gene 'level0.width' has choices 0 to 1, got 9"):
        space.decode(bad)
    with pytest.raises(ValueError, match="no gene 'level0.widht'; did you mean 'level0.width'"):
        space.from_values({"level0.widht": 2})
    with pytest.raises(ValueError, match="gene 'level0.width' is missing"):
        space.from_values({})
    with pytest.raises(ValueError, match="at least one choice and no choice twice"):
        Gene("x", (1, 1))
    with pytest.raises(ValueError, match="there is no search space 'digit'; known are digits, .*; did you mean 'digits'"):
        get_space("digit")


def test_a_number_is_no_truth_value_whatever_was_built_before():
    space = get_space("mobile-sd")
    values = {gene.name: gene.choices[0] for gene in space.genes} | {"down0.shared_kv": True}
    space.from_values(values)
    with pytest.raises((ValueError, TypeError), match="shared_kv"):  # the tests' type checker may speak first
        space.from_values(values | {"down0.shared_kv": 1})


def test_a_space_of_one_architecture_cannot_be_mutated():
    one = StageChoices(num_blocks=(1,))
    space = SearchSpace("one", (LevelChoices((1,), one, one),), StageChoices(num_blocks=(0,)))
    assert space.size == 1
    with pytest.raises(ValueError, match="holds one architecture"):
        space.mutate(space.smallest(), np.random.default_rng(0))
    assert space.smallest() == Architecture((Level(1, Stage(1), Stage(1)),))
