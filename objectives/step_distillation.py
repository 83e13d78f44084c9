"""Step distillation: one step of the student does what two steps of its teacher do. Arrays in, losses per sample out.

Step i of a student with N steps goes from the time (i + 1) / N to i / N, its teacher's two go by (i + 1/2) / N; where i is
0, they end at the data itself, alpha = 1 and sigma = 0, as those of `diffusion.samplers` do.

Source: Salimans and Ho 2022, "Progressive distillation", algorithm 2 and appendix G; Li et al. 2023 (SnapFusion), section 4.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from diffusion.guidance import guided_prediction
from diffusion.parameterisation import Parameterisation
from diffusion.samplers import Denoiser, ddim_step
from diffusion.schedule import Schedule, per_sample

# From alpha^2 / sigma^2 to the weight of the squared error of x0.
Weighting = Callable[[Float[Array, " batch"]], Float[Array, " batch"]]


def _truncated_snr(snr: Float[Array, " batch"]) -> Float[Array, " batch"]:
    return jnp.maximum(snr, 1.0)


def _constant(snr: Float[Array, " batch"]) -> Float[Array, " batch"]:
    return jnp.ones_like(snr)


def _snr(snr: Float[Array, " batch"]) -> Float[Array, " batch"]:
    return snr


# The squared error of x0 times the ratio is that of eps; the truncated ratio takes the larger of the two.
WEIGHTINGS: dict[str, Weighting] = {"truncated_snr": _truncated_snr, "constant": _constant, "snr": _snr}


@dataclasses.dataclass(frozen=True)
class Halving:
    """What student and teacher have in common.

    Attributes:
      num_steps: Of the student; the teacher takes twice as many.
      schedule: Gives alpha and sigma.
      parameterisation: What both predict.
      weighting: Of the squared error of x0.
    """

    num_steps: int
    schedule: Schedule
    parameterisation: Parameterisation
    weighting: Weighting = _truncated_snr


def two_step_target(
    teacher: Denoiser, x_t: Float[Array, "batch *shape"], *, t: Float[Array, " batch"], halving: Halving
) -> Float[Array, "batch *shape"]:
    """The estimate of x0 with which one DDIM step of the student lands where two of the teacher land.

    With z_t, z_t' and z_t'' the states before, between and behind the teacher's steps,

        x* = (z_t'' - (sigma'' / sigma) z_t) / (alpha'' - (sigma'' / sigma) alpha).

    Args:
      teacher: Called twice.
      x_t: Noised images.
      t: When the student's step begins: one of 1/N, 2/N, ..., 1, to rounding.
      halving: What student and teacher have in common.

    Returns:
      x*; no gradient flows into the teacher.

    Source: Salimans and Ho 2022, algorithm 2 and appendix G.
    """
    number = jnp.round(halving.num_steps * t)
    times = [(number - done) / halving.num_steps for done in (0.0, 0.5, 1.0)]
    levels = [_noise_level(halving.schedule, time, x_t) for time in times]
    x = x_t
    for time, (alpha, sigma), (next_alpha, next_sigma) in zip(times, levels, levels[1:], strict=False):
        denoised = halving.parameterisation.to_denoised(teacher(x, time), x, alpha, sigma)
        x = ddim_step(x, denoised, alpha=alpha, sigma=sigma, next_alpha=next_alpha, next_sigma=next_sigma)
    (alpha, sigma), _, (end_alpha, end_sigma) = levels
    keep = end_sigma / sigma
    return lax.stop_gradient((x - keep * x_t) / (end_alpha - keep * alpha))


def progressive_loss(
    prediction: Float[Array, "batch *shape"],
    x_t: Float[Array, "batch *shape"],
    *,
    t: Float[Array, " batch"],
    teacher: Denoiser,
    halving: Halving,
) -> Float[Array, " batch"]:
    """The weighted squared error of the student's estimate of x0, per sample.

    Args:
      prediction: The student's, in the parameterisation that both share.
      x_t: Noised images.
      t: When the student's step begins.
      teacher: Its two steps are what is learned.
      halving: What student and teacher have in common.

    Source: Salimans and Ho 2022, section 4 (the weightings).
    """
    alpha, sigma = halving.schedule.alpha(t), halving.schedule.sigma(t)
    denoised = halving.parameterisation.to_denoised(prediction, x_t, per_sample(alpha, x_t), per_sample(sigma, x_t))
    error = denoised - two_step_target(teacher, x_t, t=t, halving=halving)
    return halving.weighting((alpha / sigma) ** 2) * jnp.mean(jnp.square(error), axis=tuple(range(1, x_t.ndim)))


def cfg_aware_loss(
    conditioned: Float[Array, "batch *shape"],
    x_t: Float[Array, "batch *shape"],
    *,
    null: Callable[[], Float[Array, "batch *shape"]],
    t: Float[Array, " batch"],
    teacher: Denoiser,
    guided_teacher: Denoiser,
    guidance_scale: Float[Array, " batch"],
    is_guided: Bool[Array, ""],
    halving: Halving,
) -> Float[Array, " batch"]:
    """`progressive_loss`, between guided predictions where the step is a guided one.

    Args:
      conditioned: The student's prediction with its condition.
      x_t: Noised images.
      null: The student's prediction without a condition; computed for guided steps only.
      t: When the student's step begins.
      teacher: With its condition.
      guided_teacher: The same guided by `guidance_scale`.
      guidance_scale: One w per sample, which student and teacher share: w conditioned - (w - 1) null.
      is_guided: Whether guided predictions are compared.
      halving: What student and teacher have in common.

    Source: Li et al. 2023 (SnapFusion), section 4.2.
    """

    def guided() -> Array:
        prediction = guided_prediction(null(), conditioned, guidance_scale=guidance_scale)
        return progressive_loss(prediction, x_t, t=t, teacher=guided_teacher, halving=halving)

    return lax.cond(is_guided, guided, lambda: progressive_loss(conditioned, x_t, t=t, teacher=teacher, halving=halving))


def with_rescaled(loss: Float[Array, ""], other: Float[Array, ""], *, weight: float) -> Float[Array, ""]:
    """A loss plus so many times another one that is first brought to its size; the factor that does so has no gradient.

    >>> float(with_rescaled(jnp.array(3.0), jnp.array(0.1), weight=0.2))
    3.5999999046325684

    Source: Li et al. 2023 (SnapFusion), section 4.2, the dynamic scale of the original loss.
    """
    factor = lax.stop_gradient(jnp.where(other > 0, loss / jnp.where(other > 0, other, 1), 0))
    return loss + weight * factor * other


def _noise_level(schedule: Schedule, t: Float[Array, " batch"], like: Float[Array, "batch *shape"]) -> tuple[Array, Array]:
    """Alpha and sigma at multiples of a step, to multiply images with; the time 0 is the data itself."""
    is_data = t == 0
    alpha, sigma = jnp.where(is_data, 1.0, schedule.alpha(t)), jnp.where(is_data, 0.0, schedule.sigma(t))
    return per_sample(alpha, like), per_sample(sigma, like)
