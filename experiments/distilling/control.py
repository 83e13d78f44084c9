"""Control: the network stays as it is, and a plug-in learns to make it follow a condition image, in the steps that it takes.

The condition is computed from the training image, whose class or caption is the prompt. UFOGen's discriminator keeps what the
controlled network draws like real images; by distances alone it would draw the mean of all that have the condition.

Source: Zhang et al. 2023 ("ControlNet") for the plug-in; Zhao et al. 2023 (MobileDiffusion), who give one to one-step networks.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from experiments.bundle import Bundle
from experiments.control_file import CONTROL_PART, condition_channels, controlled_apply, following
from experiments.data.splits import ALL
from experiments.denoising_task import open_examples, training_examples
from experiments.distilling.noised import denoised
from experiments.distilling.settings import ControlSettings
from experiments.distilling.ufogen import Generator, Images, against_denoiser
from experiments.fitting import Fitting, Given, Parameters, Phase, Trainable
from experiments.sampling import sampler_of, save_grid, shown_split
from objectives.conditions import CONDITIONS
from supernet.control import control_parameters

_NUM_DRAWN = 40


def control(given: Given, settings: ControlSettings) -> list[Phase]:
    """One phase, that trains the plug-in for as many sampling steps as the student takes.

    Args:
        given: the student, and the teacher, which the discriminator starts as.
        settings: of the method.
    """
    num_steps = settings.updates or given.student.settings.num_steps
    fitting = lambda bundle: _fitting(bundle, given.teacher, settings, num_steps=num_steps)  # noqa: E731
    drawer = functools.partial(_drawer, condition=settings.condition)
    return [Phase(f"Control by {settings.condition}", num_steps, fitting, drawer=drawer)]


def _drawer(bundle: Bundle, seed: int, *, condition: str) -> Callable[[Parameters, Path], Path]:
    """Draws what follows one of the images that are shown, with its prompt, as one grid."""
    scale = bundle.task.scale
    split = shown_split(open_examples(bundle.data, scale, split=ALL).info)
    shown = open_examples(bundle.data, scale, split=split)
    image, prompt = next(training_examples(shown, scale, batch_size=1, seed=seed))
    follow = following(bundle, CONDITIONS[condition](jnp.asarray(image)))
    draw = sampler_of(bundle, prompt, num=_NUM_DRAWN, seed=seed, apply=follow)
    return lambda parameters, file: save_grid(draw(parameters, parameters[CONTROL_PART]), file)


def _fitting(bundle: Bundle, teacher: Bundle, settings: ControlSettings, *, num_steps: int) -> Fitting:
    task, condition = bundle.task, CONDITIONS[settings.condition]
    channels = condition_channels(bundle, settings.condition)
    plug_in = control_parameters(bundle.plan, bundle.parameters["network"], channels)
    weights = Trainable(
        {CONTROL_PART: plug_in}, lambda trained: {**bundle.parameters, **trained}, (*bundle.parameters, CONTROL_PART)
    )
    run = controlled_apply(bundle, channels, precision=bundle.settings.precision, remat=bundle.settings.remat)

    def images(parameters: Parameters, batch: Any) -> Images:
        def apply(network: Any, x: Array, timestep: Array, context: Array) -> Array:
            return run(network, parameters[CONTROL_PART], x, timestep, context, condition(batch["x0"]))

        return denoised(task, apply, parameters, batch["x_t"], t=batch["t"], prompts=batch["prompts"])

    def reconstruction(images: Images, batch: Any) -> Float[Array, " batch"]:
        pairs = ((images, batch["x0"]), (condition(images), condition(batch["x0"])))
        image, map_ = (jnp.mean((found - wanted) ** 2, axis=(1, 2, 3)) for found, wanted in pairs)
        return image + map_

    generator = Generator(images, reconstruction, settings.reconstruction_weight)
    return against_denoiser(
        bundle, teacher, generator, num_times=bundle.settings.sample_steps, discriminator_rate=settings.discriminator_rate,
        num_steps=num_steps, weights=weights, drops_prompts=bundle.settings.guidance_scale != 1.0,
    )  # fmt: skip
