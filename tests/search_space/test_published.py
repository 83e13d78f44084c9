"""The published designs: golden counts, points of the space, and honest marks."""

import numpy as np
import pytest

from search_space import design_names, get_design, get_scale, get_space, layer_plan

SPACE = get_space("mobile-sd")
every_design = pytest.mark.parametrize("name", design_names())


def _plan(name: str):
    design = get_design(name)
    return layer_plan(design.architecture, get_scale(design.scale))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("sd15", 859_520_964),
        ("bk-sdm-base", 579_384_964),
        ("bk-sdm-small", 482_346_884),
        ("bk-sdm-tiny", 323_384_964),
    ],
)
def test_parameters_to_the_last_one(name: str, parameters: int):
    assert _plan(name).parameters == parameters


@pytest.mark.parametrize(
    ("name", "conv_linear", "attention", "tolerance"),
    [
        ("sd15", 338.61, 63.03, 0.05),
        ("bk-sdm-base", 223.67, 37.82, 0.1),
        ("bk-sdm-small", 217.65, 37.80, 0.1),
        ("bk-sdm-tiny", 204.95, 37.80, 0.1),
    ],
)
def test_macs_of_an_independent_counter(name: str, conv_linear: float, attention: float, tolerance: float):
    plan = _plan(name)
    assert plan.macs_conv_linear / 1e9 == pytest.approx(conv_linear, abs=tolerance)
    assert plan.macs_attention / 1e9 == pytest.approx(attention, abs=tolerance)
    assert plan.macs / 1e9 == pytest.approx(conv_linear + attention, abs=tolerance)


@pytest.mark.parametrize(
    ("name", "remembered", "computed"),
    [("mobilediffusion", (386, 182), (382.8, 184.2)), ("md-lite", (278, 153), (270.0, 153.7))],
)
def test_mobilediffusion_is_near_what_is_remembered_and_is_the_layout_that_was_fitted(
    name: str, remembered: tuple[float, float], computed: tuple[float, float]
):
    plan = _plan(name)
    counted = (plan.parameters / 1e6, plan.macs / 1e9)
    assert counted == pytest.approx(remembered, rel=0.03)
    assert counted == pytest.approx(computed, abs=0.05)


def test_mobilediffusion_has_the_published_numbers_of_blocks():
    for name, attentions in (("mobilediffusion", (15, 18)), ("md-lite", (12, 15))):
        operations = [f"{b.name}.{o.name}" for b in _plan(name).blocks for o in b.operations]
        assert sum(o.endswith("residual.norm1") for o in operations) == 11
        found = tuple(sum(o.endswith(f"{kind}_attention.scores") for o in operations) for kind in ("self", "cross"))
        assert found == attentions


def test_snapfusion_is_its_table_and_not_the_published_total():
    plan = _plan("snapfusion")
    residuals, transformers = (
        [sum(b.stage == stage and b.name.endswith(kind) for b in plan.blocks) for stage in plan.stages]
        for kind in ("residual", "transformer")
    )
    order = list(plan.stages)
    table = dict(zip(order, zip(transformers, residuals, strict=True), strict=True))
    assert [table[stage] for stage in ("down0", "down1", "down2")] == [(0, 2), (2, 2), (2, 1)]
    assert np.sum([table[stage] for stage in ("down3", "mid", "up3")], 0).tolist() == [1, 4]
    assert [table[stage] for stage in ("up2", "up1", "up0")] == [(6, 2), (3, 3), (0, 3)]
    assert plan.parameters == 741_301_124  # the paper says 848 M
    assert "848 M" in get_design("snapfusion").note


@every_design
def test_a_design_is_a_point_of_the_space(name: str):
    design = get_design(name)
    SPACE.validate(design.architecture)
    assert SPACE.decode(SPACE.encode(design.architecture)) == design.architecture.canonical()


@every_design
def test_no_gene_of_a_design_exceeds_the_largest_network(name: str):
    architecture, largest = get_design(name).architecture, SPACE.largest()
    assert len(architecture.levels) <= len(largest.levels)
    for one, most in zip(architecture.levels, largest.levels, strict=False):
        assert one.width <= most.width
        for stage, bound in ((one.down, most.down), (one.up, most.up)):
            assert stage.num_blocks <= bound.num_blocks
            assert stage.transformer_depth <= bound.transformer_depth
            assert not stage.transformer_depth or stage.expansion <= bound.expansion
    if architecture.mid:
        assert largest.mid
        assert architecture.mid.num_blocks <= largest.mid.num_blocks
        assert architecture.mid.transformer_depth <= largest.mid.transformer_depth


@every_design
def test_figures_are_near_the_counts_but_for_what_does_not_add_up(name: str):
    design, plan = get_design(name), _plan(name)
    for figure in design.figures:
        assert figure.source
        off = getattr(plan, figure.quantity) / figure.value - 1
        tolerance = {"computed": 1e-3, "verified": 0.025, "remembered": 0.07}[figure.mark]
        known = name == "snapfusion" and figure.quantity == "parameters"
        assert known or abs(off) < tolerance, (figure, off)


def test_names_aliases_and_refusals():
    assert get_design("mobilediffusion-lite") is get_design("md-lite")
    with pytest.raises(ValueError, match="no published design 'sd-15'; known are sd15, .*md-lite; did you mean 'sd15'"):
        get_design("sd-15")
