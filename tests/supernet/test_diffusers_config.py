"""A diffusers configuration is read as the network it means, refused by key and value where it is another, and written back."""

import dataclasses
import json

import numpy as np
import pytest

from search_space import Architecture, Level, Scale, Stage, get_scale, get_space, layer_plan
from search_space import scale as scales
from supernet.diffusers_config import DiffusersUNet, unet_from_config
from supernet.diffusers_export import unet_to_config

CLASS = {"_class_name": "UNet2DConditionModel"}
SD15 = {**CLASS, "_diffusers_version": "0.6.0", "sample_size": 64, "cross_attention_dim": 768}
SMALL = {
    **CLASS, "sample_size": 16, "block_out_channels": [32, 64], "cross_attention_dim": 8, "norm_num_groups": 8,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}  # fmt: skip


def _parameters(config: dict) -> int:
    unet = unet_from_config(config)
    return layer_plan(unet.architecture, unet.scale).parameters


def test_published_networks_have_their_published_numbers_of_parameters():
    cross = ["CrossAttnDownBlock2D"] * 3, ["CrossAttnUpBlock2D"] * 3
    base = {**SD15, "layers_per_block": 1}
    small = {**base, "mid_block_type": None}
    tiny = {**small, "block_out_channels": [320, 640, 1280], "down_block_types": cross[0], "up_block_types": cross[1]}
    assert list(map(_parameters, (SD15, base, small, tiny))) == [859_520_964, 579_384_964, 482_346_884, 323_384_964]


def test_what_is_left_out_has_the_default_of_diffusers():
    explicit = {
        "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "act_fn": "silu",
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], "norm_num_groups": 32, "norm_eps": 1e-5,
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3, "in_channels": 4, "out_channels": 4,
        "mid_block_type": "UNetMidBlock2DCrossAttn", "use_linear_projection": False,
    }  # fmt: skip
    assert unet_from_config(SD15) == unet_from_config({**SD15, **explicit})


def test_widths_are_counted_in_units_of_their_greatest_common_divisor():
    unet = unet_from_config({**SD15, "time_embedding_dim": 512})  # no named scale has this
    assert (unet.scale.name, unet.scale.base_width) == ("imported", 320)
    assert [level.width for level in unet.architecture.levels] == [1, 2, 4, 4]
    assert (unet.scale.time_features, unet.scale.time_width, unet.scale.context_length) == (320, 512, 77)
    assert unet_from_config(SD15, context_length=9).scale.context_length == 9


def test_a_named_scale_is_found_where_all_of_it_agrees(monkeypatch):
    named = dataclasses.replace(unet_from_config(SMALL).scale, name="small", base_width=16)
    monkeypatch.setitem(scales._SCALES, "small", named)
    unet = unet_from_config(SMALL)
    assert unet.scale == named
    assert [level.width for level in unet.architecture.levels] == [2, 4]
    assert unet_from_config({**SMALL, "norm_eps": 1e-6}).scale.name == "imported"
    assert unet_from_config({**SMALL, "block_out_channels": [32, 40]}).scale.name == "imported"


