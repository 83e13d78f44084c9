"""Discriminators: heads on the maps of a frozen network, and the denoiser itself, its output read as logits.

Source: Sauer et al. 2023 (ADD), section 3.1, for the heads; Xu et al. 2023 (UFOGen), section 3, for the denoiser.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from search_space import LayerPlan
from supernet.initializer import Initializer
from supernet.layers import LayerNorm, Linear
from supernet.parameters import block_path

_HIDDEN = 64


class FeatureDiscriminator(nnx.Module):
    """A light head on each map of a frozen network."""

    def __init__(self, channels: Sequence[int], condition_width: int, *, init: Initializer) -> None:
        """Builds the heads.

        Args:
            channels: of each map.
            condition_width: features of a condition.
            init: of the parameters.
        """
        self.heads = nnx.List([Head(num, condition_width, init=init) for num in channels])

    def __call__(
        self, maps: Sequence[Float[Array, "batch ..."]], condition: Float[Array, "batch condition"]
    ) -> list[Float[Array, "batch _"]]:
        """Logits of every position, by head.

        Args:
            maps: [batch, height, width, channels] or [batch, channels].
            condition: what the images should show.
        """
        return [head(_positions(x), condition) for head, x in zip(self.heads, maps, strict=True)]


class Head(nnx.Module):
    """A perceptron at each position, and the inner product of its output with a projected condition.

    Source: Miyato and Koyama 2018 (projection discriminator), equation 3.
    """

    def __init__(self, channels: int, condition_width: int, *, init: Initializer) -> None:
        self.expand = Linear(channels, _HIDDEN, init=init)
        self.norm = LayerNorm(_HIDDEN, init=init)
        self.mix = Linear(_HIDDEN, _HIDDEN, init=init)
        self.out = Linear(_HIDDEN, 1, init=init)
        self.projection = Linear(condition_width, _HIDDEN, bias=False, init=init)

    def __call__(
        self, x: Float[Array, "batch positions channels"], condition: Float[Array, "batch condition"]
    ) -> Float[Array, "batch positions"]:
        """The logit of each position."""
        h = jax.nn.silu(self.norm(self.expand(x)))
        h = jax.nn.silu(h + self.mix(h))
        agreement = jnp.einsum("bpc,bc->bp", h, self.projection(condition)) * _HIDDEN**-0.5
        return self.out(h)[..., 0] + agreement


def with_silent_head(plan: LayerPlan, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A UNet's parameters, by path, as a discriminator's: its last convolution is zero, so that it calls nothing real or fake.

    Its first step moves that layer alone, which the gradient reaches through a zero kernel; then all others follow.
    """
    last = f"{block_path(plan.blocks[-1].name)}conv/"
    return {path: jnp.zeros_like(x) if path.startswith(last) else x for path, x in parameters.items()}


def _positions(x: Float[Array, "batch ..."]) -> Float[Array, "batch positions channels"]:
    return x.reshape(len(x), -1, x.shape[-1])
