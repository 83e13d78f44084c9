"""The layer plan: skip wiring, shapes, and counts against formulas written out by hand."""

import dataclasses

import numpy as np
import pytest

from search_space import Architecture, Level, Scale, Stage, get_scale, get_space, layer_plan
from search_space.plan import ResidualSpec


@pytest.mark.parametrize(
    ("num_down", "num_up", "taken"),
    [
        (1, 1, ["down1.0.residual"]),
        (2, 1, ["down1.1.residual"]),
        (2, 2, ["down1.1.residual", "down1.0.residual"]),
        (2, 3, ["down1.1.residual", "down1.0.residual", "down0.downsample"]),
        (3, 2, ["down1.2.residual", "down1.1.residual"]),
    ],
)
@pytest.mark.parametrize("mid", [None, Stage(1)], ids=["no mid", "mid"])
def test_up_blocks_take_the_skips_deepest_first_and_leave_the_rest(
    num_down: int, num_up: int, taken: list[str], mid: Stage | None
):
    levels = (Level(1, Stage(1), Stage(1)), Level(2, Stage(num_down), Stage(num_up)))
    plan = layer_plan(Architecture(levels, mid), get_scale("digits-proxy"))
    skips = {block.name: block.skip_from for block in plan.blocks if block.skip_from}
    assert skips == {f"up1.{i}.residual": name for i, name in enumerate(taken)} | {"up0.0.residual": "down0.0.residual"}
    specs = {block.name: block.spec for block in plan.blocks}
    for i, name in enumerate(taken):
        spec = specs[f"up1.{i}.residual"]
        assert isinstance(spec, ResidualSpec)
        assert spec.skip_channels == specs[name].out_channels


def test_the_last_skip_is_what_came_into_the_level():
    level = Level(1, Stage(1, transformer_depth=1), Stage(2))
    plan = layer_plan(Architecture((level, level)), get_scale("digits-proxy"))
    taken = {block.name: block.skip_from for block in plan.blocks if block.skip_from}
    assert taken["up1.0.residual"] == "down1.0.transformer"
    assert taken["up1.1.residual"] == "down0.downsample"
    assert taken["up0.1.residual"] == "input.convolution"


@pytest.mark.parametrize("seed", range(20))
def test_shapes_connect(seed: int):
    space, scale = get_space("digits"), get_scale("digits-deploy")
    plan = layer_plan(space.sample(np.random.default_rng(seed)), scale)
    outputs, channels, resolution = {}, None, scale.resolution
    for block in plan.blocks:
        if isinstance(block.spec, ResidualSpec):
            assert block.spec.in_channels == channels
            if block.skip_from:
                assert outputs[block.skip_from] == (block.spec.skip_channels, block.resolution)
        if block.stage == "time":
            continue
        assert block.resolution == resolution
        height, _, channels = block.operations[-1].out_shape
        resolution = height
        outputs[block.name] = (channels, resolution)
    assert (resolution, channels) == (scale.resolution, scale.out_channels)


def test_layers_stand_between_one_pair_of_projections_or_each_between_its_own():
    level = Level(1, Stage(2, transformer_depth=3), Stage(1))
    scale = get_scale("digits-proxy")
    together = layer_plan(Architecture((level,)), scale)
    apart = layer_plan(Architecture((level,)), dataclasses.replace(scale, shared_projections=False))
    names = [[b.name for b in plan.blocks if b.name.endswith("transformer")] for plan in (together, apart)]
    assert names[0] == ["down0.0.transformer", "down0.1.transformer"]
    assert names[1] == [f"down0.{place}.transformer" for place in ("0", "0.1", "0.2", "1", "1.1", "1.2")]
    # Norm, two dense layers: twice for each of the two blocks. The last of the three hands its output to the up block.
    width = 8
    assert apart.parameters - together.parameters == 4 * (2 * width + 2 * (width * width + width))
    assert next(b.skip_from for b in apart.blocks if b.skip_from) == "down0.1.2.transformer"


def test_stages_hold_all_blocks_and_memory_at_least_the_largest_tensor():
    plan = layer_plan(get_space("digits").largest(), get_scale("digits-deploy"))
    assert sum(len(blocks) for blocks in plan.stages.values()) == len(plan.blocks)
    assert plan.peak_activation_bytes > max(x.output_bytes for x in plan.operations)


def test_resolutions_that_cannot_be_halved_are_refused():
    level = Level(2, Stage(1), Stage(1))
    with pytest.raises(ValueError, match="resolution 8 of scale 'digits-proxy' cannot be halved 4 times; use at most 4 levels"):
        layer_plan(Architecture((level,) * 5), get_scale("digits-proxy"))


def test_widths_that_break_the_norm_rule_are_refused():
    scale = Scale("odd", 8, 1, 1, 12, 1, 8, 8, 16, norm_group_size=8, head_width=4)
    with pytest.raises(ValueError, match="multiple of norm_group_size=8, got 12; use 16"):
        layer_plan(Architecture((Level(1, Stage(1), Stage(1)),)), scale)
    with pytest.raises(ValueError, match="multiple of num_heads=7, got 320; use 322"):
        Scale("heads", 64, 4, 4, 320, 1, 8, 8, 16, norm_groups=32, num_heads=7).heads(320)


def test_scales_name_one_rule_of_each_kind():
    with pytest.raises(ValueError, match="either norm_groups or norm_group_size"):
        Scale("x", 8, 1, 1, 8, 1, 8, 8, 16, num_heads=1)
    with pytest.raises(ValueError, match="time_features must be even, got 7"):
        Scale("x", 8, 1, 1, 8, 1, 8, 7, 16, norm_groups=1, num_heads=1)
    with pytest.raises(ValueError, match="there is no scale 'digit'; known are digits-proxy, .*; did you mean 'digits-"):
        get_scale("digit")