def test_block_types_say_where_transformers_are_on_both_sides():
    levels = unet_from_config(SMALL).architecture.levels
    assert [(level.down.transformer_depth, level.up.transformer_depth) for level in levels] == [(1, 1), (0, 0)]
    mixed = {**SMALL, "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "transformer_layers_per_block": [2, 3]}
    levels = unet_from_config(mixed).architecture.levels
    assert [(level.down.transformer_depth, level.up.transformer_depth) for level in levels] == [(2, 0), (0, 3)]


@pytest.mark.parametrize(
    ("name", "mid"), [("UNetMidBlock2DCrossAttn", Stage(2, transformer_depth=1)), ("UNetMidBlock2D", Stage(1)), (None, None)]
)
def test_mid_blocks(name, mid):
    assert unet_from_config({**SMALL, "mid_block_type": name}).architecture.mid == mid


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"attention_head_dim": 4}, (4, None)),
        ({"attention_head_dim": [4, 4]}, (4, None)),
        ({"attention_head_dim": [4, 8]}, (None, 8)),
        ({"attention_head_dim": [4, 2], "mid_block_type": None}, (4, None)),  # level 1 has no attention
    ],
)
def test_heads_are_one_number_or_of_one_width(changes, rule):
    scale = unet_from_config({**SMALL, **changes}).scale
    assert (scale.num_heads, scale.head_width) == rule


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "AutoencoderKL"}, 'key \'_class_name\' is "AutoencoderKL"; supported is "UNet2DConditionModel"'),
        (
            {"down_block_types": ["AttnDownBlock2D", "DownBlock2D"]},
            "key 'down_block_types[0]' is \"AttnDownBlock2D\"; supported is DownBlock2D or CrossAttnDownBlock2D",
        ),
        (
            {"up_block_types": ["UpBlock2D", "SimpleCrossAttnUpBlock2D"]},
            "key 'up_block_types[1]' is \"SimpleCrossAttnUpBlock2D\"; supported is UpBlock2D or CrossAttnUpBlock2D",
        ),
        ({"up_block_types": ["UpBlock2D"]}, "supported is a list of 2 block types, one for each of block_out_channels"),
        ({"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}, "supported is UNetMidBlock2DCrossAttn, UNetMidBlock2D or null"),
        ({"class_embed_type": "timestep"}, "key 'class_embed_type' is \"timestep\"; supported is null"),
        ({"num_attention_heads": 8}, "key 'num_attention_heads' is 8; supported is null"),
        ({"num_class_embeds": 10}, "key 'num_class_embeds' is 10; supported is null"),
        ({"addition_embed_type": "text_time"}, "key 'addition_embed_type' is \"text_time\"; supported is null"),
        ({"dual_cross_attention": True}, "key 'dual_cross_attention' is true; supported is false"),
        ({"only_cross_attention": [True, False]}, "key 'only_cross_attention' is [true, false]; supported is false"),
        ({"resnet_time_scale_shift": "scale_shift"}, 'supported is "default"'),
        ({"act_fn": "gelu"}, 'key \'act_fn\' is "gelu"; supported is "silu" or "swish"'),
        ({"time_embedding_type": "fourier"}, 'supported is "positional"'),
        ({"time_cond_proj_dim": 256}, "key 'time_cond_proj_dim' is 256; supported is null"),
        ({"conv_in_kernel": 1}, "key 'conv_in_kernel' is 1; supported is 3"),
        ({"freq_shift": 1}, "key 'freq_shift' is 1; supported is 0"),
        ({"flip_sin_to_cos": False}, "key 'flip_sin_to_cos' is false; supported is true"),
        ({"downsample_padding": 0}, "key 'downsample_padding' is 0; supported is 1"),
        ({"encoder_hid_dim_type": "text_proj"}, "supported is null"),
        ({"attention_type": "gated"}, 'key \'attention_type\' is "gated"; supported is "default"'),
        ({"mid_block_scale_factor": 1.5}, "supported is 1"),
        ({"norm_num_groups": None}, "key 'norm_num_groups' is null; supported is a whole number, 1 or more"),
        ({"sample_size": None}, "key 'sample_size' is null; supported is the side of square images or latents, such as 64"),
        ({"sample_size": [16, 24]}, "key 'sample_size' is [16, 24]"),
        ({"cross_attention_dim": [8, 16]}, "supported is one value for all levels"),
        ({"layers_per_block": [1]}, "supported is a whole number, 1 or more, or a list of 2"),
        ({"layers_per_block": 0}, "key 'layers_per_block' is 0"),
        (
            {"transformer_layers_per_block": 0},
            "key 'transformer_layers_per_block' is 0; supported is a whole number, 1 or more",
        ),
        ({"transformer_layers_per_block": [[1, 2], 1]}, "is [1, 2]; supported is a whole number, 1 or more, the same for all"),
        ({"attention_head_dim": [4, 5]}, "one number of heads for all levels with attention, or heads of one width"),
        ({"norm_eps": "small"}, "key 'norm_eps' is \"small\"; supported is a number above 0"),
        ({"use_linear_projection": "yes"}, "supported is true or false"),
        ({"block_out_channels": 32}, "key 'block_out_channels' is 32; supported is a list of whole numbers, 1 or more"),
        ({"norm_epsilon": 1e-6}, "key 'norm_epsilon' is 1e-06, and no such key is known; did you mean 'norm_eps'?"),
        ({"flux": {"a": 1}}, "key 'flux' is {\"a\": 1}, and no such key is known; take it out if"),
    ],
)
def test_what_we_do_not_compute_is_refused_by_key_and_value(changes, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the message is the next line's
        unet_from_config({**SMALL, **changes})
    assert message in str(refusal.value)


def test_keys_without_effect_and_keys_that_are_off_are_passed_over():
    changes = {"dropout": 0.1, "upcast_attention": True, "_name_or_path": "x", "a_later_key": None, "another": False}
    assert unet_from_config({**SMALL, **changes}) == unet_from_config(SMALL)


def _random_unet(rng: np.random.Generator) -> DiffusersUNet:
    """Any network that diffusers can express."""
    num_levels = int(rng.integers(1, 5))

    def depth() -> int:
        return int(rng.integers(0, 4))

    levels = []
    for _ in range(num_levels):
        blocks = int(rng.integers(1, 4))
        down, up = Stage(blocks, transformer_depth=depth()), Stage(blocks + 1, transformer_depth=depth())
        levels.append(Level(int(rng.integers(1, 5)), down, up))
    levels[0] = dataclasses.replace(levels[0], width=3)
    last = levels[-1].down.transformer_depth or 1 + depth()
    mid = (None, Stage(1), Stage(2, transformer_depth=last))[rng.integers(3)]
    heads = {"num_heads": 4} if rng.random() < 0.5 else {"head_width": 8}
    time_width = int(rng.choice([4 * 3 * 16, 100]))
    scale = Scale(
        "imported", 32, 4, 3, 16, context_length=5, context_width=12, time_features=48, time_width=time_width,
        norm_groups=4, norm_epsilon=float(rng.choice([1e-5, 1e-6])), **heads,
    )  # fmt: skip
    return DiffusersUNet(Architecture(tuple(levels), mid), scale, bool(rng.random() < 0.5))


def test_what_is_written_reads_back_as_the_same_network():
    rng = np.random.default_rng(0)
    for _ in range(60):
        unet = _random_unet(rng)
        config = json.loads(json.dumps(unet_to_config(unet)))
        again = unet_from_config(config, context_length=unet.scale.context_length)
        assert again.has_linear_projections == unet.has_linear_projections
        # Units of width, and rules of heads that come to the same, may differ: the plans tell.
        plans = [layer_plan(each.architecture, each.scale) for each in (unet, again)]
        assert plans[0].blocks == plans[1].blocks
        assert again.scale.norm_epsilon == unet.scale.norm_epsilon


@pytest.mark.parametrize(
    ("level", "changes", "message"),
    [
        ("down0", {"convolution": "separable"}, "down0.convolution is 'separable'; there it is 'full'"),
        ("up1", {"attention": "cross"}, "up1.attention is 'cross'; there it is 'self_cross'"),
        ("up0", {"attention_function": "relu"}, "up0.attention_function is 'relu'; there it is 'softmax'"),
        ("down1", {"expansion": 6}, "down1.expansion is 6; there it is 4"),
        ("down1", {"shared_kv": True}, "down1.shared_kv is True; there it is False"),
        ("mid", {"gating": "silu"}, "mid.gating is 'silu'; there it is 'gelu'"),
        ("up1", {"num_blocks": 1}, "up1.num_blocks is 1; there it is down1.num_blocks + 1 = 2"),
        ("mid", {"num_blocks": 3}, "mid.num_blocks is 3 with mid.transformer_depth 1; there it is 1 without transformers"),
        ("mid", {"transformer_depth": 0}, "mid.num_blocks is 2 with mid.transformer_depth 0"),
        ("mid", {"transformer_depth": 3}, "mid.transformer_depth is 3; there it is that of down1, 1"),
    ],
)
def test_what_diffusers_does_not_have_is_refused_by_stage_and_field(level, changes, message):
    stages = {name: Stage(1, transformer_depth=1) for name in ("down0", "down1")}
    stages |= {name: Stage(2, transformer_depth=1) for name in ("up0", "up1", "mid")}
    stages[level] = dataclasses.replace(stages[level], **changes)
    levels = tuple(Level(i + 1, stages[f"down{i}"], stages[f"up{i}"]) for i in range(2))
    scale = unet_from_config(SMALL).scale
    with pytest.raises(ValueError, match="this architecture cannot be said in diffusers' UNet2DConditionModel") as refusal:
        unet_to_config(DiffusersUNet(Architecture(levels, stages["mid"]), scale))
    assert str(refusal.value).endswith(message) or f": {message}" in str(refusal.value)


def test_a_scale_that_diffusers_does_not_have_is_refused_by_field():
    architecture = Architecture((Level(2, Stage(1), Stage(2)),))
    with pytest.raises(ValueError, match="scale.norm_group_size is 8; there the number of groups is fixed") as refusal:
        unet_to_config(DiffusersUNet(architecture, get_scale("digits-proxy")))
    assert "scale.time_features is 32; there it is the width of level 0, 16" in str(refusal.value)
    assert "scale.vocabulary is 11; there contexts come encoded" in str(refusal.value)


def test_stacked_transformers_with_projections_of_their_own_are_refused():
    unet = unet_from_config(SMALL | {"transformer_layers_per_block": 2})
    apart = dataclasses.replace(unet, scale=dataclasses.replace(unet.scale, shared_projections=False))
    with pytest.raises(ValueError, match="scale.shared_projections is false; there the layers behind a block share one pair"):
        unet_to_config(apart)
    unet_to_config(unet)


def test_many_problems_are_counted_and_the_first_are_said():
    with pytest.raises(ValueError, match=r"; and \d+ more$"):
        unet_to_config(DiffusersUNet(get_space("digits").smallest(), get_scale("digits-proxy")))
