"""The blocks of a UNet: time embedding, residual block, spatial transformer, resampling, output head.

Each takes the specification that the layer plan gives it, so a network is the plan's blocks in the plan's order. Wiring
follows Stable Diffusion 1.5; ReLU attention divides by the number of keys (Wortsman et al. 2023).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from search_space import Scale
from search_space.plan import ConvolutionSpec, OutputSpec, ResidualSpec, Spec, TimeSpec, TransformerSpec
from supernet.convolution import Image, Lowering
from supernet.initializer import Initializer
from supernet.layers import Conv3x3, GroupNorm, LayerNorm, Linear, SeparableConv3x3, gelu, upsample_nearest

Tokens = Float[Array, "batch tokens features"]
Context = Float[Array, "batch keys context_features"]
Layer = Callable[[Array], Array]
TRANSFORMER_NORM_EPSILON = 1e-6


class TimeEmbedding(nnx.Module):
    """Sinusoids of the time step (cosines first, as in Stable Diffusion), then a two-layer perceptron."""

    def __init__(self, spec: TimeSpec, *, init: Initializer) -> None:
        self.dense1 = Linear(spec.features, spec.width, init=init)
        self.dense2 = Linear(spec.width, spec.width, init=init)
        self.features = spec.features

    def __call__(self, timestep: Float[Array, " batch"]) -> Float[Array, "batch time"]:
        """Embeds time steps in [0, 1000]."""
        half = self.features // 2
        frequencies = jnp.exp(-jnp.log(10000.0) * jnp.arange(half, dtype=timestep.dtype) / half)
        angles = timestep[:, None] * frequencies[None, :]
        sinusoids = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)
        # A time step would not fit into a lower precision; from here on the layers' own is enough.
        return self.dense2(jax.nn.silu(self.dense1(sinusoids.astype(self.dense1.kernel[...].dtype))))


class ResidualBlock(nnx.Module):
    """Norm, SiLU, convolution, time, norm, SiLU, convolution, shortcut."""

    def __init__(self, spec: ResidualSpec, scale: Scale, *, lowering: Lowering, init: Initializer) -> None:
        convolution = SeparableConv3x3 if spec.convolution == "separable" else Conv3x3
        full, out = spec.in_channels + spec.skip_channels, spec.out_channels
        self.norm1 = GroupNorm(full, groups=scale.groups(full), epsilon=scale.norm_epsilon, init=init)
        self.conv1 = convolution(full, out, lowering=lowering, init=init)
        self.time = Linear(scale.time_width, out, init=init)
        self.norm2 = GroupNorm(out, groups=scale.groups(out), epsilon=scale.norm_epsilon, init=init)
        self.conv2 = convolution(out, out, lowering=lowering, zero=True, init=init)
        self.shortcut = Linear(full, out, init=init) if full != out else None

    def __call__(
        self, x: Image, time: Float[Array, "batch time"], skip: Float[Array, "batch height width skip"] | None = None
    ) -> Float[Array, "batch height width out"]:
        """Applies the block to the stream, with the skip concatenated behind it."""
        if skip is not None:
            x = jnp.concatenate([x, skip], -1)
        return residual(
            x, time, norm1=self.norm1, conv1=self.conv1, time_dense=self.time, norm2=self.norm2, conv2=self.conv2,
            shortcut=(lambda x: x) if self.shortcut is None else self.shortcut,
        )  # fmt: skip


def residual(
    x: Array, time: Array, *, norm1: Layer, conv1: Layer, time_dense: Layer, norm2: Layer, conv2: Layer, shortcut: Layer
) -> Array:
    """What a residual block computes, whatever its layers are: those of one architecture, or elastic ones."""
    h = conv1(jax.nn.silu(norm1(x)))
    h = h + time_dense(jax.nn.silu(time))[:, None, None, :]
    h = conv2(jax.nn.silu(norm2(h)))
    return h + shortcut(x)


class Attention(nnx.Module):
    """Layer norm, multi-head attention of the sequence to a context (or to itself), residual."""

    def __init__(
        self, channels: int, context_width: int, *, heads: int, function: str, shared_kv: bool, init: Initializer
    ) -> None:
        self.norm = LayerNorm(channels, init=init)
        self.query = Linear(channels, channels, bias=False, init=init)
        self.key = Linear(context_width, channels, bias=False, init=init)
        self.value = None if shared_kv else Linear(context_width, channels, bias=False, init=init)
        self.out = Linear(channels, channels, zero=True, init=init)
        self.heads = heads
        self.function = function

    def __call__(self, x: Tokens, context: Context | None = None) -> Tokens:
        """Attends to `context`, or to the normalised sequence itself where there is none."""
        h = self.norm(x)
        return x + attend(
            h, h if context is None else context, query=self.query, key=self.key, value=self.value, out=self.out,
            heads=self.heads, weigh=ATTENTION_FUNCTIONS[self.function],
        )  # fmt: skip


def attend(
    h: Tokens, source: Context, *, query: Layer, key: Layer, value: Layer | None, out: Layer, heads: int, weigh: Layer
) -> Tokens:
    """Multi-head attention of a normalised sequence to a source.

    `weigh` turns scores into weights; without `value` the keys are the values too.
    """

    def split(x: Array) -> Array:
        return x.reshape(*x.shape[:2], heads, -1)

    keys = key(source)
    queries = query(h) * (h.shape[-1] // heads) ** -0.5
    weights = weigh(jnp.einsum("bqhd,bkhd->bhqk", split(queries), split(keys)))
    attended = jnp.einsum("bhqk,bkhd->bqhd", weights, split(keys if value is None else value(source)))
    return out(attended.reshape(h.shape))


def _relu_over_keys(scores: Array) -> Array:
    return jax.nn.relu(scores) * (1 / scores.shape[-1])


ATTENTION_FUNCTIONS: dict[str, Layer] = {"softmax": jax.nn.softmax, "relu": _relu_over_keys}
ACTIVATIONS: dict[str, Layer] = {"gelu": gelu, "silu": jax.nn.silu}


class FeedForward(nnx.Module):
    """Layer norm, gated feed-forward (Shazeer 2020), residual; value and gate are apart so that both can be sliced."""

    def __init__(self, channels: int, hidden: int, *, gating: str, init: Initializer) -> None:
        self.norm = LayerNorm(channels, init=init)
        self.expand = Linear(channels, hidden, init=init)
        self.gate = Linear(channels, hidden, init=init)
        self.contract = Linear(hidden, channels, zero=True, init=init)
        self.gating = gating

    def __call__(self, x: Tokens) -> Tokens:
        """Applies the block."""
        return x + feed_forward_of(
            self.norm(x), expand=self.expand, gate=self.gate, contract=self.contract, activation=ACTIVATIONS[self.gating]
        )


def feed_forward_of(h: Tokens, *, expand: Layer, gate: Layer, contract: Layer, activation: Layer) -> Tokens:
    """What a gated feed-forward computes of a normalised sequence."""
    return contract(expand(h) * activation(gate(h)))


class TransformerLayer(nnx.Module):
    """Self-attention, cross-attention and feed-forward, those of them that the specification names."""

    def __init__(self, spec: TransformerSpec, scale: Scale, *, init: Initializer) -> None:
        self.self_attention = None if spec.attention == "cross" else self_attention(spec, scale, init=init)
        self.cross_attention = None if spec.attention == "self" else cross_attention(spec, scale, init=init)
        self.feed_forward = feed_forward(spec, init=init)

    def __call__(self, x: Tokens, context: Context) -> Tokens:
        """Applies the layer."""
        if self.self_attention is not None:
            x = self.self_attention(x)
        if self.cross_attention is not None:
            x = self.cross_attention(x, context)
        return self.feed_forward(x)


def self_attention(spec: TransformerSpec, scale: Scale, *, init: Initializer) -> Attention:
    """The self-attention of a transformer layer."""
    return Attention(
        spec.channels, spec.channels, heads=scale.heads(spec.channels), function=spec.attention_function,
        shared_kv=spec.shared_kv, init=init,
    )  # fmt: skip


def cross_attention(spec: TransformerSpec, scale: Scale, *, init: Initializer) -> Attention:
    """The cross-attention of a transformer layer; it never shares keys and values."""
    return Attention(
        spec.channels, scale.context_width, heads=scale.heads(spec.channels), function=spec.attention_function,
        shared_kv=False, init=init,
    )  # fmt: skip


def feed_forward(spec: TransformerSpec, *, init: Initializer) -> FeedForward:
    """The feed-forward of a transformer layer."""
    return FeedForward(spec.channels, spec.expansion * spec.channels, gating=spec.gating, init=init)


class ProjectIn(nnx.Module):
    """Group norm and 1x1 convolution of an image, then its pixels as a sequence."""

    def __init__(self, channels: int, scale: Scale, *, init: Initializer) -> None:
        self.norm = GroupNorm(channels, groups=scale.groups(channels), epsilon=TRANSFORMER_NORM_EPSILON, init=init)
        self.dense = Linear(channels, channels, init=init)

    def __call__(self, x: Image) -> Tokens:
        """Applies the block."""
        return self.dense(self.norm(x)).reshape(x.shape[0], -1, x.shape[-1])


class ProjectOut(nnx.Module):
    """The sequence as an image again, 1x1 convolution, added to the stream."""

    def __init__(self, channels: int, *, init: Initializer) -> None:
        self.dense = Linear(channels, channels, init=init)

    def __call__(self, tokens: Tokens, x: Image) -> Image:
        """Applies the block."""
        return x + self.dense(tokens.reshape(x.shape))


class Transformer(nnx.Module):
    """A spatial transformer: in, layers, out."""

    def __init__(self, spec: TransformerSpec, scale: Scale, *, init: Initializer) -> None:
        self.project_in = ProjectIn(spec.channels, scale, init=init)
        self.layers = nnx.List([TransformerLayer(spec, scale, init=init) for _ in range(spec.depth)])
        self.project_out = ProjectOut(spec.channels, init=init)

    def __call__(self, x: Image, context: Context) -> Image:
        """Applies the block."""
        tokens = self.project_in(x)
        for layer in self.layers:
            tokens = layer(tokens, context)
        return self.project_out(tokens, x)


class Convolution(nnx.Module):
    """A 3x3 convolution that keeps, halves or (after nearest-neighbour upsampling) doubles the resolution."""

    def __init__(self, spec: ConvolutionSpec, *, lowering: Lowering, init: Initializer) -> None:
        self.conv = Conv3x3(spec.in_channels, spec.out_channels, lowering=lowering, init=init)
        self.resample = spec.resample

    def __call__(self, x: Image) -> Float[Array, "batch rows columns out"]:
        """Applies the block."""
        if self.resample == "up":
            return self.conv(upsample_nearest(x))
        return self.conv(x, 2 if self.resample == "down" else 1)


class OutputHead(nnx.Module):
    """Group norm, SiLU, 3x3 convolution; it starts at zero."""

    def __init__(self, spec: OutputSpec, scale: Scale, *, lowering: Lowering, init: Initializer) -> None:
        self.norm = GroupNorm(spec.in_channels, groups=scale.groups(spec.in_channels), epsilon=scale.norm_epsilon, init=init)
        self.conv = Conv3x3(spec.in_channels, spec.out_channels, lowering=lowering, zero=True, init=init)

    def __call__(self, x: Image) -> Float[Array, "batch height width out"]:
        """Applies the block."""
        return self.conv(jax.nn.silu(self.norm(x)))


Block = TimeEmbedding | ResidualBlock | Transformer | Convolution | OutputHead


def build_block(spec: Spec, scale: Scale, *, lowering: Lowering, init: Initializer) -> Block:
    """The block of a specification, with fresh parameters."""
    match spec:
        case TimeSpec():
            return TimeEmbedding(spec, init=init)
        case ConvolutionSpec():
            return Convolution(spec, lowering=lowering, init=init)
        case ResidualSpec():
            return ResidualBlock(spec, scale, lowering=lowering, init=init)
        case TransformerSpec():
            return Transformer(spec, scale, init=init)
        case OutputSpec():
            return OutputHead(spec, scale, lowering=lowering, init=init)
