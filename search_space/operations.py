"""The operations of each kind of block, with shapes, dataflow and counts: what a runtime executes and a counter counts.

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
        name: within its block: "conv1", "layer0.self_attention.scores"; its output is called the same.
        kind: what it computes.
        in_shape: of the main input (of the concatenated inputs for those that take two).
        out_shape: of the output.
        reads: names of the tensors that go in: outputs of operations before it, or what comes into the block, which is
            called "stream", "skip", "time_embedding", "context" or "timestep".
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
    reads: tuple[str, ...]
    macs: int = 0
    parameters: int = 0
    tokens: int = 0
    keys: int = 0
    heads: int = 0
    head_width: int = 0

    @property
    def input_bytes(self) -> int:
        """Bytes of the input in float32."""
        return float_bytes(self.in_shape)

    @property
    def output_bytes(self) -> int:
        """Bytes of the output in float32."""
        return float_bytes(self.out_shape)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters in float32."""
        return _FLOAT_BYTES * self.parameters

    @property
    def matrix_weights(self) -> int:
        """Weights that convolutions and dense layers multiply with; the rest of the parameters are biases and norms."""
        return self.macs // math.prod(self.out_shape[:-1]) if self.parameters else 0


def float_bytes(shape: Shape) -> int:
    """Bytes of a tensor in float32."""
    return _FLOAT_BYTES * math.prod(shape)


def conv3x3(name: str, in_channels: int, out_channels: int, out_resolution: int, *, reads: str, stride: int = 1) -> Operation:
    """A full 3x3 convolution with bias; `out_resolution` is that of its output."""
    n, r = out_resolution**2, out_resolution * stride
    weights = 9 * in_channels * out_channels
    return Operation(
        name, "conv3x3", (r, r, in_channels), (out_resolution, out_resolution, out_channels), (reads,), n * weights,
        weights + out_channels,
    )  # fmt: skip


def linear(name: str, in_shape: Shape, out_channels: int, *, reads: str, bias: bool = True) -> Operation:
    """A dense layer on the last axis; a 1x1 convolution is one."""
    weights = in_shape[-1] * out_channels
    return Operation(
        name, "linear", in_shape, (*in_shape[:-1], out_channels), (reads,), math.prod(in_shape[:-1]) * weights,
        weights + bias * out_channels,
    )  # fmt: skip


def residual_operations(
    in_channels: int, skip_channels: int, out_channels: int, convolution: str, resolution: int, scale: Scale
) -> tuple[Operation, ...]:
    """Concatenation, norm, SiLU, convolution, time, norm, SiLU, convolution, shortcut."""
    full = in_channels + skip_channels
    for channels in (full, out_channels):
        scale.groups(channels)  # refuses a width that the norm rule does not fit
    image, out, time = (resolution, resolution, full), (resolution, resolution, out_channels), (scale.time_width,)
    joined = "concat" if skip_channels else "stream"
    conv1 = _block_convolution("conv1", full, out_channels, convolution, resolution, reads="activation1")
    conv2 = _block_convolution("conv2", out_channels, out_channels, convolution, resolution, reads="activation2")
    shortcut = (linear("shortcut", image, out_channels, reads=joined),) if full != out_channels else ()
    return (
        *((Operation("concat", "concat", image, image, ("stream", "skip")),) if skip_channels else ()),
        _norm("norm1", image, reads=joined),
        _same("activation1", "activation", image, "norm1"),
        *conv1,
        _same("time_activation", "activation", time, "time_embedding"),
        linear("time", time, out_channels, reads="time_activation"),
        _same("time_add", "add", out, conv1[-1].name, "time"),
        _norm("norm2", out, reads="time_add"),
        _same("activation2", "activation", out, "norm2"),
        *conv2,
        *shortcut,
        _same("add", "add", out, conv2[-1].name, "shortcut" if shortcut else joined),
    )


def transformer_operations(spec: Any, resolution: int, scale: Scale) -> tuple[Operation, ...]:
    """Norm, projection in, `spec.depth` layers, projection out, residual."""
    image = (resolution, resolution, spec.channels)
    sequence, context = (resolution**2, spec.channels), (scale.context_length, scale.context_width)
    operations = [
        _norm("norm", image, reads="stream"),
        linear("project_in", image, spec.channels, reads="norm"),
    ]
    for i in range(spec.depth):
        if spec.attention != "cross":
            operations += _attention(
                f"layer{i}.self_attention", sequence, None, spec, scale, shared=spec.shared_kv, stream=operations[-1].name
            )
        if spec.attention != "self":
            operations += _attention(
                f"layer{i}.cross_attention", sequence, context, spec, scale, shared=False, stream=operations[-1].name
            )
        hidden = spec.expansion * spec.channels
        operations += _feed_forward(f"layer{i}.feed_forward", sequence, hidden, stream=operations[-1].name)
    return (
        *operations,
        linear("project_out", image, spec.channels, reads=operations[-1].name),
        _same("add", "add", image, "project_out", "stream"),
    )


