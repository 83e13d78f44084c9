"""Layers with parameters: linear, 3x3 convolution (full, separable), group and layer normalisation.

Written out, not taken from flax.nnx, because the same arithmetic must serve slices of a supernet, a stand-alone network
and conversion to mobile runtimes. There each form is the one that keeps a network in a single delegate partition: group
normalisation by per-channel moments and one multiply-add, upsampling by concatenation, GELU through erf.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from supernet.convolution import Image, Lowering
from supernet.initializer import Initializer


def _per_channel(values: Array, like: Array) -> Array:
    """A vector of channels with the rank of `like`."""
    return values.reshape((1,) * (like.ndim - 1) + (-1,))


def _exact(x: Array) -> Array:
    """In float32 at least, for moments, whose differences would be lost in less."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Linear(nnx.Module):
    """A dense layer on the last axis; on an image it is a 1x1 convolution."""

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool = True, zero: bool = False, init: Initializer
    ) -> None:
        self.kernel = nnx.Param(init((in_features, out_features), std=0.0 if zero else in_features**-0.5))
        self.bias = nnx.Param(init((out_features,), std=0.0)) if bias else None

    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch out"]:
        """Applies the layer."""
        y = x @ self.kernel[...]
        return y if self.bias is None else y + _per_channel(self.bias[...], y)


class Conv3x3(nnx.Module):
    """A full 3x3 convolution with bias and padding 1."""

    def __init__(
        self, in_channels: int, out_channels: int, *, lowering: Lowering, zero: bool = False, init: Initializer
    ) -> None:
        std = 0.0 if zero else (9 * in_channels) ** -0.5
        self.kernel = nnx.Param(init((3, 3, in_channels, out_channels), std=std))
        self.bias = nnx.Param(init((out_channels,), std=0.0))
        self.lowering = lowering

    def __call__(self, x: Image, stride: int = 1) -> Float[Array, "batch rows columns out"]:
        """Applies the layer."""
        y = self.lowering.conv3x3(x, self.kernel[...], stride)
        return y + _per_channel(self.bias[...], y)


class SeparableConv3x3(nnx.Module):
    """A depthwise 3x3 convolution without bias, then a 1x1 convolution with one."""

    def __init__(
        self, in_channels: int, out_channels: int, *, lowering: Lowering, zero: bool = False, init: Initializer
    ) -> None:
        self.depthwise = nnx.Param(init((3, 3, in_channels), std=1 / 3))
        self.pointwise = Linear(in_channels, out_channels, zero=zero, init=init)
        self.lowering = lowering

    def __call__(self, x: Image) -> Float[Array, "batch height width out"]:
        """Applies the layer."""
        return self.pointwise(self.lowering.depthwise3x3(x, self.depthwise[...]))


class GroupNorm(nnx.Module):
    """Group normalisation with learned scale and bias per channel (Wu and He 2018)."""

    def __init__(self, channels: int, *, groups: int, epsilon: float, init: Initializer) -> None:
        self.scale = nnx.Param(init((channels,), std=0.0, mean=1.0))
        self.bias = nnx.Param(init((channels,), std=0.0))
        self.groups = groups
        self.epsilon = epsilon

    def __call__(self, x: Image) -> Image:
        """Normalises each group of channels of each image to mean 0 and variance 1."""
        scale, bias = (values[...].reshape(1, self.groups, -1) for values in (self.scale, self.bias))
        return normalise_groups(x, scale, bias, average=lambda moments: moments.mean(2, keepdims=True), epsilon=self.epsilon)


def normalise_groups(
    x: Image,
    scale: Float[Array, "1 groups size"],
    bias: Float[Array, "1 groups size"],
    *,
    average: Callable[[Float[Array, "batch groups size"]], Float[Array, "batch groups _"]],
    epsilon: float,
) -> Image:
    """Group normalisation from per-channel moments; `average` turns a channel's moments into those of its group."""
    batch, channels, groups = x.shape[0], x.shape[-1], scale.shape[1]
    exact = _exact(x)
    mean = average(exact.mean((1, 2)).reshape(batch, groups, -1))
    square = average((exact * exact).mean((1, 2)).reshape(batch, groups, -1))
    factor = scale * lax.rsqrt(jnp.maximum(square - mean * mean, 0.0) + epsilon)
    offset = bias - mean * factor
    factor, offset = (values.reshape(batch, 1, 1, channels).astype(x.dtype) for values in (factor, offset))
    return x * factor + offset


class LayerNorm(nnx.Module):
    """Layer normalisation with learned scale and bias."""

    def __init__(self, features: int, *, init: Initializer, epsilon: float = 1e-5) -> None:
        self.scale = nnx.Param(init((features,), std=0.0, mean=1.0))
        self.bias = nnx.Param(init((features,), std=0.0))
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "batch tokens features"]) -> Float[Array, "batch tokens features"]:
        """Normalises each token."""
        exact = _exact(x)
        centred = exact - exact.mean(-1, keepdims=True)
        normalised = (centred * lax.rsqrt((centred * centred).mean(-1, keepdims=True) + self.epsilon)).astype(x.dtype)
        return normalised * _per_channel(self.scale[...], x) + _per_channel(self.bias[...], x)


def upsample_nearest(x: Image) -> Float[Array, "batch rows columns channels"]:
    """Doubles height and width; by concatenation, which mobile runtimes execute as copies."""
    batch, height, width, channels = x.shape
    wide = jnp.concatenate([x, x], -1).reshape(batch, height, 1, 2 * width * channels)
    return jnp.concatenate([wide, wide], 2).reshape(batch, 2 * height, 2 * width, channels)


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The exact GELU, in the one form that a mobile converter keeps in a single partition."""
    return 0.5 * x * (1 + lax.erf(x * (0.5**0.5)))
