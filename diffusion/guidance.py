"""Classifier-free guidance: a denoiser made of a conditioned network, its context and a null context.

The guided prediction is null + guidance_scale (conditioned - null). The predictions of a network are affine in each
other, so that guiding eps, x0 or v is the same.

Source: Ho and Salimans 2022, equation 6, with their 1 + w called `guidance_scale`.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffusion.schedule import per_sample

# Networks are trained with time steps on the scale of 1000, as the published ones are.
TIMESTEPS_PER_UNIT_TIME = 1000.0

Network = Callable[
    [Float[Array, "batch *shape"], Float[Array, " batch"], Float[Array, "batch length width"]],
    Float[Array, "batch *shape"],
]


def guided_prediction(
    null: Float[Array, "batch *shape"],
    conditioned: Float[Array, "batch *shape"],
    *,
    guidance_scale: float | Float[Array, " batch"],
) -> Float[Array, "batch *shape"]:
    """The guided prediction, of the prediction without a condition and the one with it."""
    scale = per_sample(jnp.asarray(guidance_scale), null) if jnp.ndim(guidance_scale) else guidance_scale
    return null + scale * (conditioned - null)


def guided_denoiser(
    net: Network,
    context: Float[Array, "batch length width"],
    *,
    null_context: Float[Array, "*null_shape"] | None = None,
    guidance_scale: float | Float[Array, " batch"] = 1.0,
) -> Callable[[Float[Array, "batch *shape"], Float[Array, " batch"]], Float[Array, "batch *shape"]]:
    """Binds a context to a network `net(x, timestep, context)`, guided where the scale is not 1.

    Args:
      net: Called once a step, with twice the batch where guidance needs both predictions.
      context: The conditions, one per sample.
      null_context: The empty condition, one per sample; not needed at scale 1.
      guidance_scale: 1 follows the condition as learned, 0 ignores it, above 1 exaggerates it. A Python number
        decides what is traced; an array gives each sample its own, and always needs both predictions.

    Returns:
      A denoiser `denoiser(x_t, t)` with t [batch] in [0, 1].

    Raises:
      ValueError: The scale asks for a null context and there is none, or its shape is not that of `context`.
    """
    known = guidance_scale if isinstance(guidance_scale, int | float) else None
    if known == 1.0:
        return lambda x, t: net(x, TIMESTEPS_PER_UNIT_TIME * t, context)
    if null_context is None:
        raise ValueError(f"guidance_scale={guidance_scale} needs a `null_context`; give one, or use guidance_scale=1")
    if null_context.shape != context.shape:
        raise ValueError(
            f"`null_context` must have the shape of `context` {context.shape}, got {null_context.shape}; "
            "repeat it once per sample"
        )
    if known == 0.0:
        return lambda x, t: net(x, TIMESTEPS_PER_UNIT_TIME * t, null_context)
    both_contexts = jnp.concatenate([null_context, context])

    def denoiser(x: Float[Array, "batch *shape"], t: Float[Array, " batch"]) -> Float[Array, "batch *shape"]:
        timestep = TIMESTEPS_PER_UNIT_TIME * jnp.concatenate([t, t])
        null, conditioned = jnp.split(net(jnp.concatenate([x, x]), timestep, both_contexts), 2)
        return guided_prediction(null, conditioned, guidance_scale=guidance_scale)

    return denoiser
