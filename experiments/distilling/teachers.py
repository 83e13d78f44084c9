"""Teachers: reading one, holding it to its student, and which of its blocks the student's blocks are compared to."""

import difflib
from pathlib import Path
from typing import Any

from experiments.bundle import BLOCK_MAP, Bundle, read_bundle
from experiments.errors import InputError
from experiments.json_files import read_json
from search_space import LayerPlan
from search_space.block_map import BlockMap, stage_end_map, student_block_map
from search_space.plan import BlockPlan, OutputSpec, ResidualSpec, TimeSpec, TransformerSpec

_NO_STREAM = "none"


def read_teacher(path: Path, student: Bundle) -> Bundle:
    """Reads the bundle of a teacher, and holds it to its student.

    Raises:
        NotADirectoryError: there is no such folder.
        FileNotFoundError: a file of it is missing.
        InputError: a file is damaged, or the teacher sees other inputs or predicts another quantity.
    """
    teacher = read_bundle(path)
    check_teacher(student, teacher, path)
    return teacher


def check_teacher(student: Bundle, teacher: Bundle, where: Path) -> None:
    """Raises InputError where student and teacher do not see the same inputs or predict the same quantity."""
    for key in ("schedule", "parameterisation"):
        mine, theirs = getattr(student.settings, key), getattr(teacher.settings, key)
        if mine != theirs:
            raise InputError(f"{where}: the teacher has {key} {theirs!r}, the student {mine!r}; they must be the same")
    mine, theirs = student.task.scale, teacher.task.scale
    for key in ("resolution", "in_channels", "out_channels", "context_length", "context_width", "vocabulary"):
        if getattr(mine, key) != getattr(theirs, key):
            raise InputError(
                f"{where}: the teacher's scale has {key}={getattr(theirs, key)}, the student's {getattr(mine, key)}; "
                "they must be the same"
            )


def read_block_map(path: Path, student: Bundle, teacher: Bundle) -> BlockMap | None:
    """The block map in a bundle's folder, from the student's blocks to its own teacher's; None where there is none.

    Raises:
        InputError: it is damaged, it names a block that student or teacher does not have, or blocks that both have the same
            levels end at different resolutions.
    """
    file = path / BLOCK_MAP
    found = read_json(file)
    if found is not None:
        _check_block_map(found, student.plan, teacher.plan, file)
    return found


def _check_block_map(found: Any, student: LayerPlan, teacher: LayerPlan, file: Path) -> None:
    if not isinstance(found, dict):
        raise InputError(f"{file}: it must be an object, by block of this network the teacher's block or null, got {found!r}")
    ours, theirs = ({block.name: block for block in plan.blocks} for plan in (student, teacher))
    has_same_levels = len(student.architecture.levels) == len(teacher.architecture.levels)
    for key, value in found.items():
        if key not in ours:
            raise InputError(f"{file}: key {key!r}: the network has no such block; did you mean {_nearest(key, ours)!r}?")
        if value is None:
            continue
        if not isinstance(value, str) or value not in theirs:
            near = _nearest(str(value), theirs)
            raise InputError(f"{file}: key {key!r}: the teacher has no block {value!r}; did you mean {near!r}?")
        here, there = _resolution(ours[key]), _resolution(theirs[value])
        if has_same_levels and here != there:
            raise InputError(
                f"{file}: key {key!r}: behind this block the stream is {here}, behind the teacher's {value!r} it is {there}; "
                "map it to a block of the same resolution, or to null"
            )


def compared_blocks(student: LayerPlan, teacher: LayerPlan, feeding: BlockMap | None = None) -> dict[str, str]:
    """The student's blocks whose streams are compared, each with the teacher's block that it is compared to.

    Residual and transformer blocks of a block map, where the two streams have one resolution.

    Args:
        student: its layer plan.
        teacher: its layer plan.
        feeding: the block map that is followed; by default that of the two plans. Where there is none, as between networks with
            different numbers of levels, streams are compared where stages end.
    """
    if feeding is None:
        try:
            feeding = student_block_map(teacher, student)
        except ValueError:
            return {name: source for name, source in stage_end_map(teacher, student).items() if source is not None}
    ours, theirs = ({block.name: block for block in plan.blocks} for plan in (student, teacher))
    return {
        name: source
        for name, source in feeding.items()
        if source is not None
        and isinstance(ours[name].spec, ResidualSpec | TransformerSpec)
        and _resolution(ours[name]) == _resolution(theirs[source])
    }


def _resolution(block: BlockPlan) -> str:
    """Of the stream behind a block, for people too."""
    return _NO_STREAM if isinstance(block.spec, TimeSpec | OutputSpec) else "x".join(map(str, block.out_shape[:-1]))


def _nearest(name: str, names: dict[str, Any]) -> str:
    return difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
