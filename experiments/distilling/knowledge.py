"""Knowledge distillation: the data's own targets, the teacher's outputs, and its streams behind the blocks of the block map.

Source: Kim et al. 2023 (BK-SDM), equations 1 to 4; features normalised as in Zhang et al. 2024 (LAPTOP-Diff) and masked as in
Fang et al. 2024 (TinyFusion).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffusion.guidance import TIMESTEPS_PER_UNIT_TIME
from experiments.bundle import Bundle
from experiments.denoising_task import DenoisingTask
from experiments.distilling.settings import KnowledgeSettings
from experiments.distilling.teachers import compared_blocks
from experiments.fitting import BatchLoss, Fitting, Given, Parameters, Phase, single_loss, training_streams
from objectives.denoising import min_snr_weight
from objectives.distillation import feature_distillation_loss, output_distillation_loss
from search_space import LayerPlan
from supernet.initializer import random_initializer

# Times in [0, 1] to weights.
TimeWeighting = Callable[[Float[Array, " batch"]], Float[Array, " batch"]]
PROJECTIONS = "projections"  # their key among the parameters


def knowledge(given: Given, settings: KnowledgeSettings) -> list[Phase]:
    """Trains the student on its data and beside its teacher, in one phase."""
    num_steps = settings.updates or given.student.settings.num_steps

    def fitting(bundle: Bundle) -> Fitting:
        pairs = compared_blocks(bundle.plan, given.teacher.plan, given.block_map)
        return single_loss(
            bundle, knowledge_loss(bundle, given.teacher, pairs, settings), bundle.task.noisy_batch, num_steps=num_steps,
            beside={PROJECTIONS: projections(bundle.plan, given.teacher.plan, pairs, seed=given.seed)},
        )  # fmt: skip

    return [Phase("Distilling", num_steps, fitting)]


def knowledge_loss(student: Bundle, teacher: Bundle, pairs: Mapping[str, str], settings: KnowledgeSettings) -> BatchLoss:
    """Denoising loss + output distillation + feature distillation.

    Args:
        student: whose parameters are trained, and the projections beside them.
        teacher: as it is.
        pairs: the student's blocks whose streams are compared, each with the teacher's block.
        settings: the weights; those that are None are the student's.

    Returns:
        A loss of a batch ((noisy images, time steps, prompts), targets), with the terms before they are weighted. Where a batch
        is computed in parts, the teacher's norms are the part's.
    """
    task, apply, teach = student.task, training_streams(student), training_streams(teacher)
    weigh = time_weighting(settings.weighting, task)
    weight_of = {
        "denoising": 1.0,
        "output": first_given(settings.output_weight, student.settings.output_weight),
        "features": first_given(settings.feature_weight, student.settings.feature_weight),
    }

    def loss(parameters: Parameters, batch: Any) -> tuple[Array, dict[str, Array]]:
        inputs, target = batch
        prediction, streams = task.predict(apply, parameters, inputs)
        taught, teacher_streams = teacher.task.predict(teach, teacher.parameters, inputs)
        losses = {
            "denoising": jnp.mean((prediction - target) ** 2, axis=(1, 2, 3)),
            "output": output_distillation_loss(prediction, taught),
        }
        if pairs:
            losses["features"] = feature_distillation_loss(
                [projected(streams[name], parameters[PROJECTIONS].get(name)) for name in pairs],
                teacher_features=[teacher_streams[name] for name in pairs.values()],
                mask_beyond=settings.mask_beyond,
            )
        at_times = weigh(inputs[1] / TIMESTEPS_PER_UNIT_TIME)
        parts = {name: jnp.mean(at_times * x) for name, x in losses.items()}
        return sum((weight_of[name] * part for name, part in parts.items()), jnp.zeros(())), parts

    return loss


def first_given(value: float | None, otherwise: float) -> float:
    """The value, or the other one where there is none; a weight of 0 is one."""
    return otherwise if value is None else value


def time_weighting(name: str, task: DenoisingTask) -> TimeWeighting:
    """The weighting of squared errors of what a task's networks predict, by its name in the settings."""
    if name == "constant":
        return jnp.ones_like
    return lambda t: min_snr_weight(t, schedule=task.schedule, parameterisation=task.parameterisation)


def projections(student: LayerPlan, teacher: LayerPlan, pairs: Mapping[str, str], *, seed: int) -> dict[str, Array]:
    """Fresh 1x1 convolutions [student channels, teacher channels] by the student's block, where the two widths differ."""
    draw = random_initializer(seed)
    ours, theirs = ({block.name: block.out_shape[-1] for block in plan.blocks} for plan in (student, teacher))
    widths = {name: (ours[name], theirs[source]) for name, source in pairs.items()}
    return {name: draw(shape, std=shape[0] ** -0.5) for name, shape in widths.items() if shape[0] != shape[1]}


def projected(
    stream: Float[Array, "batch height width channels"], kernel: Array | None
) -> Float[Array, "batch height width _"]:
    """A stream behind its 1x1 convolution, where it has one."""
    return stream if kernel is None else stream @ kernel
