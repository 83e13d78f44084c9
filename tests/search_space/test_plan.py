"""The layer plan: skip wiring, shapes, and counts against formulas written out by hand."""

import numpy as np
import pytest

from search_space import Architecture, Level, Scale, Stage, get_scale, get_space, layer_plan
from search_space.plan import ResidualSpec

SD15_SCALE = Scale(
    "sd15-test", 64, 4, 4, 320, context_length=77, context_width=768, time_features=320, time_width=1280,
    norm_groups=32, num_heads=8,
)  # fmt: skip


def _sd15() -> Architecture:
    def level(width: int, depth: int) -> Level:
        return Level(width, Stage(2, transformer_depth=depth), Stage(3, transformer_depth=depth))

    return Architecture((level(1, 1), level(2, 1), level(4, 1), level(4, 0)), Stage(2, transformer_depth=1))


def test_stable_diffusion_15_is_counted_to_the_last_parameter():
    plan = layer_plan(_sd15(), SD15_SCALE)
    assert plan.parameters == 859_520_964  # published
    # 338.61 G convolution and linear, 63.03 G attention matmuls, by an independent counter
    assert plan.macs_conv_linear == pytest.approx(338.61e9, abs=0.05e9)
    assert plan.macs_attention == pytest.approx(63.03e9, abs=0.05e9)


def test_up_blocks_take_the_skips_deepest_first():
    level = Level(1, Stage(2), Stage(2))
    plan = layer_plan(Architecture((level, level)), get_scale("digits-proxy"))
    taken = {block.name: block.skip_from for block in plan.blocks if block.skip_from}
    assert taken == {
        "up1.0.residual": "down1.1.residual",
        "up1.1.residual": "down1.0.residual",
        "up0.0.residual": "down0.1.residual",
        "up0.1.residual": "down0.0.residual",
    }


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


def test_sums_agree_and_memory_holds_at_least_the_largest_tensor():
    plan = layer_plan(get_space("digits").largest(), get_scale("digits-deploy"))
    assert plan.macs == plan.macs_conv_linear + plan.macs_attention == sum(b.macs for b in plan.blocks)
    assert plan.parameters == sum(block.parameters for block in plan.blocks)
    assert sum(len(blocks) for blocks in plan.stages.values()) == len(plan.blocks)
    assert plan.peak_activation_bytes > max(x.output_bytes for x in plan.operations)


def test_peak_memory_counts_every_live_tensor_once():
    # One level of 8 channels on 8x8 images: a tensor has 2 KiB. The widest moment is the up block's first activation: the
    # concatenation waits for the shortcut (2), its normalised copy goes in (2), and another comes out (2).
    plan = layer_plan(Architecture((Level(1, Stage(1), Stage(1)),)), get_scale("digits-proxy"))
    assert plan.peak_activation_bytes == 6 * 8 * 8 * 8 * 4
    # With two up blocks the first of them runs while the input's own skip waits.
    deeper = layer_plan(Architecture((Level(1, Stage(1), Stage(2)),)), get_scale("digits-proxy"))
    assert deeper.peak_activation_bytes == 7 * 8 * 8 * 8 * 4


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
    with pytest.raises(ValueError, match="there is no scale 'digit'; known are digits-proxy"):
        get_scale("digit")
