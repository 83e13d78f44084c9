"""What is being learned, at one scale: from images and prompts to noisy inputs and targets, and from prompts to contexts."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffusion import Parameterisation, Schedule, diffuse, get_parameterisation, get_schedule, per_sample
from diffusion.guidance import TIMESTEPS_PER_UNIT_TIME
from experiments.data import Dataset, as_arrays, batches, load_dataset
from experiments.data.dataset import array_bytes
from experiments.errors import InputError
from search_space import Scale
from supernet import PromptEncoder
from supernet.initializer import abstract_initializer, random_initializer
from supernet.parameters import parameters_of, with_parameters

_IN_MEMORY_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class DenoisingTask:
    """Denoising at a scale.

    Attributes:
        scale: of images and networks.
        schedule_name: of the noise.
        parameterisation_name: what networks predict.
        prompt_dropout: share of training examples whose prompt is replaced by the null prompt, for guidance.
    """

    scale: Scale
    schedule_name: str = "cosine"
    parameterisation_name: str = "v"
    prompt_dropout: float = 0.1

    @cached_property
    def schedule(self) -> Schedule:
        """The noise schedule."""
        return get_schedule(self.schedule_name)

    @cached_property
    def parameterisation(self) -> Parameterisation:
        """What networks predict."""
        return get_parameterisation(self.parameterisation_name)

    def prompt_parameters(self, seed: int) -> dict[str, Any]:
        """Fresh parameters of the prompt encoder; none where contexts come encoded."""
        if not self.scale.vocabulary:
            return {}
        return parameters_of(PromptEncoder(self.scale, init=random_initializer(seed)))

    def check_prompt_parameters(self, parameters: dict[str, Any]) -> None:
        """Raises ValueError where these are not the parameters of this scale's prompt encoder."""
        wanted = {name: tuple(x.shape) for name, x in self.prompt_parameters(0).items()}
        found = {name: tuple(x.shape) for name, x in parameters.items()}
        if wanted != found:
            raise ValueError(f"the prompt encoder's parameters must be {wanted}, got {found}")

    def encode(self, prompt_parameters: dict[str, Any], prompts: Array) -> Float[Array, "batch length width"]:
        """Contexts of prompts: tokens are encoded, contexts stay as they are."""
        if not self.scale.vocabulary:
            return prompts
        return with_parameters(PromptEncoder(self.scale, init=abstract_initializer), prompt_parameters)(prompts)

    def predict(self, apply: Callable[..., Any], parameters: Any, inputs: tuple[Array, Array, Array], *extra: Any) -> Any:
        """What `apply(network, noisy images, time steps, contexts, *extra)` gives for a noisy batch, its prompts encoded."""
        x_t, timestep, prompts = inputs
        return apply(parameters["network"], x_t, timestep, self.encode(parameters["prompt"], prompts), *extra)

    def noisy_batch(
        self, seed: Array, step: Array, images: Array, prompts: Array, *, num_steps: int | None = None
    ) -> tuple[tuple[Array, Array, Array], Array]:
        """One training batch: (noisy images, time steps, prompts) and the targets; times are uniform and stratified.

        With `num_steps` they are among the times at which a sampler of so many even steps calls the network.
        """
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), step), 3)
        n = len(images)
        t = (jnp.arange(n) + jax.random.uniform(keys[0], (n,))) / n
        if num_steps is not None:
            t = jnp.minimum(jnp.floor(num_steps * t) + 1, num_steps) / num_steps
        eps = jax.random.normal(keys[1], images.shape)
        x_t = diffuse(self.schedule, images, eps=eps, t=t)
        alpha, sigma = per_sample(self.schedule.alpha(t), images), per_sample(self.schedule.sigma(t), images)
        inputs = (x_t, TIMESTEPS_PER_UNIT_TIME * t, self.with_dropped(prompts, keys[2]))
        return inputs, self.parameterisation.target(images, eps, alpha, sigma)

    def with_dropped(self, prompts: Array, key: Array) -> Array:
        """The prompts, some of them replaced by the null prompt."""
        dropped = jax.random.uniform(key, (len(prompts),)) < self.prompt_dropout
        return jnp.where(dropped.reshape(len(prompts), *(1,) * (prompts.ndim - 1)), 0, prompts)


def open_examples(data: str, scale: Scale, *, split: str) -> Dataset:
    """A data set at a scale; its examples are read when they are asked for.

    Raises:
        InputError: the data set cannot be read, or does not fit the scale; the message names the key to change.
    """
    dataset = load_dataset(data, split=split, resolution=scale.resolution, channels=scale.in_channels)
    info = dataset.info
    wanted = (scale.resolution, scale.resolution, scale.in_channels)
    if tuple(info.image_shape) != wanted:
        raise InputError(f"data set {data!r} has images of shape {info.image_shape}, scale {scale.name!r} wants {wanted}")
    if (info.context_shape is None) != bool(scale.vocabulary):
        has, wants = ("tokens", "encoded contexts") if info.context_shape is None else ("encoded contexts", "tokens")
        raise InputError(f"data set {data!r} gives {has}, scale {scale.name!r} wants {wants}; choose another scale")
    if info.context_shape is not None and tuple(info.context_shape) != (scale.context_length, scale.context_width):
        raise InputError(
            f"data set {data!r} has contexts of shape {info.context_shape}, scale {scale.name!r} wants "
            f"{(scale.context_length, scale.context_width)}; encode them again or choose another scale"
        )
    if scale.vocabulary and info.num_tokens > scale.vocabulary:
        raise InputError(
            f"data set {data!r} needs a vocabulary of {info.num_tokens} tokens, scale {scale.name!r} has {scale.vocabulary}; "
            "choose a scale with a larger one"
        )
    return dataset


def load_examples(data: str, scale: Scale, *, split: str) -> Dataset:
    """The same, in memory where it is small; for what reads examples more than once."""
    dataset = open_examples(data, scale, split=split)
    if array_bytes(dataset.info) > _IN_MEMORY_BYTES:
        return dataset
    examples = list(dataset)
    return dataclasses.replace(dataset, read=examples.__getitem__)


def training_examples(
    dataset: Dataset, scale: Scale, *, batch_size: int, seed: int, start_step: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless shuffled batches of images and prompts, from any step on as an uninterrupted run would have had them."""
    for batch in batches(
        dataset,
        batch_size=batch_size,
        seed=seed,
        start_step=start_step,
        context_length=scale.context_length,
        num_threads=0,
    ):
        yield batch["image"], batch["tokens"] if "tokens" in batch else batch["context"]


def all_examples(dataset: Dataset, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Images and prompts of a whole small data set, in stored order."""
    arrays = as_arrays(dataset, context_length=scale.context_length)
    prompts = arrays.context if arrays.tokens is None else arrays.tokens
    assert prompts is not None
    return arrays.images, prompts
