"""The operations of each kind of block, with shapes and counts: what a runtime executes and a counter counts.

Layouts follow Stable Diffusion 1.5 (Rombach et al. 2022): a residual block adds the projected time embedding between its
convolutions; a spatial transformer projects in, runs its layers on the sequence of pixels, projects out and adds.
"""

import dataclasses
import math
from typing import Any, Literal

from search_space.scale import Scale

Kind = Literal[
    "conv3x3", "depthwise3x3", "linear", "group_norm", "layer_norm", "attention_scores", "attention_values", "softmax",
    "relu", "activation", "gate", "add", "concat", "upsample", "time_embedding",
]  # fmt: skip
Shape = tuple[int, ...]
_FLOAT_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation on one example.

    Attributes:
        name: within its block: "conv1", "layer0.self_attention.scores".
        kind: what it computes.
        in_shape: of the main input (of the concatenated inputs for those that take two).
        out_shape: of the output.
        macs: multiply-accumulates of matmuls and convolutions; 0 for the rest.
        parameters: learned numbers.
        tokens: queries of an attention, else 0.
        keys: keys of an attention, else 0.
        heads: heads of an attention, else 0.
        head_width: channels of a head, else 0.
    """

    name: str
    kind: Kind
    in_shape: Shape
    out_shape: Shape
    macs: int = 0
    parameters: int = 0
    tokens: int = 0
    keys: int = 0
    heads: int = 0
    head_width: int = 0

    @property
    def input_bytes(self) -> int:
        """Bytes of the input in float32."""
        return _FLOAT_BYTES * math.prod(self.in_shape)

    @property
    def output_bytes(self) -> int:
        """Bytes of the output in float32."""
        return _FLOAT_BYTES * math.prod(self.out_shape)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters in float32."""
        return _FLOAT_BYTES * self.parameters


def conv3x3(name: str, in_channels: int, out_channels: int, out_resolution: int, *, stride: int = 1) -> Operation:
    """A full 3x3 convolution with bias; `out_resolution` is that of its output."""
    n, r = out_resolution**2, out_resolution * stride
    weights = 9 * in_channels * out_channels
    return Operation(
        name,
        "conv3x3",
        (r, r, in_channels),
        (out_resolution, out_resolution, out_channels),
        n * weights,
        weights + out_channels,
    )


def linear(name: str, in_shape: Shape, out_channels: int, *, bias: bool = True) -> Operation:
    """A dense layer on the last axis; a 1x1 convolution is one."""
    weights = in_shape[-1] * out_channels
    positions = math.prod(in_shape[:-1])
    return Operation(
        name, "linear", in_shape, (*in_shape[:-1], out_channels), positions * weights, weights + bias * out_channels
    )


def residual_operations(
    in_channels: int, skip_channels: int, out_channels: int, convolution: str, resolution: int, scale: Scale
) -> tuple[Operation, ...]:
    """Concatenation, norm, SiLU, convolution, time, norm, SiLU, convolution, shortcut."""
    full = in_channels + skip_channels
    for channels in (full, out_channels):
        scale.groups(channels)  # refuses a width that the norm rule does not fit
    image, out = (resolution, resolution, full), (resolution, resolution, out_channels)
    operations = [Operation("concat", "concat", image, image)] if skip_channels else []
    operations += [_norm("norm1", image), _same("activation1", "activation", image)]
    operations += _block_convolution("conv1", full, out_channels, convolution, resolution)
    time = (scale.time_width,)
    operations += [
        _same("time_activation", "activation", time),
        linear("time", time, out_channels),
        _same("time_add", "add", out),
    ]
    operations += [_norm("norm2", out), _same("activation2", "activation", out)]
    operations += _block_convolution("conv2", out_channels, out_channels, convolution, resolution)
    if full != out_channels:
        operations.append(linear("shortcut", image, out_channels))
    return (*operations, _same("add", "add", out))


