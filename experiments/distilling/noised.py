"""What a student of few steps starts from, and the image that a network makes of a noised one."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffusion import diffuse, per_sample
from diffusion.guidance import TIMESTEPS_PER_UNIT_TIME
from experiments.denoising_task import DenoisingTask
from experiments.fitting import Apply, Parameters


def starts(
    task: DenoisingTask, images: Float[Array, "batch *shape"], *, eps: Float[Array, "batch *shape"], t: Float[Array, " batch"]
) -> Float[Array, "batch *shape"]:
    """Noised images x_t, and at t = 1 the noise alone: what a sampler starts from, whatever the schedule leaves there.

    Source: Lin et al. 2023 (zero terminal signal-to-noise ratio).
    """
    return jnp.where(per_sample(t, eps) == 1.0, eps, diffuse(task.schedule, images, eps=eps, t=t))


def denoised(
    task: DenoisingTask, apply: Apply, parameters: Parameters, x_t: Array, *, t: Array, prompts: Array
) -> Float[Array, "batch *shape"]:
    """The estimate of x0 that a network's prediction at x_t stands for."""
    prediction = task.predict(apply, parameters, (x_t, TIMESTEPS_PER_UNIT_TIME * t, prompts))
    alpha, sigma = (per_sample(factor(t), x_t) for factor in (task.schedule.alpha, task.schedule.sigma))
    return task.parameterisation.to_denoised(prediction, x_t, alpha, sigma)


def drawn_times(times: Float[Array, " times"], uniform: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """One of the times for each sample, as even as can be: each turns up in its share of the batch, to one sample.

    >>> drawn_times(jnp.array([1.0, 0.5]), jnp.array([0.3, 0.9, 0.1, 0.5])).tolist()
    [1.0, 1.0, 0.5, 0.5]

    Args:
        times: to choose from.
        uniform: a random number in [0, 1) for each sample.
    """
    n, num_times = len(uniform), len(times)
    return times[(num_times * jnp.arange(n) + jnp.floor(num_times * uniform).astype(int)) // n]
