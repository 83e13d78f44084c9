"""Noise schedules: how much data and how much noise is left at time t, variance preserving.

Every schedule is given by one function, log_snr(t) = log(alpha^2 / sigma^2), which falls strictly from t = 0 (data) to
t = 1 (noise); alpha^2 = sigmoid(log_snr) and sigma^2 = sigmoid(-log_snr) then sum to one by construction.

Source: Kingma et al. 2021, "Variational diffusion models", section 3 (the log-SNR form).
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_SD_NUM_STEPS = 1000
_SD_BETA_START = 0.00085
_SD_BETA_END = 0.012


@final
@dataclasses.dataclass(frozen=True)
class Schedule:
    """A variance-preserving noise schedule over t in [0, 1].

    Attributes:
      name: The key under which configuration and fingerprints name it.
      log_snr: log(alpha^2 / sigma^2) of t, elementwise, strictly falling; keeps the dtype of t.
    """

    name: str
    log_snr: Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]

    def alpha(self, t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The factor of the data at time t, in (0, 1)."""
        return jnp.sqrt(jax.nn.sigmoid(self.log_snr(t)))

    def sigma(self, t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The factor of the noise at time t, in (0, 1)."""
        return jnp.sqrt(jax.nn.sigmoid(-self.log_snr(t)))


@functools.cache
def cosine_schedule(*, log_snr_max: float = 10.0, log_snr_min: float = -10.0) -> Schedule:
    """The cosine schedule, alpha = cos(angle), with the angle running linearly between two finite log-SNRs.

    The same limits give the same object, so that a compiled program keyed by the schedule is not compiled again.

    Args:
      log_snr_max: log-SNR at t = 0. The default leaves a noise of 0.0067 there.
      log_snr_min: log-SNR at t = 1. The default leaves 0.0067 of the data there, so that an eps prediction can
        still be turned into x0 in float32.

    Raises:
      ValueError: The limits are not finite or the wrong way round.

    Source: Nichol and Dhariwal 2021, equation 17, in the continuous form of Salimans and Ho 2022, appendix B; we bound
    log-SNR by 10 where they take 20.
    """
    if not (math.isfinite(log_snr_max) and math.isfinite(log_snr_min) and log_snr_max > log_snr_min):
        raise ValueError(
            f"`log_snr_max` must be finite and above `log_snr_min`, got {log_snr_max} and {log_snr_min}; "
            "use for example 10 and -10"
        )
    first = math.atan(math.exp(-0.5 * log_snr_max))
    last = math.atan(math.exp(-0.5 * log_snr_min))

    def log_snr(t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return -2.0 * jnp.log(jnp.tan(first + (last - first) * t))

    return Schedule("cosine", log_snr)


@functools.cache
def scaled_linear_schedule() -> Schedule:
    """Stable Diffusion's schedule: 1000 steps, sqrt(beta) linear from 0.00085 to 0.012, interpolated in log-SNR.

    Its discrete step k is t = k / 1000, so that `1000 * t` is the time step its networks were trained with. The same
    formula continued by one step gives t = 1. Neither end is clean: sigma(0) is 0.029 and alpha(1) is 0.068.

    Source: Rombach et al. 2022 (latent diffusion), the `linear` schedule of their configuration files.
    """
    steps = np.arange(_SD_NUM_STEPS + 1)
    root_start, root_end = math.sqrt(_SD_BETA_START), math.sqrt(_SD_BETA_END)
    beta = (root_start + (root_end - root_start) * steps / (_SD_NUM_STEPS - 1)) ** 2
    log_alpha_squared = np.cumsum(np.log1p(-beta))
    knots_log_snr = log_alpha_squared - np.log(-np.expm1(log_alpha_squared))
    knots_t = steps / _SD_NUM_STEPS

    def log_snr(t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        dtype = jnp.promote_types(t.dtype, jnp.float32)  # bfloat16 could not tell neighbouring steps
        return jnp.interp(t.astype(dtype), knots_t.astype(dtype), knots_log_snr.astype(dtype)).astype(t.dtype)

    return Schedule("scaled_linear", log_snr)


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "cosine": cosine_schedule,
    "scaled_linear": scaled_linear_schedule,
}


def get_schedule(name: str) -> Schedule:
    """The schedule of that name; always the same object for the same name.

    >>> get_schedule("cosine") is cosine_schedule()
    True

    Raises:
      ValueError: No schedule has that name.
    """
    if name not in SCHEDULES:
        raise ValueError(f"no schedule is called {name!r}; use one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name]()


def per_sample(values: Float[Array, " batch"], like: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
    """Gives one number per sample trailing axes of length 1, so that it multiplies arrays shaped like `like`.

    >>> per_sample(jnp.ones(3), jnp.zeros((3, 8, 8, 1))).shape
    (3, 1, 1, 1)
    """
    return values.reshape(values.shape + (1,) * (like.ndim - 1))


def diffuse(
    schedule: Schedule,
    x0: Float[Array, "batch *shape"],
    *,
    eps: Float[Array, "batch *shape"],
    t: Float[Array, " batch"],
) -> Float[Array, "batch *shape"]:
    """The noised data x_t = alpha(t) x0 + sigma(t) eps, each sample at its own time."""
    return per_sample(schedule.alpha(t), x0) * x0 + per_sample(schedule.sigma(t), x0) * eps
