"""Adversarial diffusion distillation (ADD): a student of one to four steps, against heads on the features of a frozen network.

The student x^(x_s, s) learns from two: heads that tell its images from real ones, and the teacher, to whom its noised images
should look like what the teacher would make of them.

Source: Sauer et al. 2023, "Adversarial diffusion distillation", section 3. The features are those of a small classifier of the
data set, or of any function of JAX; there they are DINOv2's.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffusion import diffuse, per_sample, uniform_times
from experiments.bundle import Bundle
from experiments.denoising_task import open_examples
from experiments.distilling.noised import denoised, drawn_times, starts
from experiments.distilling.players import Game, two_players
from experiments.distilling.progressive import teacher_denoiser
from experiments.distilling.settings import AdversarialSettings
from experiments.errors import InputError
from experiments.fitting import Fitting, Given, Parameters, Phase, training_apply
from experiments.progress import Progress
from experiments.sample_features import data_classifier
from experiments.sampling import check_can_be_guided
from objectives.adversarial import (
    gradient_penalty,
    hinge_discriminator_loss,
    hinge_generator_loss,
    score_distillation_loss,
)
from objectives.extractor import FeatureMaps
from objectives.features import classifier_maps
from supernet.discriminators import FeatureDiscriminator
from supernet.initializer import abstract_initializer, random_initializer
from supernet.parameters import parameters_of, with_parameters

FEATURES = "features"
_CLASSIFIER_STEPS = 500


def adversarial(given: Given, settings: AdversarialSettings, *, feature_maps: FeatureMaps | None = None) -> list[Phase]:
    """One phase, that trains the student to sample in so many steps, without guidance.

    Args:
        given: the student, and the teacher whose scores it is distilled from.
        settings: of the method.
        feature_maps: what the discriminator sees images by; by default a classifier of the student's data set, which is
            trained first and kept in `features/` of the folder given. Weights of DINOv2, for instance, are read from a file of
            yours, and its forward pass is written with or without Flax: `FeatureMaps(apply, parameters)`.

    Raises:
        InputError: no maps are given, and the data set has no labels to train a classifier of; or the teacher is to be guided,
            and has not learned to predict without a prompt.
    """
    student = given.student
    _check_guidance(given.teacher, settings)
    maps = feature_maps or _classifier_maps(student, given.folder / FEATURES, seed=given.seed, progress=given.progress)
    num_steps = settings.updates or student.settings.num_steps
    return [
        Phase(
            f"Adversarial distillation to {settings.steps} {'step' if settings.steps == 1 else 'steps'}",
            num_steps,
            lambda bundle: _fitting(bundle, given, settings, maps, num_steps=num_steps),
            {"sample_steps": settings.steps, "sampler": "ddim", "guidance_scale": 1.0},
        )
    ]


def check_adversarial(student: Bundle, teacher: Bundle, settings: AdversarialSettings) -> None:
    """Raises InputError where `adversarial` does without feature maps."""
    _check_guidance(teacher, settings)
    _check_has_labels(student)


def _check_guidance(teacher: Bundle, settings: AdversarialSettings) -> None:
    if settings.distillation_weight and teacher.settings.guidance_scale != 1.0:
        check_can_be_guided(teacher, otherwise="guidance_scale: 1 in its training.yaml")


def _check_has_labels(bundle: Bundle) -> None:
    if open_examples(bundle.data, bundle.task.scale, split="train").info.num_classes is None:
        raise InputError(
            f"data set {bundle.data!r} has no labels, and the discriminator sees images by a classifier of them; give data "
            "that has, use the method ufogen, or call `experiments.distilling.adversarial.adversarial` from Python with "
            "`feature_maps` of a network of yours"
        )


def _classifier_maps(bundle: Bundle, folder: Path, *, seed: int, progress: Progress) -> FeatureMaps:
    _check_has_labels(bundle)
    scale = bundle.task.scale
    classifier = data_classifier(folder, bundle.data, scale, seed=seed, num_steps=_CLASSIFIER_STEPS, progress=progress)
    return classifier_maps(classifier)


def _fitting(bundle: Bundle, given: Given, settings: AdversarialSettings, maps: FeatureMaps, *, num_steps: int) -> Fitting:
    task, teacher, apply = bundle.task, given.teacher, training_apply(bundle)
    times = uniform_times(settings.steps)
    scale = task.scale
    shape = jax.ShapeDtypeStruct((1, scale.resolution, scale.resolution, scale.in_channels), jnp.float32)
    channels = [x.shape[-1] for x in jax.eval_shape(maps, shape)]
    condition_width = scale.context_width + channels[-1]
    network = FeatureDiscriminator(channels, condition_width, init=abstract_initializer)
    heads = parameters_of(FeatureDiscriminator(channels, condition_width, init=random_initializer(given.seed)))

    def draw(seed: Array, number: Array, images: Array, prompts: Array) -> Any:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), number), 4)
        n = len(images)
        t = drawn_times(times, jax.random.uniform(keys[0], (n,)))
        eps = jax.random.normal(keys[1], images.shape)
        later = {"t": jax.random.uniform(keys[2], (n,)), "eps": jax.random.normal(keys[3], images.shape)}
        return {"x0": images, "prompts": prompts, "t": t, "x_t": starts(task, images, eps=eps, t=t), "later": later}

    def generated(parameters: Parameters, batch: Any) -> Float[Array, "batch height width channels"]:
        return denoised(task, apply, parameters, batch["x_t"], t=batch["t"], prompts=batch["prompts"])

    def condition(batch: Any, real: list[Array]) -> Float[Array, "batch features"]:
        """The prompt, and the embedding of the image that was noised, where the student saw anything of it."""
        prompt = jnp.mean(teacher.task.encode(teacher.parameters["prompt"], batch["prompts"]), axis=1)
        image = jnp.mean(real[-1].reshape(len(prompt), -1, channels[-1]), axis=1)
        return jnp.concatenate([prompt, jnp.where(batch["t"][:, None] == 1.0, 0.0, image)], axis=-1)

    def what_the_teacher_makes_of(images: Array, batch: Any) -> Float[Array, "batch height width channels"]:
        t = batch["later"]["t"]
        x_t = diffuse(task.schedule, images, eps=batch["later"]["eps"], t=t)
        denoiser = teacher_denoiser(teacher, batch["prompts"], guidance_scale=teacher.settings.guidance_scale)
        alpha, sigma = (per_sample(factor(t), x_t) for factor in (task.schedule.alpha, task.schedule.sigma))
        return task.parameterisation.to_denoised(denoiser(x_t, t), x_t, alpha, sigma)

    def discriminator_loss(heads: Parameters, parameters: Parameters, batch: Any) -> Any:
        judge = with_parameters(network, heads)
        real, fake = maps(batch["x0"]), maps(generated(parameters, batch))
        wanted = condition(batch, real)
        loss = hinge_discriminator_loss(judge(real, wanted), judge(fake, wanted))
        penalty = gradient_penalty(lambda maps: judge(maps, wanted), real)
        return jnp.mean(loss + settings.gradient_penalty * penalty), {}

    def generator_loss(parameters: Parameters, heads: Parameters, batch: Any) -> Any:
        images = generated(parameters, batch)
        wanted = condition(batch, maps(batch["x0"]))
        losses = {"adversarial": jnp.mean(hinge_generator_loss(with_parameters(network, heads)(maps(images), wanted)))}
        if settings.distillation_weight:
            again = what_the_teacher_makes_of(jax.lax.stop_gradient(images), batch)
            alpha = task.schedule.alpha(batch["later"]["t"])
            losses["distillation"] = jnp.mean(score_distillation_loss(images, again, alpha=alpha))
        return losses["adversarial"] + settings.distillation_weight * losses.get("distillation", 0.0), losses

    game = Game(generator_loss, discriminator_loss, settings.discriminator_rate)
    return two_players(bundle, heads, game, draw, num_steps=num_steps)
