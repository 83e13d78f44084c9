"""Losses of distillation by an adversary: arrays in, one loss per sample out.

A discriminator gives logits, above 0 for real: one per sample, or one per position of a map, over which losses are means. Who
learns is the caller's choice of what is differentiated; the opponent's parameters are constants to it.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Inputs = TypeVar("Inputs")


def hinge_discriminator_loss(
    real: Sequence[Float[Array, "batch ..."]], fake: Sequence[Float[Array, "batch ..."]]
) -> Float[Array, " batch"]:
    """max(0, 1 - real) + max(0, 1 + fake), summed over the heads of a discriminator.

    >>> hinge_discriminator_loss([jnp.array([0.5])], [jnp.array([-2.0])]).tolist()
    [0.5]

    Args:
      real: One array of logits per head, of real samples.
      fake: The same of generated ones.

    Source: Sauer et al. 2023 (ADD), equation 3; Lim and Ye 2017.
    """
    heads = zip(real, fake, strict=True)
    return _summed([_per_sample_mean(jax.nn.relu(1.0 - ours) + jax.nn.relu(1.0 + theirs)) for ours, theirs in heads])


def hinge_generator_loss(fake: Sequence[Float[Array, "batch ..."]]) -> Float[Array, " batch"]:
    """Minus the logits of generated samples, summed over the heads.

    Source: Sauer et al. 2023 (ADD), equation 2.
    """
    return _summed([-_per_sample_mean(logits) for logits in fake])


def logistic_discriminator_loss(real: Float[Array, "batch ..."], fake: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """The cross-entropy of telling real from generated samples: -log s(real) - log(1 - s(fake)), with s the sigmoid; in nats.

    Source: Goodfellow et al. 2014, equation 1.
    """
    return _per_sample_mean(jax.nn.softplus(-real) + jax.nn.softplus(fake))


def logistic_generator_loss(fake: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """The non-saturating loss -log s(fake), with s the sigmoid; in nats.

    Source: Goodfellow et al. 2014, section 3; Xu et al. 2023 (UFOGen), section 3.
    """
    return _per_sample_mean(jax.nn.softplus(-fake))


def gradient_penalty(logits: Callable[[Inputs], Sequence[Float[Array, "batch ..."]]], inputs: Inputs) -> Float[Array, " batch"]:
    """R1: the squared gradient of a discriminator at real inputs, per sample; 0 where it is flat there.

    Args:
      logits: One array of logits per head; means over positions are differentiated, each head's with respect to all inputs.
      inputs: Arrays [batch, ...] in any pytree, for instance the feature maps of real images.

    Source: Mescheder et al. 2018, equation 9, without its factor 1/2; Sauer et al. 2023 (ADD) take it at frozen features.
    """

    def total(inputs: Inputs) -> Array:
        return jnp.sum(_summed([_per_sample_mean(head) for head in logits(inputs)]))

    gradients = jax.tree.leaves(jax.grad(total)(inputs))
    return _summed([jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim))) for x in gradients])


def score_distillation_loss(
    student: Float[Array, "batch *shape"], teacher: Float[Array, "batch *shape"], *, alpha: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """c(t) |x - sg(y)|^2 per element: the student's image x, and what the teacher makes of it, noised to time t.

    Args:
      student: Images x of the student.
      teacher: y = the teacher's denoised estimate at alpha_t sg(x) + sigma_t eps'; no gradient flows into it.
      alpha: alpha_t of the teacher's times.

    Source: Sauer et al. 2023 (ADD), equation 4, with the exponential weighting c(t) = alpha_t as we remember it; the mean over
    elements in place of the sum.
    """
    return alpha * _per_sample_mean(jnp.square(student - jax.lax.stop_gradient(teacher)))


def reconstruction_loss(
    denoised: Float[Array, "batch *shape"], x0: Float[Array, "batch *shape"], *, snr: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """min(snr, 1) |x - x0|^2 per element: a generated image stays near the one that was noised, as far as that can be seen.

    Args:
      denoised: Images x that were made of noised ones.
      x0: What was noised.
      snr: alpha_t^2 / sigma_t^2 of the noised images; where it is 0 nothing of x0 is left to reconstruct.

    Source: Xu et al. 2023 (UFOGen), section 3, where its code takes the error of eps, snr |x - x0|^2; we bound the weight by 1,
    as Salimans and Ho 2022 bound theirs.
    """
    return jnp.minimum(snr, 1.0) * _per_sample_mean(jnp.square(denoised - x0))


def _per_sample_mean(values: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    return jnp.mean(values, axis=tuple(range(1, values.ndim)))


def _summed(values: list[Array]) -> Array:
    return sum(values[1:], values[0])
