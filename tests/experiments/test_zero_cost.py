"""Zero-cost scores by the supernet's program are those of the stand-alone network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.config import load_config
from experiments.denoising_task import load_examples, training_examples
from experiments.supernet_training import sweep_supernet, sweep_task
from experiments.zero_cost import _BATCH_SIZE, _SEED, _no_zeros, zero_cost_scores
from objectives.zero_cost import ZERO_COST, gradient_norm, jacobian_covariance, snip
from search_space import layer_plan
from supernet import UNet, unet_parameters
from supernet.parameters import with_parameters

# Fewer kernels to compile; widths, depths and kinds of attention remain.
CONFIG = load_config(
    "digits-small",
    ["space=digits-small[down*.convolution=separable,up*.convolution=separable,down*.attention=cross,up*.attention=cross]"],
)


def alone(architecture):
    """The same scores, from the architecture's own network."""
    task = sweep_task(CONFIG)
    network = UNet(layer_plan(architecture, task.scale), init=_no_zeros(_SEED))
    parameters, prompt = unet_parameters(network), task.prompt_parameters(_SEED)
    dataset = load_examples(CONFIG.data, task.scale, split="train")
    batch = next(training_examples(dataset, task.scale, batch_size=_BATCH_SIZE, seed=_SEED))
    (x_t, timestep, prompts), target = task.noisy_batch(jnp.uint32(_SEED), jnp.uint32(0), *map(jnp.asarray, batch))
    context = task.encode(prompt, prompts)

    def predict(parameters, images):
        return with_parameters(network, parameters)(images, timestep, context)

    slopes = jax.grad(lambda parameters: jnp.mean((predict(parameters, x_t) - target) ** 2))(parameters)
    by_image = jax.grad(lambda images: jnp.sum(predict(parameters, images)))(x_t)
    paths = [path for path, values in parameters.items() if values.ndim > 1]
    kernels, gradients = ([np.asarray(x[path]) for path in paths] for x in (parameters, slopes))
    return {
        "gradient_norm": gradient_norm(gradients),
        "snip": snip(kernels, gradients),
        "jacobian_covariance": jacobian_covariance(np.asarray(by_image)[:16].reshape(16, -1)),
    }


def test_they_are_those_of_the_stand_alone_network():
    supernet, scores = sweep_supernet(CONFIG), zero_cost_scores(CONFIG)
    rng = np.random.default_rng(5)
    architectures = [supernet.space.sample(rng) for _ in range(2)]
    found = [scores(architecture) for architecture in architectures]
    assert found[0] == pytest.approx(alone(architectures[0]), rel=1e-3)
    assert all(found[0][name] != found[1][name] and np.isfinite(found[1][name]) for name in ZERO_COST)
    assert scores(architectures[0]) == found[0]
