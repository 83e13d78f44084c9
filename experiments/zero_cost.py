"""Zero-cost scores of a sweep's architectures, each with fresh weights of its own."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import SweepConfig
from experiments.denoising_task import load_examples, training_examples
from experiments.subnet_training import fresh_parameters
from experiments.supernet_training import sweep_supernet, sweep_task
from objectives.zero_cost import gradient_norm, jacobian_covariance, snip
from search_space import Architecture
from supernet import extract, unet_parameters
from supernet.initializer import Initializer, random_initializer
from supernet.training import COMPILER_OPTIONS

_BATCH_SIZE = 64
_NUM_COMPARED = 16  # images, far fewer than their pixels: correlations of more would be ruled by their number
_SEED = 404  # of the batch and its noise, and of the weights


def zero_cost_scores(config: SweepConfig) -> Callable[[Architecture], dict[str, float]]:
    """A function of an architecture; it compiles once, by the supernet's program. By name, the more the better."""
    supernet, task = sweep_supernet(config), sweep_task(config)
    dataset = load_examples(config.data, supernet.scale, split="train")
    batch = next(training_examples(dataset, supernet.scale, batch_size=_BATCH_SIZE, seed=_SEED))
    images, prompts = map(jnp.asarray, batch)
    (x_t, timestep, prompts), target = task.noisy_batch(jnp.uint32(_SEED), jnp.uint32(0), images, prompts)

    def gradients(parameters: Any, route: Any, of_loss: Any) -> tuple[Any, Any]:
        """Of the loss, or else of the sum of all outputs: by the network's parameters, and by the images."""

        def predict(network: Any, images: Any) -> Any:
            return task.predict(supernet.apply, {**parameters, "network": network}, (images, timestep, prompts), route)

        prediction, pull_back = jax.vjp(predict, parameters["network"], x_t)
        residual = 2 * (prediction - target) / prediction.size
        return pull_back(jnp.where(of_loss, residual, jnp.ones_like(residual)))

    gradients = jax.jit(gradients, compiler_options=COMPILER_OPTIONS)

    def scores(architecture: Architecture) -> dict[str, float]:
        parameters = fresh_parameters(config, architecture, _SEED, initializer=_no_zeros)
        route = jnp.asarray(supernet.route(architecture))
        by_weight, _ = gradients(parameters, route, True)
        _, by_image = gradients(parameters, route, False)
        kernels, slopes = (_kernels(extract(supernet, x, architecture)) for x in (parameters["network"], by_weight))
        return {
            "gradient_norm": gradient_norm(slopes),
            "snip": snip(kernels, slopes),
            "jacobian_covariance": jacobian_covariance(np.asarray(by_image)[:_NUM_COMPARED].reshape(_NUM_COMPARED, -1)),
        }

    return scores


def _no_zeros(seed: int) -> Initializer:
    """Also draws the kernels that training starts at zero, the last of each block: no gradient passes those."""
    draw = random_initializer(seed)

    def init(shape: tuple[int, ...], *, std: float, mean: float = 0.0) -> Any:
        is_kernel = len(shape) > 1
        return draw(shape, std=std or is_kernel * math.prod(shape[:-1]) ** -0.5, mean=mean)

    return init


def _kernels(network: Any) -> list[np.ndarray]:
    """Weights of convolutions and projections; no biases, no scales."""
    return [np.asarray(x) for x in jax.tree.leaves(unet_parameters(network)) if x.ndim > 1]
