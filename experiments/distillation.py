"""Distils a teacher into the network of a bundle: its outputs and its streams, beside the data's own targets."""

from pathlib import Path

from experiments.bundle import TEACHER, read_bundle_with, refuse_existing
from experiments.distilling.knowledge import PROJECTIONS, knowledge_loss, projections
from experiments.distilling.settings import KnowledgeSettings
from experiments.distilling.teachers import compared_blocks, read_block_map, read_teacher
from experiments.errors import InputError
from experiments.progress import Progress, silent_progress
from experiments.training import fit_into


def distill_bundle(
    path: Path,
    *,
    data: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    out: Path | None = None,
) -> Path:
    """Distils the teacher of a bundle into its network; writes a bundle and returns its folder.

    Args:
        path: the bundle; `teacher/` in it is a bundle at the same resolution.
        data: name of a data set, or a folder; by default as `training.yaml` says.
        steps: number of updates; by default as `training.yaml` says.
        seed: of batches, noise, times and projections.
        progress: is told of every step.
        out: folder of the new bundle; by default `distilled` in the bundle's.

    Raises:
        InputError: the bundle has no teacher, or one for other images or another parameterisation, or a damaged block map.
    """
    out = out or path / "distilled"
    refuse_existing(out)
    student = read_bundle_with(path, data)
    if not (path / TEACHER).is_dir():
        raise InputError(f"{path / TEACHER}: the bundle has no teacher to distil from; train it with `pocketunet train {path}`")
    teacher = read_teacher(path / TEACHER, student)
    pairs = compared_blocks(student.plan, teacher.plan, read_block_map(path, student, teacher))
    loss = knowledge_loss(student, teacher, pairs, KnowledgeSettings(method="knowledge"))
    steps = steps or student.settings.num_steps
    then = f"distilled from {teacher.architecture.digest} for {steps} steps"
    return fit_into(
        out, student, lambda parameters, inputs, target: loss(parameters, (inputs, target))[0], then=then, steps=steps,
        seed=seed, title="Distilling", progress=progress or silent_progress(),
        extra_parameters={PROJECTIONS: projections(student.plan, teacher.plan, pairs, seed=seed)},
    )  # fmt: skip
