"""The route of an architecture through a supernet: every integer that its switches need, a row for each position of a stage.

It is worked out here, in NumPy. Inside the program each of these integers would be a kernel of its own, and those would be
a fifth of all that is compiled.
"""

from typing import Any

import numpy as np
from jax import lax
from jaxtyping import Array, Int

from search_space import Architecture
from search_space.architecture import Stage
from supernet.elastic_layout import ElasticLayout
from supernet.elastic_stage import PART_KINDS, ElasticStage, Row

# Fields of a row. Flags are 0 or 1; what is called `channels` is a number of them; the rest are indices of branches.
FIELDS = (
    "is_active", "in_channels", "full_channels", "channels", "skip", "convolution", "conv1", "conv2", "shortcut",
    "width", "depth", "feed_forward_branch", "is_relu", "is_shared", *PART_KINDS,
)  # fmt: skip
Route = Int[Array, "stages positions fields"]


def row_at(rows: Int[Array, "positions fields"], position: Array | int) -> Row:
    """The numbers of one position of a stage, by name."""

    def number(field: int) -> Array:
        return lax.dynamic_slice(rows, (position, field), (1, 1), allow_negative_indices=False).reshape(())

    return {name: number(i) for i, name in enumerate(FIELDS)}


def find_route(layout: ElasticLayout, architecture: Architecture) -> Int[np.ndarray, "stages positions fields"]:
    """The route of an architecture of the layout's space; all stages have as many rows as the longest."""
    stages = list(layout.stages.values())
    route = np.zeros((len(stages), max(stage.positions for stage in stages), len(FIELDS)), np.int32)
    for i, stage in enumerate(stages):
        for position in range(stage.positions):
            row = _row(layout, stage, architecture, position)
            route[i, position] = [row.get(name, 0) for name in FIELDS]
    return route


def _row(layout: ElasticLayout, stage: ElasticStage, architecture: Architecture, position: int) -> dict[str, int]:
    chosen, levels = _stage_of(architecture, stage), architecture.levels
    if chosen is None:
        return {}
    widths = [level.width * layout.scale.base_width for level in levels]
    choices, residuals = stage.choices, layout.residuals[stage.name]
    channels = widths[stage.level_of(len(levels))]
    in_channels = channels if position else widths[stage.entry_level(len(levels))]
    skip, skip_channels = 0, 0
    if stage.skip_widths:  # the deepest first: the outputs of the down stage, then what came into the level
        skip = max(levels[stage.level].down.num_blocks - position, 0)
        skip_channels = channels if skip else widths[max(stage.level - 1, 0)]
    full = in_channels + skip_channels
    row = {"is_active": int(position < chosen.num_blocks), "in_channels": in_channels, "full_channels": full}
    row |= {"channels": channels, "skip": skip, "width": stage.widths.index(channels)}
    if row["is_active"]:
        kinds, kind = len(choices.convolution), choices.convolution.index(chosen.convolution)
        shape = residuals.shapes.index((full, channels))
        row |= {"convolution": kind, "conv1": shape * kinds + kind, "shortcut": shape}
        row["conv2"] = residuals.outs.index(channels) * kinds + kind
    if position < chosen.num_blocks - (stage.name == "mid") and chosen.transformer_depth:
        row |= {"depth": chosen.transformer_depth, **_transformer(stage, chosen, row["width"])}
    return row


def _transformer(stage: ElasticStage, chosen: Stage, width: int) -> dict[str, int]:
    choices = stage.choices
    branch = width
    for field in ("expansion", "gating"):
        values: tuple[Any, ...] = getattr(choices, field)
        branch = branch * len(values) + values.index(getattr(chosen, field))
    flags = {part: int(chosen.attention in kinds) for part, kinds in PART_KINDS.items()}
    flags |= {"is_relu": int(chosen.attention_function == "relu"), "is_shared": int(chosen.shared_kv)}
    return {"feed_forward_branch": branch, **flags}


def _stage_of(architecture: Architecture, stage: ElasticStage) -> Stage | None:
    if stage.name == "mid":
        return architecture.mid or Stage(0)
    if stage.level >= len(architecture.levels):
        return None
    level = architecture.levels[stage.level]
    return level.up if stage.skip_widths else level.down
