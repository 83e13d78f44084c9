"""Progressive distillation: phase by phase, the student learns to sample in half as many steps.

Guidance of the first teacher goes into the student's weights, so that one step of the result is one call of the network.

Source: Salimans and Ho 2022; Meng et al. 2023 for guidance, of which we take one scale. A round is trained as everything here
is, with a warm-up, a rate that falls by a cosine, and averaged weights, which are the next teacher; there the rate falls
linearly to nothing, and weights are not averaged.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffusion import guided_denoiser
from diffusion.guidance import TIMESTEPS_PER_UNIT_TIME
from diffusion.samplers import Denoiser
from experiments.bundle import Bundle
from experiments.distilling.settings import CfgAwareSettings, ProgressiveSettings
from experiments.fitting import BatchLoss, Draw, Fitting, Given, Parameters, Phase, single_loss, training_apply
from experiments.sampling import check_can_be_guided
from objectives.step_distillation import WEIGHTINGS, Halving, Weighting, progressive_loss

# (student, teacher, steps of the student) to the loss of a batch, and what draws the batch.
LossOfRound = Callable[[Bundle, Bundle, int], tuple[BatchLoss, Draw]]


def progressive(given: Given, settings: ProgressiveSettings) -> list[Phase]:
    """One phase for each halving.

    Raises:
        InputError: as `check_progressive`.
    """
    check_progressive(given.student, given.teacher, settings)
    scale = _first_guidance(given.student, settings)
    of_round = functools.partial(progressive_round, weighting=WEIGHTINGS[settings.weighting])
    return halvings(
        given, settings,
        first=functools.partial(of_round, guidance_scale=scale), later=functools.partial(of_round, guidance_scale=1.0),
        changes={} if scale == 1.0 else {"guidance_scale": 1.0},
    )  # fmt: skip


def check_progressive(student: Bundle, teacher: Bundle, settings: ProgressiveSettings) -> None:
    """Raises InputError where the first teacher is to be guided, and has not learned to predict without a prompt."""
    if _first_guidance(student, settings) != 1.0:
        check_can_be_guided(teacher, otherwise="guidance_scale=1")


def _first_guidance(student: Bundle, settings: ProgressiveSettings) -> float:
    """Of the first teacher."""
    return student.settings.guidance_scale if settings.guidance_scale is None else settings.guidance_scale


def halvings(
    given: Given,
    settings: ProgressiveSettings | CfgAwareSettings,
    *,
    first: LossOfRound,
    later: LossOfRound,
    changes: dict[str, Any] | None = None,
) -> list[Phase]:
    """One phase for each halving of the number of steps.

    The first round's teacher is the given one; after that, what a round leaves teaches the next, and is where it starts.

    Args:
        given: student, teacher and how to train.
        settings: how many steps to begin and to end with.
        first: of the first round.
        later: of every other round.
        changes: keys of `training.yaml` that hold after any round, beside sampler and steps.
    """
    num_updates = settings.updates or given.student.settings.num_steps
    if settings.start > (known := given.teacher.settings.sample_steps):
        given.progress.say(
            f"halving begins with {settings.start} steps; a teacher that was itself distilled to {known} knows no others: then "
            f"give from_steps={known}"
        )

    def phase(num_steps: int) -> Phase:
        def fitting(student: Bundle) -> Fitting:
            is_first = 2 * num_steps == settings.start
            loss, draw = first(student, given.teacher, num_steps) if is_first else later(student, student, num_steps)
            return single_loss(student, loss, draw, num_steps=num_updates)

        after = {"sampler": "ddim", "sample_steps": num_steps, **(changes or {})}
        return Phase(f"Halving {2 * num_steps} to {num_steps} steps", num_updates, fitting, after)

    num_halvings = (settings.start // settings.steps).bit_length() - 1
    return [phase(settings.start >> done) for done in range(1, num_halvings + 1)]


def progressive_round(
    student: Bundle, teacher: Bundle, num_steps: int, *, guidance_scale: float, weighting: Weighting
) -> tuple[BatchLoss, Draw]:
    """The loss of one round: the student's step is two of a teacher guided so."""
    task, apply = student.task, training_apply(student)
    halving = Halving(num_steps, task.schedule, task.parameterisation, weighting)

    def loss(parameters: Parameters, batch: Any) -> tuple[Array, dict[str, Array]]:
        inputs, _ = batch
        x_t, timestep, prompts = inputs
        losses = progressive_loss(
            task.predict(apply, parameters, inputs), x_t, t=timestep / TIMESTEPS_PER_UNIT_TIME,
            teacher=teacher_denoiser(teacher, prompts, guidance_scale=guidance_scale), halving=halving,
        )  # fmt: skip
        return jnp.mean(losses), {}

    return loss, functools.partial(task.noisy_batch, num_steps=num_steps)


def teacher_denoiser(teacher: Bundle, prompts: Array, *, guidance_scale: float | Float[Array, " batch"]) -> Denoiser:
    """The network of a bundle over prompts, guided as `guided_denoiser` says."""
    encode = functools.partial(teacher.task.encode, teacher.parameters["prompt"])
    return guided_denoiser(
        functools.partial(training_apply(teacher), teacher.parameters["network"]),
        encode(prompts),
        null_context=encode(jnp.zeros_like(prompts)),
        guidance_scale=guidance_scale,
    )
