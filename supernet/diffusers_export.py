"""An architecture at a scale as the `config.json` of a diffusers `UNet2DConditionModel`, or why there is none for it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from search_space import Architecture, Level, Scale, Stage
from supernet.diffusers_config import CLASS_NAME, DIFFUSERS_VERSION, FIXED_KEYS, DiffusersUNet


def unet_to_config(unet: DiffusersUNet) -> dict[str, Any]:
    """Writes a configuration that `unet_from_config` reads back, and that diffusers builds.

    Raises:
        ValueError: the architecture or its scale cannot be said there; the message names the stages and fields.
    """
    architecture, scale = unet.architecture.canonical(), unet.scale
    if problems := _inexpressible(architecture, scale):
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise ValueError(f"this architecture cannot be said in diffusers' {CLASS_NAME}: {shown}")
    levels, mid = architecture.levels, architecture.mid
    widths = [level.width * scale.base_width for level in levels]
    mid_depth = mid.transformer_depth if mid else 0
    depths, up_depths = _written_depths(levels, mid_depth)
    config = {name: accepted[0] for name, accepted in FIXED_KEYS.items()} | {
        "attention_head_dim": scale.num_heads or [max(1, width // (scale.head_width or 1)) for width in widths],
        "block_out_channels": widths,
        "cross_attention_dim": scale.context_width,
        "down_block_types": ["CrossAttnDownBlock2D" if x.down.transformer_depth else "DownBlock2D" for x in levels],
        "in_channels": scale.in_channels,
        "layers_per_block": _shortened([level.down.num_blocks for level in levels]),
        "mid_block_type": None if not mid else "UNetMidBlock2DCrossAttn" if mid_depth else "UNetMidBlock2D",
        "norm_eps": scale.norm_epsilon,
        "norm_num_groups": scale.norm_groups,
        "out_channels": scale.out_channels,
        "reverse_transformer_layers_per_block": up_depths,
        "sample_size": scale.resolution,
        "time_embedding_dim": None if scale.time_width == 4 * widths[0] else scale.time_width,
        "transformer_layers_per_block": _shortened(depths),
        "up_block_types": ["CrossAttnUpBlock2D" if x.up.transformer_depth else "UpBlock2D" for x in reversed(levels)],
        "use_linear_projection": unet.has_linear_projections,
    }
    return {"_class_name": CLASS_NAME, "_diffusers_version": DIFFUSERS_VERSION, **dict(sorted(config.items()))}


def _inexpressible(architecture: Architecture, scale: Scale) -> list[str]:
    """Why diffusers has no configuration for this, in order of the stages; empty where it has one."""
    levels, mid = architecture.levels, architecture.mid
    stages = {f"down{i}": level.down for i, level in enumerate(levels)}
    stages |= {"mid": mid} if mid else {}
    stages |= {f"up{i}": level.up for i, level in reversed(list(enumerate(levels)))}
    problems = [problem for name, stage in stages.items() for problem in _stage_problems(name, stage)]
    for i, level in enumerate(levels):
        wanted = level.down.num_blocks + 1
        if level.up.num_blocks != wanted:
            problems.append(f"up{i}.num_blocks is {level.up.num_blocks}; there it is down{i}.num_blocks + 1 = {wanted}")
    if mid:
        problems += _mid_problems(mid, levels[-1].down.transformer_depth, f"down{len(levels) - 1}")
    deepest = max(stage.transformer_depth for stage in stages.values())
    return problems + _scale_problems(scale, levels[0].width * scale.base_width, deepest)


def _stage_problems(name: str, stage: Stage) -> list[str]:
    """A canonical stage without transformers has the defaults in all fields of a transformer."""
    wanted = Stage(stage.num_blocks, transformer_depth=stage.transformer_depth)
    return [
        f"{name}.{field.name} is {getattr(stage, field.name)!r}; there it is {getattr(wanted, field.name)!r}"
        for field in dataclasses.fields(Stage)
        if getattr(stage, field.name) != getattr(wanted, field.name)
    ]


def _mid_problems(mid: Stage, deepest: int, name: str) -> list[str]:
    if mid.num_blocks > 2 or (mid.num_blocks == 2) != bool(mid.transformer_depth):
        return [
            f"mid.num_blocks is {mid.num_blocks} with mid.transformer_depth {mid.transformer_depth}; "
            "there it is 1 without transformers, or 2 with them"
        ]
    if mid.transformer_depth and deepest not in (0, mid.transformer_depth):
        return [f"mid.transformer_depth is {mid.transformer_depth}; there it is that of {name}, {deepest}"]
    return []


def _scale_problems(scale: Scale, width: int, deepest: int) -> list[str]:
    problems = []
    if not scale.shared_projections and deepest > 1:
        problems.append("scale.shared_projections is false; there the layers behind a block share one pair of projections")
    if scale.norm_groups is None:
        problems.append(f"scale.norm_group_size is {scale.norm_group_size}; there the number of groups is fixed")
    if scale.time_features != width:
        problems.append(f"scale.time_features is {scale.time_features}; there it is the width of level 0, {width}")
    if scale.vocabulary:
        problems.append(f"scale.vocabulary is {scale.vocabulary}; there contexts come encoded")
    return problems


def _written_depths(levels: Sequence[Level], mid_depth: int) -> tuple[list[int], list[int] | None]:
    """Depths of the down side, and of the up side, deepest first, where they differ; a level without transformers has any."""
    down = [level.down.transformer_depth or level.up.transformer_depth or 1 for level in levels]
    if mid_depth:
        down[-1] = mid_depth
    up = [level.up.transformer_depth or depth for level, depth in zip(levels, down, strict=True)]
    return down, None if up == down else up[::-1]


def _shortened(values: list[int]) -> int | list[int]:
    return values[0] if len(set(values)) == 1 else values
