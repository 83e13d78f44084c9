"""Samplers: from noise at t = 1 to data, as pure functions that call the denoiser once a step inside one scan.

DDIM and DPM-Solver++(2M) share one step. Between the times s and t (t nearer to the data)

    x_t = (sigma_t / sigma_s) x_s + (alpha_t - alpha_s sigma_t / sigma_s) D,

where D is the denoised estimate at s (DDIM, first order), or that estimate extrapolated with the previous one
(second order). The last step goes to the data itself, alpha = 1 and sigma = 0, whatever noise the schedule leaves at
t = 0, so that it returns the last denoised estimate.

Source: Song et al. 2021 (DDIM), equation 12; Lu et al. 2022, "DPM-Solver++", algorithm 2 and equation 4.1.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffusion.parameterisation import Factor, Parameterisation
from diffusion.schedule import Schedule

Denoiser = Callable[[Float[Array, "batch *shape"], Float[Array, " batch"]], Float[Array, "batch *shape"]]
TimeGrid = Callable[[int], Float[Array, " num_steps"]]


@runtime_checkable
class Sampler(Protocol):
    """Turns noise into data with a fixed number of denoiser calls."""

    def __call__(
        self,
        denoiser: Denoiser,
        noise: Float[Array, "batch *shape"],
        *,
        schedule: Schedule,
        parameterisation: Parameterisation,
        num_steps: int,
        times: TimeGrid = ...,
    ) -> Float[Array, "batch *shape"]:
        """Samples; see `ddim`."""
        ...


def ddim_step(
    x: Float[Array, "batch *shape"],
    denoised: Float[Array, "batch *shape"],
    *,
    alpha: Factor,
    sigma: Factor,
    next_alpha: Factor,
    next_sigma: Factor,
) -> Float[Array, "batch *shape"]:
    """One step nearer to the data: the noise that an estimate of the data implies stays, there is less of it.

    Args:
      x: The state alpha x0 + sigma eps.
      denoised: The estimate of x0.
      alpha: The factor of the data now, a scalar or one that broadcasts against the images.
      sigma: The factor of the noise now, above 0.
      next_alpha: The factor of the data behind the step; 1 for the data itself.
      next_sigma: The factor of the noise behind the step; 0 for the data itself.

    >>> ddim_step(jnp.array([2.0]), jnp.array([1.0]), alpha=0.6, sigma=0.8, next_alpha=1.0, next_sigma=0.0).tolist()
    [1.0]
    """
    keep = next_sigma / sigma
    return keep * x + (next_alpha - alpha * keep) * denoised


def uniform_times(num_steps: int) -> Float[Array, " num_steps"]:
    """Evenly spaced times of the denoiser calls, from 1 down to 1 / num_steps.

    >>> uniform_times(4).tolist()
    [1.0, 0.75, 0.5, 0.25]

    Raises:
      ValueError: `num_steps` is below 1.
    """
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1, got {num_steps}; small networks look well from 8 on")
    return 1.0 - jnp.arange(num_steps) / num_steps


def ddim(
    denoiser: Denoiser,
    noise: Float[Array, "batch *shape"],
    *,
    schedule: Schedule,
    parameterisation: Parameterisation,
    num_steps: int,
    times: TimeGrid = uniform_times,
) -> Float[Array, "batch *shape"]:
    """Deterministic DDIM, first order in the step.

    Args:
      denoiser: Called `num_steps` times as `denoiser(x_t, t)`; traced once.
      noise: Standard normal, the state at t = 1.
      schedule: Gives alpha and sigma.
      parameterisation: What the denoiser predicts.
      num_steps: Number of denoiser calls, at least 1.
      times: Where the calls are made, strictly falling.

    Returns:
      The data that the noise maps to, in the dtype of `noise`.
    """
    log_snr = schedule.log_snr(times(num_steps).astype(noise.dtype))
    return _multistep(denoiser, noise, schedule, parameterisation, times(num_steps), jnp.zeros_like(log_snr))


def dpmpp_2m(
    denoiser: Denoiser,
    noise: Float[Array, "batch *shape"],
    *,
    schedule: Schedule,
    parameterisation: Parameterisation,
    num_steps: int,
    times: TimeGrid = uniform_times,
) -> Float[Array, "batch *shape"]:
    """DPM-Solver++(2M), second order in the step at one denoiser call a step; arguments as for `ddim`.

    The first and the last step are first order: the first has no history, and the last is infinitely long in log-SNR.
    """
    log_snr = schedule.log_snr(times(num_steps).astype(noise.dtype))
    lengths = 0.5 * jnp.diff(log_snr)
    # Step i is lengths[i]; its weight is h_i / (2 h_{i-1}), the paper's 1 / (2 r).
    inner = 0.5 * lengths[1:] / lengths[:-1]
    extrapolation = jnp.zeros_like(log_snr).at[1 : num_steps - 1].set(inner)
    return _multistep(denoiser, noise, schedule, parameterisation, times(num_steps), extrapolation)


SAMPLERS: dict[str, Sampler] = {"ddim": ddim, "dpmpp_2m": dpmpp_2m}


def get_sampler(name: str) -> Sampler:
    """The sampler of that name.

    >>> get_sampler("ddim") is ddim
    True

    Raises:
      ValueError: No sampler has that name.
    """
    if name not in SAMPLERS:
        raise ValueError(f"no sampler is called {name!r}; use one of {', '.join(SAMPLERS)}")
    return SAMPLERS[name]


def _multistep(
    denoiser: Denoiser,
    noise: Float[Array, "batch *shape"],
    schedule: Schedule,
    parameterisation: Parameterisation,
    times: Float[Array, " num_steps"],
    extrapolation: Float[Array, " num_steps"],
) -> Float[Array, "batch *shape"]:
    """Runs the shared step; `extrapolation` is how far each step leans on the change since the last estimate."""
    t = times.astype(noise.dtype)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    next_alpha = jnp.append(alpha[1:], jnp.ones((), noise.dtype))
    next_sigma = jnp.append(sigma[1:], jnp.zeros((), noise.dtype))
    steps = (t, alpha, sigma, next_alpha, next_sigma, extrapolation)

    def step(carry: tuple[Array, Array], coefficients: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
        x, previous = carry
        t, alpha, sigma, next_alpha, next_sigma, lean = coefficients
        prediction = denoiser(x, jnp.full(x.shape[:1], t))
        denoised = parameterisation.to_denoised(prediction, x, alpha, sigma).astype(x.dtype)
        leaning = denoised + lean * (denoised - previous)
        x = ddim_step(x, leaning, alpha=alpha, sigma=sigma, next_alpha=next_alpha, next_sigma=next_sigma)
        return (x, denoised), None

    (x, _), _ = jax.lax.scan(step, (noise, jnp.zeros_like(noise)), steps)
    return x