def convolution_operations(in_channels: int, out_channels: int, resample: str, resolution: int) -> tuple[Operation, ...]:
    """A 3x3 convolution that keeps or halves the resolution, or follows a nearest-neighbour upsampling."""
    if resample == "down":
        return (conv3x3("conv", in_channels, out_channels, resolution // 2, stride=2, reads="stream"),)
    if resample == "keep":
        return (conv3x3("conv", in_channels, out_channels, resolution, reads="stream"),)
    large = 2 * resolution
    small_image, large_image = (resolution, resolution, in_channels), (large, large, in_channels)
    return (
        Operation("upsample", "upsample", small_image, large_image, ("stream",)),
        conv3x3("conv", in_channels, out_channels, large, reads="upsample"),
    )


def output_operations(in_channels: int, out_channels: int, resolution: int) -> tuple[Operation, ...]:
    """Norm, SiLU, 3x3 convolution."""
    image = (resolution, resolution, in_channels)
    return (
        _norm("norm", image, reads="stream"),
        _same("activation", "activation", image, "norm"),
        conv3x3("conv", in_channels, out_channels, resolution, reads="activation"),
    )


def time_operations(features: int, width: int) -> tuple[Operation, ...]:
    """Sinusoids and a perceptron with SiLU between its layers."""
    return (
        Operation("sinusoids", "time_embedding", (1,), (features,), ("timestep",)),
        linear("dense1", (features,), width, reads="sinusoids"),
        _same("activation", "activation", (width,), "dense1"),
        linear("dense2", (width,), width, reads="activation"),
    )


def _same(name: str, kind: Kind, shape: Shape, *reads: str) -> Operation:
    return Operation(name, kind, shape, shape, reads)


def _norm(name: str, shape: Shape, *, reads: str, kind: Kind = "group_norm") -> Operation:
    return Operation(name, kind, shape, shape, (reads,), parameters=2 * shape[-1])


def _block_convolution(
    name: str, in_channels: int, out_channels: int, convolution: str, resolution: int, *, reads: str
) -> tuple[Operation, ...]:
    if convolution == "full":
        return (conv3x3(name, in_channels, out_channels, resolution, reads=reads),)
    image = (resolution, resolution, in_channels)
    weights = 9 * in_channels
    depthwise = f"{name}.depthwise"
    return (
        Operation(depthwise, "depthwise3x3", image, image, (reads,), resolution**2 * weights, weights),
        linear(f"{name}.pointwise", image, out_channels, reads=depthwise),
    )


def _attention(
    name: str, sequence: Shape, context: Shape | None, spec: Any, scale: Scale, *, shared: bool, stream: str
) -> list[Operation]:
    """Attention of a sequence to a context, or to itself where there is none."""
    source, source_name = (context, "context") if context else (sequence, f"{name}.norm")
    (tokens, channels), keys, heads = sequence, source[0], scale.heads(spec.channels)
    sizes = {"tokens": tokens, "keys": keys, "heads": heads, "head_width": channels // heads}
    scores, macs = (heads, tokens, keys), tokens * keys * channels
    function: Kind = "softmax" if spec.attention_function == "softmax" else "relu"
    value = f"{name}.key" if shared else f"{name}.value"
    products = (f"{name}.query", f"{name}.key"), (f"{name}.{function}", value)
    return [
        _norm(f"{name}.norm", sequence, reads=stream, kind="layer_norm"),
        linear(f"{name}.query", sequence, channels, reads=f"{name}.norm", bias=False),
        linear(f"{name}.key", source, channels, reads=source_name, bias=False),
        *([] if shared else [linear(value, source, channels, reads=source_name, bias=False)]),
        Operation(f"{name}.scores", "attention_scores", sequence, scores, products[0], macs, **sizes),
        Operation(f"{name}.{function}", function, scores, scores, (f"{name}.scores",), **sizes),
        Operation(f"{name}.values", "attention_values", scores, sequence, products[1], macs, **sizes),
        linear(f"{name}.out", sequence, channels, reads=f"{name}.values"),
        _same(f"{name}.add", "add", sequence, f"{name}.out", stream),
    ]


def _feed_forward(name: str, sequence: Shape, hidden: int, *, stream: str) -> list[Operation]:
    wide, expanded = (sequence[0], hidden), f"{name}.expand"
    return [
        _norm(f"{name}.norm", sequence, reads=stream, kind="layer_norm"),
        linear(expanded, sequence, 2 * hidden, reads=f"{name}.norm"),
        _same(f"{name}.activation", "activation", wide, expanded),
        _same(f"{name}.gate", "gate", wide, expanded, f"{name}.activation"),
        linear(f"{name}.contract", wide, sequence[1], reads=f"{name}.gate"),
        _same(f"{name}.add", "add", sequence, f"{name}.contract", stream),
    ]
