"""What a supernet runs at full width, on channels padded with zeros: norms of a chosen width, and padding itself."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from search_space import Scale
from supernet.convolution import Image
from supernet.families import Parameters
from supernet.layers import normalise_groups
from supernet.switch import switch


def pad(x: Array, channels: int) -> Array:
    """The image or sequence with zeros behind its channels, or without those beyond."""
    missing = channels - x.shape[-1]
    if missing <= 0:
        return x[..., :channels]
    return jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((0, missing),))


def elastic_group_norm(
    x: Image,
    channels: Int[Array, ""],
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    *,
    rule: Scale,
    epsilon: float,
) -> Image:
    """Group norm of the leading channels; a matrix averages over each channel's group, whatever the rule for groups is."""
    groups = rule.norm_groups
    size = channels // groups if groups else jnp.asarray(rule.norm_group_size)
    place = jnp.arange(x.shape[-1])
    same_group = (place[:, None] // size == place[None, :] // size) & (place < channels)[:, None]
    matrix = same_group / size.astype(x.dtype)
    average = lambda moments: jnp.matmul(moments, matrix[None], precision="highest")  # noqa: E731
    return normalise_groups(x, scale[None, None], bias[None, None], average=average, epsilon=epsilon)


def elastic_layer_norm(
    x: Float[Array, "batch tokens features"],
    features: Int[Array, ""],
    scale: Float[Array, " features"],
    bias: Float[Array, " features"],
    *,
    epsilon: float = 1e-5,
) -> Float[Array, "batch tokens features"]:
    """Layer norm of the leading features, behind which are zeros; what it leaves behind them is not zero."""
    centred = jnp.where(jnp.arange(x.shape[-1]) < features, x - x.sum(-1, keepdims=True) / features, 0)
    variance = (centred * centred).sum(-1, keepdims=True) / features
    return centred * lax.rsqrt(variance + epsilon) * scale[None, None] + bias[None, None]


def run_or_keep(
    active: Array, run: Callable[..., Array], stored: Parameters, x: Array, *operands: Array, choices: Any,
    keep: Callable[..., Array] = lambda x, *_: x,
) -> Array:  # fmt: skip
    """`run(choices, stored, x, *operands)` where `active` is 1, else what `keep` makes of x and the operands."""
    kept = lambda choices, stored, *operands: keep(*operands)  # noqa: E731
    return switch(active, (kept, run), stored, x, *operands, choices=choices)