def transformer_operations(spec: Any, resolution: int, scale: Scale) -> tuple[Operation, ...]:
    """Norm, projection in, `spec.depth` layers, projection out, residual."""
    image = (resolution, resolution, spec.channels)
    sequence = (resolution**2, spec.channels)
    operations = [_norm("norm", image), linear("project_in", image, spec.channels)]
    for i in range(spec.depth):
        if spec.attention != "cross":
            operations += _attention(f"layer{i}.self_attention", sequence, sequence, spec, scale, shared=spec.shared_kv)
        if spec.attention != "self":
            context = (scale.context_length, scale.context_width)
            operations += _attention(f"layer{i}.cross_attention", sequence, context, spec, scale, shared=False)
        operations += _feed_forward(f"layer{i}.feed_forward", sequence, spec.expansion * spec.channels)
    return (*operations, linear("project_out", image, spec.channels), _same("add", "add", image))


def convolution_operations(in_channels: int, out_channels: int, resample: str, resolution: int) -> tuple[Operation, ...]:
    """A 3x3 convolution that keeps or halves the resolution, or follows a nearest-neighbour upsampling."""
    if resample == "down":
        return (conv3x3("conv", in_channels, out_channels, resolution // 2, stride=2),)
    if resample == "keep":
        return (conv3x3("conv", in_channels, out_channels, resolution),)
    large = 2 * resolution
    upsample = Operation("upsample", "upsample", (resolution, resolution, in_channels), (large, large, in_channels))
    return (upsample, conv3x3("conv", in_channels, out_channels, large))


def output_operations(in_channels: int, out_channels: int, resolution: int) -> tuple[Operation, ...]:
    """Norm, SiLU, 3x3 convolution."""
    image = (resolution, resolution, in_channels)
    return (
        _norm("norm", image),
        _same("activation", "activation", image),
        conv3x3("conv", in_channels, out_channels, resolution),
    )


def time_operations(features: int, width: int) -> tuple[Operation, ...]:
    """Sinusoids and a perceptron with SiLU between its layers."""
    return (
        Operation("sinusoids", "time_embedding", (1,), (features,)),
        linear("dense1", (features,), width),
        _same("activation", "activation", (width,)),
        linear("dense2", (width,), width),
    )


def _same(name: str, kind: Kind, shape: Shape) -> Operation:
    return Operation(name, kind, shape, shape)


def _norm(name: str, shape: Shape, kind: Kind = "group_norm") -> Operation:
    return Operation(name, kind, shape, shape, parameters=2 * shape[-1])


def _block_convolution(name: str, in_channels: int, out_channels: int, convolution: str, resolution: int) -> list[Operation]:
    if convolution == "full":
        return [conv3x3(name, in_channels, out_channels, resolution)]
    image = (resolution, resolution, in_channels)
    weights = 9 * in_channels
    depthwise = Operation(f"{name}.depthwise", "depthwise3x3", image, image, resolution**2 * weights, weights)
    return [depthwise, linear(f"{name}.pointwise", image, out_channels)]


def _attention(name: str, sequence: Shape, context: Shape, spec: Any, scale: Scale, *, shared: bool) -> list[Operation]:
    (tokens, channels), keys, heads = sequence, context[0], scale.heads(spec.channels)
    sizes = {"tokens": tokens, "keys": keys, "heads": heads, "head_width": channels // heads}
    scores, macs = (heads, tokens, keys), tokens * keys * channels
    function: Kind = "softmax" if spec.attention_function == "softmax" else "relu"
    operations = [
        _norm(f"{name}.norm", sequence, "layer_norm"),
        linear(f"{name}.query", sequence, channels, bias=False),
        linear(f"{name}.key", context, channels, bias=False),
    ]
    if not shared:
        operations.append(linear(f"{name}.value", context, channels, bias=False))
    return [
        *operations,
        Operation(f"{name}.scores", "attention_scores", sequence, scores, macs, **sizes),
        Operation(f"{name}.{function}", function, scores, scores, **sizes),
        Operation(f"{name}.values", "attention_values", scores, sequence, macs, **sizes),
        linear(f"{name}.out", sequence, channels),
        _same(f"{name}.add", "add", sequence),
    ]


def _feed_forward(name: str, sequence: Shape, hidden: int) -> list[Operation]:
    wide = (sequence[0], hidden)
    return [
        _norm(f"{name}.norm", sequence, "layer_norm"),
        linear(f"{name}.expand", sequence, 2 * hidden),
        _same(f"{name}.activation", "activation", wide),
        _same(f"{name}.gate", "gate", wide),
        linear(f"{name}.contract", wide, sequence[1]),
        _same(f"{name}.add", "add", sequence),
    ]
