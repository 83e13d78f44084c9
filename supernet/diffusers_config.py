"""The `config.json` of a diffusers `UNet2DConditionModel` as an architecture at a scale.

Only what computes the same is translated: a key that would change the computation in a way that our blocks do not know is
refused. The meaning of each key, its default included, is that of diffusers 0.42.1, `models/unets/unet_2d_condition.py`.
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from search_space import Architecture, Level, Scale, Stage, get_scale, layer_plan, scale_names

CLASS_NAME = "UNet2DConditionModel"
DIFFUSERS_VERSION = "0.42.1"
DEFAULT_CONTEXT_LENGTH = 77
IMPORTED = "imported"

# Keys that change the computation, with the values under which ours is the same; the first is the default.
FIXED_KEYS: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "addition_embed_type": (None,),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "class_embeddings_concat": (False,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "downsample_padding": (1,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_scale_factor": (1,),
    "num_attention_heads": (None,),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_time_scale_shift": ("default",),
    "time_cond_proj_dim": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
}
# Keys whose value does not change what the supported blocks compute in float32, outside training.
_WITHOUT_EFFECT = {
    "addition_embed_type_num_heads", "addition_time_embed_dim", "dropout", "mid_block_only_cross_attention",
    "projection_class_embeddings_input_dim", "resnet_out_scale_factor", "resnet_skip_time_act", "upcast_attention",
}  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 1280,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "out_channels": 4,
    "reverse_transformer_layers_per_block": None,
    "sample_size": None,
    "time_embedding_dim": None,
    "transformer_layers_per_block": 1,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "use_linear_projection": False,
}
_HAS_TRANSFORMERS = {
    "down": {"DownBlock2D": False, "CrossAttnDownBlock2D": True},
    "up": {"UpBlock2D": False, "CrossAttnUpBlock2D": True},
}
# Fields in which a named scale must be the same: those that blocks and their operations do not show, or not always.
_AGREEING = (
    "resolution", "context_length", "context_width", "vocabulary", "norm_groups", "norm_group_size", "norm_epsilon",
    "num_heads", "head_width", "dtype",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DiffusersUNet:
    """A `UNet2DConditionModel` in our terms.

    Attributes:
        architecture: its architecture.
        scale: the scale at which it lives.
        has_linear_projections: whether its transformers store their projections as linear layers, not as 1x1
            convolutions; they compute the same.
    """

    architecture: Architecture
    scale: Scale
    has_linear_projections: bool = False


def unet_from_config(config: Mapping[str, Any], *, context_length: int = DEFAULT_CONTEXT_LENGTH) -> DiffusersUNet:
    """Reads a configuration.

    Args:
        config: what `config.json` holds.
        context_length: tokens of a prompt, which the configuration does not say.

    Raises:
        ValueError: a key has a value that we cannot compute, or that diffusers would not take; the message names the key,
            the value and what is supported.
    """
    _check_keys(config)
    settings = {**_DEFAULTS, **config}
    widths = _integers(settings, "block_out_channels")
    n = len(widths)
    down_has, up_has = (_has_transformers(settings, side, n) for side in ("down", "up"))
    mid = _mid(settings)
    has_attention = [down or up for down, up in zip(down_has, up_has, strict=True)]
    has_attention[-1] |= mid is not None and mid.num_blocks > 1
    scale = Scale(
        IMPORTED,
        resolution=_side(settings),
        in_channels=_integer(settings, "in_channels"),
        out_channels=_integer(settings, "out_channels"),
        base_width=math.gcd(*widths),
        context_length=context_length,
        context_width=_one_value(settings, "cross_attention_dim", n),
        time_features=widths[0],
        time_width=4 * widths[0] if settings["time_embedding_dim"] is None else _integer(settings, "time_embedding_dim"),
        norm_groups=_integer(settings, "norm_num_groups"),
        norm_epsilon=_positive(settings, "norm_eps"),
        **_head_rule(settings, widths, has_attention),
    )
    architecture = Architecture(_levels(settings, [width // scale.base_width for width in widths], down_has, up_has), mid)
    return DiffusersUNet(*_named(architecture, scale), _truth(settings, "use_linear_projection"))


def _levels(
    settings: Mapping[str, Any], widths: Sequence[int], down_has: Sequence[bool], up_has: Sequence[bool]
) -> tuple[Level, ...]:
    """The levels of these widths; `transformer_layers_per_block` holds for both sides unless the other key is given."""
    blocks = _per_level(settings, "layers_per_block", len(widths))
    key = "transformer_layers_per_block"
    down = _depths(settings, key, down_has)
    if settings[f"reverse_{key}"] is None:
        up = _depths(settings, key, up_has)
    else:
        up = _depths(settings, f"reverse_{key}", up_has[::-1])[::-1]
    return tuple(
        Level(widths[i], Stage(blocks[i], transformer_depth=down[i]), Stage(blocks[i] + 1, transformer_depth=up[i]))
        for i in range(len(widths))
    )


def _check_keys(config: Mapping[str, Any]) -> None:
    if config.get("_class_name") != CLASS_NAME:
        raise ValueError(
            f"key '_class_name' is {json.dumps(config.get('_class_name'))}; supported is {json.dumps(CLASS_NAME)}, "
            "as in the unet/ folder of a Stable Diffusion pipeline"
        )
    known = (*_DEFAULTS, *FIXED_KEYS, *_WITHOUT_EFFECT)
    for key, value in config.items():
        if key in FIXED_KEYS:
            values = value if isinstance(value, list) and value else [value]
            if any(each not in FIXED_KEYS[key] for each in values):
                raise _refusal(key, value, " or ".join(map(json.dumps, FIXED_KEYS[key])))
        elif not (
            key in known or key.startswith("_") or value is None or value is False
        ):  # other versions' keys, if they are on
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "take it out if the network does not need it"
            raise ValueError(f"key {key!r} is {json.dumps(value)}, and no such key is known; {hint}")


def _refusal(key: str, value: Any, supported: str) -> ValueError:
    return ValueError(f"key {key!r} is {json.dumps(value)}; supported is {supported}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _integer(settings: Mapping[str, Any], key: str) -> int:
    if not _is_count(settings[key]):
        raise _refusal(key, settings[key], "a whole number, 1 or more")
    return settings[key]


def _positive(settings: Mapping[str, Any], key: str) -> float:
    value = settings[key]
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise _refusal(key, value, "a number above 0")
    return float(value)


def _truth(settings: Mapping[str, Any], key: str) -> bool:
    if not isinstance(settings[key], bool):
        raise _refusal(key, settings[key], "true or false")
    return settings[key]


def _integers(settings: Mapping[str, Any], key: str) -> list[int]:
    value = settings[key]
    if not isinstance(value, list) or not value or not all(map(_is_count, value)):
        raise _refusal(key, value, "a list of whole numbers, 1 or more")
    return value


def _per_level(settings: Mapping[str, Any], key: str, n: int) -> list[int]:
    """A whole number for each level, from one for all or from a list."""
    value: Any = settings[key]
    if _is_count(value):
        return [value] * n
    if not isinstance(value, list) or len(value) != n or not all(map(_is_count, value)):
        raise _refusal(key, value, f"a whole number, 1 or more, or a list of {n}, one for each of block_out_channels")
    return value


def _one_value(settings: Mapping[str, Any], key: str, n: int) -> int:
    values = _per_level(settings, key, n)
    if len(set(values)) > 1:
        raise _refusal(key, settings[key], "one value for all levels")
    return values[0]


def _side(settings: Mapping[str, Any]) -> int:
    """The resolution; the configuration may leave it out, but counts hang on it."""
    size = settings["sample_size"]
    sides: list[Any] = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(map(_is_count, sides)) or len(set(sides)) > 1:
        raise _refusal("sample_size", size, "the side of square images or latents, such as 64")
    return sides[0]


def _has_transformers(settings: Mapping[str, Any], side: str, n: int) -> list[bool]:
    """For each level, finest first, whether its blocks on this side carry transformers."""
    key, known = f"{side}_block_types", _HAS_TRANSFORMERS[side]
    names = settings[key]
    if not isinstance(names, list) or len(names) != n:
        raise _refusal(key, names, f"a list of {n} block types, one for each of block_out_channels")
    for i, name in enumerate(names):
        if name not in list(known):  # a list, since a name from a file need not be hashable
            raise _refusal(f"{key}[{i}]", name, " or ".join(known))
    found = [known[name] for name in names]
    return found[::-1] if side == "up" else found  # up blocks are listed deepest first


def _mid(settings: Mapping[str, Any]) -> Stage | None:
    name, key = settings["mid_block_type"], "transformer_layers_per_block"
    if name is None:
        return None
    if name == "UNetMidBlock2D":
        return Stage(1)
    if name != "UNetMidBlock2DCrossAttn":
        raise _refusal("mid_block_type", name, "UNetMidBlock2DCrossAttn, UNetMidBlock2D or null")
    depths = settings[key]
    return Stage(2, transformer_depth=_depth(key, depths[-1] if isinstance(depths, list) and depths else depths))


def _depths(settings: Mapping[str, Any], key: str, has_transformers: Sequence[bool]) -> list[int]:
    """Transformer layers of each level, from one number for all or a list in the order of `has_transformers`; 0 without."""
    value, n = settings[key], len(has_transformers)
    entries = value if isinstance(value, list) else [value] * n
    if len(entries) != n:
        raise _refusal(key, value, f"a whole number, 1 or more, or a list of {n}, one for each of block_out_channels")
    return [_depth(key, entry) if has else 0 for entry, has in zip(entries, has_transformers, strict=True)]


def _depth(key: str, entry: Any) -> int:
    """The depth of a level, whose blocks may be listed one by one."""
    blocks: list[Any] = entry if isinstance(entry, list) and entry else [entry]
    if not _is_count(blocks[0]) or any(block != blocks[0] for block in blocks):
        raise _refusal(key, entry, "a whole number, 1 or more, the same for all blocks of a level")
    return blocks[0]


def _head_rule(settings: Mapping[str, Any], widths: Sequence[int], attends: Sequence[bool]) -> dict[str, Any]:
    """The scale's head rule; what diffusers calls `attention_head_dim` is the number of heads, and it takes no other key."""
    heads = _per_level(settings, "attention_head_dim", len(widths))
    seen = {(width, number) for width, number, is_attending in zip(widths, heads, attends, strict=True) if is_attending}
    numbers = {number for _, number in seen} or {heads[0]}
    if len(numbers) == 1:
        return {"num_heads": numbers.pop()}
    head_widths = {width / number for width, number in seen}
    if len(head_widths) == 1 and (head_width := head_widths.pop()).is_integer():
        return {"head_width": int(head_width)}
    raise _refusal(
        "attention_head_dim",
        settings["attention_head_dim"],
        "one number of heads for all levels with attention, or heads of one width",
    )


def _named(architecture: Architecture, scale: Scale) -> tuple[Architecture, Scale]:
    """The same network at the named scale at which it can be said, or as it is."""
    for name in scale_names():
        known = get_scale(name)
        agrees = all(getattr(known, field) == getattr(scale, field) for field in _AGREEING)
        widths = [level.width * scale.base_width for level in architecture.levels]
        if not agrees or any(width % known.base_width for width in widths):
            continue
        levels = [
            dataclasses.replace(level, width=width // known.base_width)
            for level, width in zip(architecture.levels, widths, strict=True)
        ]
        renamed = dataclasses.replace(architecture, levels=tuple(levels))
        if layer_plan(renamed, known).blocks == layer_plan(architecture, scale).blocks:
            return renamed, known
    return architecture, scale
