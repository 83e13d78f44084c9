"""Distils a teacher into the network of a bundle: its outputs and its stages, beside the data's own targets."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from experiments.bundle import TEACHER, Bundle, read_bundle, read_bundle_with, refuse_existing
from experiments.errors import InputError
from experiments.progress import Progress, silent_progress
from experiments.trackers.tracker import Tracking, untracked
from experiments.training import BundleLoss, fit_into
from objectives.distillation import feature_distillation_loss, output_distillation_loss
from search_space import LayerPlan
from search_space.plan import ResidualSpec
from supernet import load_unet
from supernet.initializer import random_initializer


def distillation_loss(student: Bundle, teacher: Bundle) -> BundleLoss:
    """Denoising loss + output distillation + feature distillation over the stages that both have.

    A stage of another width passes through a 1x1 convolution, trained along and dropped afterwards.

    Source: Kim et al. 2023 (BK-SDM), with the normalised features of Zhang et al. 2024 (LAPTOP-Diff).
    """
    task, settings = student.task, student.settings
    student_network, teacher_network = student.network(), teacher.network()
    stages = shared_stages(student.plan, teacher.plan)

    def loss(parameters: Any, inputs: Any, target: Any) -> Any:
        x_t, timestep, prompts = inputs
        net = load_unet(student_network, parameters["network"])
        prediction, features = net.features(x_t, timestep, task.encode(parameters["prompt"], prompts))
        guide = load_unet(teacher_network, teacher.parameters["network"])
        context = teacher.task.encode(teacher.parameters["prompt"], prompts)
        taught, teacher_features = guide.features(x_t, timestep, context)
        mapped = [features[name] @ parameters["adapters"][name] for name in stages]
        return (
            jnp.mean((prediction - target) ** 2)
            + settings.output_weight * jnp.mean(output_distillation_loss(prediction, taught))
            + settings.feature_weight
            * jnp.mean(feature_distillation_loss(mapped, teacher_features=[teacher_features[name] for name in stages]))
        )

    return loss


def shared_stages(student: LayerPlan, teacher: LayerPlan) -> list[str]:
    """Stages with residual blocks that both networks have, and end at one resolution, in the student's order.

    In a network with fewer levels the mid stage, and the way down to it, end elsewhere.
    """
    ours, theirs = stage_ends(student), stage_ends(teacher)
    return [name for name, (resolution, _) in ours.items() if name in theirs and theirs[name][0] == resolution]


def stage_ends(plan: LayerPlan) -> Mapping[str, tuple[int, int]]:
    """Resolution and channels at the end of each stage that has residual blocks, input and output apart."""
    channels = {block.stage: block.spec.out_channels for block in plan.blocks if isinstance(block.spec, ResidualSpec)}
    resolutions = {block.stage: following.resolution for block, following in itertools.pairwise(plan.blocks)}
    return {name: (resolutions[name], channels[name]) for name in channels}


def adapters(student: LayerPlan, teacher: LayerPlan, *, seed: int) -> dict[str, Array]:
    """Fresh 1x1 convolutions [student channels, teacher channels] from the student's stages to the teacher's."""
    draw = random_initializer(seed)
    ours, theirs = stage_ends(student), stage_ends(teacher)
    widths = {name: (ours[name][1], theirs[name][1]) for name in shared_stages(student, teacher)}
    return {name: draw(shape, std=shape[0] ** -0.5) for name, shape in widths.items()}


def distill_bundle(
    path: Path,
    *,
    data: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    out: Path | None = None,
    tracking: Tracking = untracked,
) -> Path:
    """Distils the teacher of a bundle into its network; writes a bundle and returns its folder.

    Args:
        path: the bundle; `teacher/` in it is a bundle at the same resolution.
        data: name of a data set, or a folder; by default as `training.yaml` says.
        steps: number of updates; by default as `training.yaml` says.
        seed: of batches, noise, times and adapters.
        progress: is told of every step.
        out: folder of the new bundle; by default `distilled` in the bundle's.
        tracking: opens the log of losses and promises.

    Raises:
        InputError: the bundle has no teacher, or one for other images or another parameterisation.
    """
    out = out or path / "distilled"
    refuse_existing(out)
    student = read_bundle_with(path, data)
    if not (path / TEACHER).is_dir():
        raise InputError(f"{path / TEACHER}: the bundle has no teacher to distil from; train it with `pocketunet train {path}`")
    teacher = read_bundle(path / TEACHER)
    check_teacher(student, teacher, path / TEACHER)
    steps = steps or student.settings.num_steps
    then = f"distilled from {teacher.architecture.digest} for {steps} steps"
    return fit_into(
        out, student, distillation_loss(student, teacher), then=then, steps=steps, seed=seed, title="Distilling",
        progress=progress or silent_progress(), tracking=tracking,
        extra_parameters={"adapters": adapters(student.plan, teacher.plan, seed=seed)},
    )  # fmt: skip


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
