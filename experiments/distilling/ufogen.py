"""UFOGen: a diffusion network made a one-step generator, against a discriminator of noised images that starts as the denoiser.

From x_t the student says x^; that image and the real one are noised to the level before, each with noise of its own, and the
discriminator tells them apart there. A reconstruction term keeps x^ near the real image.

Source: Xu et al. 2023, "UFOGen: You forward once large scale text-to-image generation via diffusion GANs", section 3.
"""

import dataclasses
from collections.abc import Callable
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
from experiments.fitting import Fitting, Given, Parameters, Phase, Trainable, training_apply
from objectives.adversarial import logistic_discriminator_loss, logistic_generator_loss, reconstruction_loss
from supernet.discriminators import with_silent_head

Images = Float[Array, "batch height width channels"]
_DISCRIMINATOR_EVERY = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Generator:
    """What plays against the discriminator.

    Attributes:
        images: (parameters, batch) to the images that are made of a batch, with `x0`, `x_t`, `t` and `prompts` in it.
        reconstruction: (images, batch) to how far they are from what they should be, per sample.
        reconstruction_weight: of that distance.
    """

    images: Callable[[Parameters, Any], Images]
    reconstruction: Callable[[Images, Any], Float[Array, " batch"]]
    reconstruction_weight: float


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
    task, apply = bundle.task, training_apply(bundle)

    def generated(parameters: Parameters, batch: Any) -> Images:
        return denoised(task, apply, parameters, batch["x_t"], t=batch["t"], prompts=batch["prompts"])

    def reconstruction(images: Images, batch: Any) -> Float[Array, " batch"]:
        return reconstruction_loss(images, batch["x0"], snr=jnp.exp(task.schedule.log_snr(batch["t"])))

    generator = Generator(generated, reconstruction, settings.reconstruction_weight)
    rate, num_times = settings.discriminator_rate, settings.times
    return against_denoiser(bundle, teacher, generator, num_times=num_times, discriminator_rate=rate, num_steps=num_steps)


def against_denoiser(
    bundle: Bundle,
    teacher: Bundle,
    generator: Generator,
    *,
    num_times: int,
    discriminator_rate: float,
    num_steps: int,
    weights: Trainable | None = None,
    drops_prompts: bool = False,
) -> Fitting:
    """A generator against a discriminator that starts as the denoiser of a teacher.

    Args:
        bundle: the student.
        teacher: what the discriminator starts as.
        generator: from the student's parameters to images.
        num_times: noise levels that images are made from; the discriminator sees them one such level earlier.
        discriminator_rate: learning rate of the discriminator, as a multiple of the student's.
        num_steps: of the training.
        weights: what is trained of the student; by default what its settings say.
        drops_prompts: whether images are made without their prompts sometimes, as the student's settings say.
    """
    task, judging, times = bundle.task, training_apply(teacher), uniform_times(num_times)
    discriminator = {**teacher.parameters, "network": with_silent_head(teacher.plan, teacher.parameters["network"])}

    def draw(seed: Array, number: Array, images: Array, prompts: Array) -> Any:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), number), 4)
        t = drawn_times(times, jax.random.uniform(keys[0], (len(images),)))
        eps, of_real, of_fake = (jax.random.normal(key, images.shape) for key in keys[1:])
        if drops_prompts:
            prompts = task.with_dropped(prompts, jax.random.fold_in(keys[0], 1))
        return {
            "x0": images, "prompts": prompts, "t": t, "x_t": starts(task, images, eps=eps, t=t),
            "of_real": of_real, "of_fake": of_fake,
        }  # fmt: skip

    def logits(parameters: Parameters, images: Array, eps: Array, batch: Any) -> Images:
        """Of images noised to the level before theirs, at each number of them."""
        before = jnp.maximum(batch["t"] - 1 / num_times, 0.0)
        x_before = diffuse(task.schedule, images, eps=eps, t=before)
        return teacher.task.predict(judging, parameters, (x_before, TIMESTEPS_PER_UNIT_TIME * before, batch["prompts"]))

    def discriminator_loss(judge: Parameters, parameters: Parameters, batch: Any) -> Any:
        real = logits(judge, batch["x0"], batch["of_real"], batch)
        fake = logits(judge, generator.images(parameters, batch), batch["of_fake"], batch)
        return jnp.mean(logistic_discriminator_loss(real, fake)), {}

    def generator_loss(parameters: Parameters, judge: Parameters, batch: Any) -> Any:
        images = generator.images(parameters, batch)
        losses = {
            "adversarial": jnp.mean(logistic_generator_loss(logits(judge, images, batch["of_fake"], batch))),
            "reconstruction": jnp.mean(generator.reconstruction(images, batch)),
        }
        return losses["adversarial"] + generator.reconstruction_weight * losses["reconstruction"], losses

    game = Game(generator_loss, discriminator_loss, discriminator_rate, _DISCRIMINATOR_EVERY)
    return two_players(bundle, discriminator, game, draw, num_steps=num_steps, weights=weights)
