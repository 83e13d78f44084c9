"""Counting in batches gives what the layer plan gives, and refuses what it refuses."""

import dataclasses

import numpy as np
import pytest

from search_space import Architecture, LayerPlan, Level, SearchSpace, Stage, get_scale, get_space, layer_plan
from search_space.counting import Counts, count_architectures, count_genotypes, peak_bytes, sum_over_blocks

QUANTITIES = ("parameters", "macs_conv_linear", "macs_attention", "macs", "peak_activation_bytes")


def _random(space: SearchSpace, count: int) -> np.ndarray:
    """Genotypes as a searcher makes them: genes without effect are drawn like all others."""
    rng = np.random.default_rng(0)
    high = [len(gene.choices) for gene in space.genes]
    return np.stack([space.repair(row) for row in rng.integers(high, size=(count, len(high)))])


def _assert_equal(counts: Counts, plans: list[LayerPlan]) -> None:
    for quantity in QUANTITIES:
        counted = getattr(counts, quantity)
        assert counted.dtype == np.int64
        assert counted.tolist() == [getattr(plan, quantity) for plan in plans], quantity
    for dtype, counted in counts.weight_bytes.items():
        assert counted.tolist() == [plan.weight_bytes[dtype] for plan in plans], dtype


@pytest.mark.parametrize(
    ("space", "scale", "count"),
    [
        ("mobile-sd", "sd15", 60),
        ("digits", "digits-deploy", 100),
        ("digits", "digits-proxy", 40),
        ("digits-small", "digits-proxy", 100),
        ("digits-small", "sd15", 40),
    ],
)
def test_a_batch_counts_what_each_plan_counts(space: str, scale: str, count: int):
    known, at = get_space(space), get_scale(scale)
    genotypes = _random(known, count)
    plans = [layer_plan(known.decode(genotype), at) for genotype in genotypes]
    _assert_equal(count_genotypes(known, genotypes, at), plans)
    _assert_equal(count_architectures([plan.architecture for plan in plans], at), plans)


@pytest.mark.parametrize("shared", [True, False])
def test_layers_with_and_without_projections_of_their_own(shared: bool):
    space, scale = get_space("digits"), dataclasses.replace(get_scale("digits-proxy"), shared_projections=shared)
    genotypes = _random(space, 40)
    plans = [layer_plan(space.decode(genotype), scale) for genotype in genotypes]
    _assert_equal(count_genotypes(space, genotypes, scale), plans)


def test_architectures_of_several_spaces_are_one_batch():
    level = Level(2, Stage(3, transformer_depth=1, attention="self"), Stage(2, "separable"))
    architectures = [
        get_space("digits").largest(), get_space("digits-small").smallest(), Architecture((level,), Stage(3))
    ]  # fmt: skip
    scale = get_scale("digits-deploy")
    plans = [layer_plan(architecture, scale) for architecture in architectures]
    _assert_equal(count_architectures(architectures, scale), plans)


def test_a_peak_counts_what_operations_take_besides():
    space, scale, rng = get_space("mobile-sd-small"), get_scale("sd15-quarter"), np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(20)]

    def scratch(operation):
        return {"softmax": -1, "conv3x3": 3}.get(operation.kind, 0) * operation.output_bytes

    expected = []
    for plan in (layer_plan(architecture, scale) for architecture in architectures):
        expected.append(max(x + scratch(y) for x, y in zip(plan.live_bytes, plan.operations, strict=True)))
    assert peak_bytes(architectures, scale, scratch).tolist() == expected
    assert (
        peak_bytes(architectures, scale, lambda _: 0) == count_architectures(architectures, scale).peak_activation_bytes
    ).all()


def test_what_a_block_determines_is_summed():
    space, scale, rng = get_space("mobile-sd-small"), get_scale("sd15-quarter"), np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(20)]

    def price(blocks):
        return np.array([[block.macs, len(block.operations)] for block in blocks], float)

    expected = [price(layer_plan(architecture, scale).blocks).sum(0) for architecture in architectures]
    assert (sum_over_blocks(architectures, scale, price) == expected).all()


def test_an_empty_batch_has_empty_counts():
    space, scale = get_space("digits"), get_scale("digits-proxy")
    for counts in (count_genotypes(space, np.zeros((0, len(space.genes)), np.int32), scale), count_architectures([], scale)):
        assert counts.macs.shape == counts.weight_bytes["int8"].shape == (0,)


def test_what_is_no_architecture_is_refused():
    space, scale = get_space("digits"), get_scale("digits-proxy")
    genotypes = _random(space, 3)
    with pytest.raises(ValueError, match=f"a genotype of space 'digits' has {len(space.genes)} genes, got 5"):
        count_genotypes(space, genotypes[:, :5], scale)
    for wrong in (-1, 2):
        bad = genotypes.copy()
        bad[1, 0] = wrong
        with pytest.raises(ValueError, match=f"gene 'level0.width' has choices 0 to 1, got {wrong}"):
            count_genotypes(space, bad, scale)
    names = [gene.name for gene in space.genes]
    genotypes[2, [names.index("down1.num_blocks"), names.index("up1.num_blocks")]] = (0, 2)
    with pytest.raises(ValueError, match=r"up1.num_blocks must be at most down1.num_blocks \+ 1 = 2, got 3 in row 2"):
        count_genotypes(space, genotypes, scale)


def test_a_scale_that_does_not_fit_is_refused():
    largest = get_space("mobile-sd").largest()
    with pytest.raises(ValueError, match="resolution 4 of scale 'digits-proxy' cannot be halved 3 times; use at most 3 levels"):
        count_architectures([largest], dataclasses.replace(get_scale("digits-proxy"), resolution=4))
    with pytest.raises(ValueError, match="multiple of norm_groups=32, got 30; use 32"):
        count_architectures([largest], dataclasses.replace(get_scale("sd15"), base_width=6, num_heads=1))
