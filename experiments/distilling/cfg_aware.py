"""Step distillation that is aware of guidance: some steps compare what student and teacher predict with guidance.

The result is sampled with guidance, in a wide range of scales; `progressive` puts one scale into the weights.

Source: Li et al. 2023 (SnapFusion), section 4.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from diffusion.guidance import TIMESTEPS_PER_UNIT_TIME
from experiments.bundle import Bundle
from experiments.distilling.progressive import halvings, teacher_denoiser
from experiments.distilling.settings import CfgAwareSettings
from experiments.fitting import BatchLoss, Draw, Given, Parameters, Phase, training_apply
from experiments.sampling import check_can_be_guided
from objectives.step_distillation import Halving, cfg_aware_loss, with_rescaled

# Folded into a step's key, which `DenoisingTask.noisy_batch` splits in three.
_GUIDANCE_KEY = 3


def cfg_aware(given: Given, settings: CfgAwareSettings) -> list[Phase]:
    """One phase for each halving.

    Raises:
        InputError: as `check_cfg_aware`.
    """
    check_cfg_aware(given.student, given.teacher, settings)
    of_round = functools.partial(cfg_aware_round, settings=settings)
    return halvings(given, settings, first=of_round, later=of_round)


def check_cfg_aware(student: Bundle, teacher: Bundle, settings: CfgAwareSettings) -> None:
    """Raises InputError where the teacher has not learned to predict without a prompt."""
    check_can_be_guided(teacher, otherwise="the method progressive with guidance_scale=1")


def cfg_aware_round(student: Bundle, teacher: Bundle, num_steps: int, *, settings: CfgAwareSettings) -> tuple[BatchLoss, Draw]:
    """The loss of one round: `cfg_aware_loss`, and the denoising loss brought to its size.

    Where a batch is computed in parts, that size is the part's.
    """
    task, apply = student.task, training_apply(student)
    halving = Halving(num_steps, task.schedule, task.parameterisation)

    def loss(parameters: Parameters, batch: Any) -> tuple[Array, dict[str, Array]]:
        (inputs, target), guidance_scale, is_guided = batch
        x_t, timestep, prompts = inputs
        conditioned = task.predict(apply, parameters, inputs)
        distillation = jnp.mean(
            cfg_aware_loss(
                conditioned, x_t, t=timestep / TIMESTEPS_PER_UNIT_TIME,
                null=lambda: task.predict(apply, parameters, (x_t, timestep, jnp.zeros_like(prompts))),
                teacher=teacher_denoiser(teacher, prompts, guidance_scale=1.0),
                guided_teacher=teacher_denoiser(teacher, prompts, guidance_scale=guidance_scale),
                guidance_scale=guidance_scale, is_guided=is_guided[0], halving=halving,
            )
        )  # fmt: skip
        original = jnp.mean((conditioned - target) ** 2)
        total = with_rescaled(distillation, original, weight=settings.original_weight)
        return total, {"distillation": distillation, "original": original}

    def draw(seed: Array, number: Array, images: Array, prompts: Array) -> Any:
        noisy = task.noisy_batch(seed, number, images, prompts, num_steps=num_steps)
        return noisy, *draw_guidance(seed, number, len(images), settings)

    return loss, draw


def draw_guidance(
    seed: Array, number: Array, n: int, settings: CfgAwareSettings
) -> tuple[Float[Array, " batch"], Bool[Array, " batch"]]:
    """A guidance scale for each example of a step, and whether the step is guided, which is the same for all of them."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), number), _GUIDANCE_KEY)
    of_scale, of_step = jax.random.split(key)
    scale = jax.random.uniform(of_scale, (n,), minval=settings.least_guidance, maxval=settings.largest_guidance)
    return scale, jnp.full(n, jax.random.uniform(of_step) < settings.guided_share)
