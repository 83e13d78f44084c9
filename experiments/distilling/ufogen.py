"""UFOGen: a diffusion network made a one-step generator, against a discriminator of noised images that starts as the denoiser.

From x_t the student says x^; that image and the real one are noised to the level before, each with noise of its own, and the
discriminator tells them apart there. A reconstruction term keeps x^ near the real image.

Source: Xu et al. 2023, "UFOGen: You forward once large scale text-to-image generation via diffusion GANs", section 3.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffusion import diffuse, uniform_times
from diffusion.guidance import TIMESTEPS_PER_UNIT_TIME
from experiments.bundle import Bundle
from experiments.distilling.noised import denoised, drawn_times, starts
from experiments.distilling.players import Game, two_players
from experiments.distilling.settings import UfogenSettings
from experiments.fitting import Fitting, Given, Parameters, Phase, training_apply
from objectives.adversarial import logistic_discriminator_loss, logistic_generator_loss, reconstruction_loss
from supernet.discriminators import with_silent_head

_DISCRIMINATOR_EVERY = 2


def ufogen(given: Given, settings: UfogenSettings) -> list[Phase]:
    """One phase, that trains the student to sample in so many steps, without guidance.

    Args:
        given: the student, and the teacher, which the discriminator starts as.
        settings: of the method.
    """
    num_steps = settings.updates or given.student.settings.num_steps
    return [
        Phase(
            f"UFOGen to {settings.steps} {'step' if settings.steps == 1 else 'steps'}",
            num_steps,
            lambda bundle: _fitting(bundle, given.teacher, settings, num_steps=num_steps),
            {"sample_steps": settings.steps, "sampler": "ddim", "guidance_scale": 1.0},
        )
    ]


def _fitting(bundle: Bundle, teacher: Bundle, settings: UfogenSettings, *, num_steps: int) -> Fitting:
    task, apply, judging = bundle.task, training_apply(bundle), training_apply(teacher)
    times = uniform_times(settings.times)
    discriminator = {**teacher.parameters, "network": with_silent_head(teacher.plan, teacher.parameters["network"])}

    def draw(seed: Array, number: Array, images: Array, prompts: Array) -> Any:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), number), 4)
        t = drawn_times(times, jax.random.uniform(keys[0], (len(images),)))
        eps, of_real, of_fake = (jax.random.normal(key, images.shape) for key in keys[1:])
        return {
            "x0": images, "prompts": prompts, "t": t, "x_t": starts(task, images, eps=eps, t=t),
            "of_real": of_real, "of_fake": of_fake,
        }  # fmt: skip

    def generated(parameters: Parameters, batch: Any) -> Float[Array, "batch height width channels"]:
        return denoised(task, apply, parameters, batch["x_t"], t=batch["t"], prompts=batch["prompts"])

    def logits(parameters: Parameters, images: Array, eps: Array, batch: Any) -> Float[Array, "batch height width channels"]:
        """Of images noised to the level before theirs, at each number of them."""
        before = jnp.maximum(batch["t"] - 1 / settings.times, 0.0)
        x_before = diffuse(task.schedule, images, eps=eps, t=before)
        return teacher.task.predict(judging, parameters, (x_before, TIMESTEPS_PER_UNIT_TIME * before, batch["prompts"]))

    def discriminator_loss(judge: Parameters, parameters: Parameters, batch: Any) -> Any:
        real = logits(judge, batch["x0"], batch["of_real"], batch)
        fake = logits(judge, generated(parameters, batch), batch["of_fake"], batch)
        return jnp.mean(logistic_discriminator_loss(real, fake)), {}

    def generator_loss(parameters: Parameters, judge: Parameters, batch: Any) -> Any:
        images = generated(parameters, batch)
        snr = jnp.exp(task.schedule.log_snr(batch["t"]))
        losses = {
            "adversarial": jnp.mean(logistic_generator_loss(logits(judge, images, batch["of_fake"], batch))),
            "reconstruction": jnp.mean(reconstruction_loss(images, batch["x0"], snr=snr)),
        }
        return losses["adversarial"] + settings.reconstruction_weight * losses["reconstruction"], losses

    game = Game(generator_loss, discriminator_loss, settings.discriminator_rate, _DISCRIMINATOR_EVERY)
    return two_players(bundle, discriminator, game, draw, num_steps=num_steps)
