"""The block map: which block of a teacher feeds which block of another network.

Levels and widths must be the same; of a student, levels alone. A block that the teacher does not have is to hand its input on.
A down stage takes the teacher's blocks in their order; those behind them hand on the last output, so the two networks have the
same skips, the last one several times. An up stage's block takes the teacher's block with the same skip; the first takes the
first.
"""

import dataclasses
from typing import Any

from search_space.architecture import Architecture, Stage
from search_space.plan import LayerPlan

# By name of the larger network's block, the teacher's; None where the teacher has none.
BlockMap = dict[str, str | None]
_ENDS = ("time", "input", "output")
_FIXED = ("in_channels", "out_channels", "context_width", "time_features", "time_width", "norm_groups", "norm_group_size",
          "norm_epsilon", "num_heads", "head_width")  # fmt: skip


def block_map(teacher: LayerPlan, larger: LayerPlan) -> BlockMap:
    """The block map.

    Raises:
        ValueError: the teacher does not fit into the larger network; the message names what differs, and both values.
    """
    return _map_unless(_misfits(teacher, larger), teacher, larger)


def student_block_map(teacher: LayerPlan, student: LayerPlan) -> BlockMap:
    """The block map to a network that is narrower or less deep than the teacher, or more: what corresponds to what.

    Raises:
        ValueError: the two have other inputs or numbers of levels.
    """
    problems = _fixed_misfits(teacher, student)
    if len(teacher.architecture.levels) != len(student.architecture.levels):
        has, there = len(teacher.architecture.levels), len(student.architecture.levels)
        problems.append(f"it has {has} levels, the student {there}")
    problems += _projection_misfits(teacher, student, deepest=max(_depth(teacher.architecture), _depth(student.architecture)))
    return _map_unless(problems, teacher, student)


def stage_end_map(teacher: LayerPlan, student: LayerPlan) -> BlockMap:
    """The block map of the blocks that end stages, for networks with any numbers of levels; other blocks are not in it.

    Only stages that both have and that end at one resolution, input and output apart: in a network with fewer levels the mid
    stage, and the way down to it, end elsewhere.
    """
    ours, theirs = ({name: blocks[-1] for name, blocks in plan.stages.items()} for plan in (student, teacher))
    return {
        block.name: theirs[stage].name
        for stage, block in ours.items()
        if stage in theirs and stage not in _ENDS and theirs[stage].out_shape[:2] == block.out_shape[:2]
    }


def _map_unless(problems: list[str], teacher: LayerPlan, other: LayerPlan) -> BlockMap:
    """The teacher's block for each of another network's; a refusal where the two do not fit."""
    if problems:
        raise ValueError(f"teacher {teacher.architecture.digest} does not fit: {'; '.join(problems)}")
    names = {block.name for block in teacher.blocks}
    sources = {block.name: _source(block.name, teacher.architecture, other.architecture) for block in other.blocks}
    return {name: source if source in names else None for name, source in sources.items()}


def _source(name: str, teacher: Architecture, larger: Architecture) -> str | None:
    """The teacher's block of a name, were it there."""
    stage, *numbers, kind = name.split(".")
    if not numbers or not stage.startswith("up"):
        return name
    level = int(stage.removeprefix("up"))
    more = larger.levels[level].down.num_blocks - teacher.levels[level].down.num_blocks
    position, *layer = map(int, numbers)
    if 0 < position <= more:
        return None
    return ".".join(map(str, (stage, position and position - more, *layer, kind)))


def _misfits(teacher: LayerPlan, larger: LayerPlan) -> list[str]:
    """What of the teacher the larger network cannot say."""
    one, other = teacher.scale, larger.scale
    problems = _fixed_misfits(teacher, larger)
    levels, larger_levels = teacher.architecture.levels, larger.architecture.levels
    if len(levels) != len(larger_levels):
        return [*problems, f"it has {len(levels)} levels, the largest network of the space {len(larger_levels)}"]
    for i, (level, wanted) in enumerate(zip(levels, larger_levels, strict=True)):
        has, there = level.width * one.base_width, wanted.width * other.base_width
        if has != there:
            problems.append(f"level {i} has {has} channels, {there} in the largest network of the space")
        for side in ("down", "up"):
            problems += _stage_misfits(f"{side}{i}", getattr(level, side), getattr(wanted, side))
        last = wanted.up.num_blocks - (wanted.down.num_blocks - level.down.num_blocks)
        if level.up.num_blocks > last:
            problems.append(f"up{i} has {level.up.num_blocks} blocks, {last} have the same skips in the largest network")
    problems += _stage_misfits("mid", teacher.architecture.mid or Stage(0), larger.architecture.mid or Stage(0))
    return problems + _projection_misfits(teacher, larger, deepest=_depth(teacher.architecture))


def _depth(architecture: Architecture) -> int:
    """Of the deepest transformer."""
    stages = [stage for level in architecture.levels for stage in (level.down, level.up)]
    return max(stage.transformer_depth for stage in (*stages, architecture.mid or Stage(0)))


def _projection_misfits(teacher: LayerPlan, other: LayerPlan, *, deepest: int) -> list[str]:
    """One name stands for all layers of a transformer where they share projections, and else for one of them."""
    if teacher.scale.shared_projections == other.scale.shared_projections or deepest < 2:
        return []
    return ["its transformer layers share projections otherwise (shared_projections)"]


def _fixed_misfits(teacher: LayerPlan, other: LayerPlan) -> list[str]:
    return [
        f"{name} is {getattr(teacher.scale, name)} in its scale, {getattr(other.scale, name)} in the space's"
        for name in _FIXED
        if getattr(teacher.scale, name) != getattr(other.scale, name)
    ]


def _stage_misfits(name: str, stage: Stage, larger: Stage) -> list[str]:
    fields = ["num_blocks"]
    fields += ["convolution"] if stage.num_blocks else []
    fields += [field.name for field in dataclasses.fields(Stage)[2:]] if stage.transformer_depth else []
    return [
        f"{name}.{field} is {getattr(stage, field)!r}, {getattr(larger, field)!r} in the largest network of the space"
        for field in fields
        if not _holds(field, getattr(stage, field), getattr(larger, field))
    ]


# What a block with this value computes as well as one with any other value.
_HOLDS_ALL = {"convolution": "full", "attention": "self_cross", "shared_kv": False}


def _holds(field: str, value: Any, larger: Any) -> bool:
    """Whether a block with the larger value can compute what one with the other computes."""
    if field in ("num_blocks", "transformer_depth", "expansion"):
        return value <= larger
    return value == larger or _HOLDS_ALL.get(field) == larger
