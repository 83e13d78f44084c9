"""The kernels of a network: its fused operations as a runtime executes them, by written fusion rules.

The rules were read off LiteRT's graphs and XNNPACK's kernel names for networks of this family: a bias right behind a
convolution is part of it, a 1x1 convolution is a fully connected kernel, SiLU is a sigmoid and a product, the moments
of a norm are two reductions, x * x being part of the second. GELU is counted as one kernel; written through erf it is
28 elementwise ones in a row, which its cost per element absorbs.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

from search_space import BlockPlan, LayerPlan, Operation

KernelKind = Literal[
    "convolution", "depthwise_convolution", "fully_connected", "matrix_vector", "attention_scores", "attention_values",
    "softmax", "clamp", "sigmoid", "gelu", "elementwise", "reduction", "copy", "transpose", "tiny",
]  # fmt: skip
Shape = tuple[int, ...]
_FLOAT_BYTES = 4
_TINY_ELEMENTS = 4096  # below this a kernel's time is its dispatch


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel on one example, float32.

    Attributes:
      kind: Class of kernels that share their cost coefficients.
      macs: Multiply-accumulates; 0 for kernels without a matrix product.
      bytes: Bytes of input, output and weights together.
      elements: Elements of the larger of input and output: what a kernel without a matrix product walks over.
      in_shape: Of the main input.
      out_shape: Of the output.
    """

    kind: KernelKind
    macs: int
    bytes: int
    elements: int
    in_shape: Shape
    out_shape: Shape


def kernels(plan: LayerPlan) -> tuple[Kernel, ...]:
    """The kernels of a plan in execution order; their MACs add up to the plan's exactly."""
    return tuple(kernel for block in plan.blocks for kernel in block_kernels(block))


def block_kernels(block: BlockPlan) -> tuple[Kernel, ...]:
    """The kernels of one block."""
    uses_gelu = getattr(block.spec, "gating", "silu") == "gelu"
    out: list[Kernel] = []
    for operation in block.operations:
        if operation.kind == "activation":
            out += _gelu(operation) if uses_gelu else _silu(operation)
        else:
            out += _RULES[operation.kind](operation)
    return tuple(out)


def _walk(kind: KernelKind, in_shape: Shape, out_shape: Shape, *, num_inputs: int = 1) -> Kernel:
    """A kernel without a matrix product."""
    inputs, outputs = math.prod(in_shape), math.prod(out_shape)
    elements = max(inputs, outputs)
    shown: KernelKind = "tiny" if elements < _TINY_ELEMENTS else kind
    return Kernel(shown, 0, _FLOAT_BYTES * (num_inputs * inputs + outputs), elements, in_shape, out_shape)


def _matrix(kind: KernelKind, operation: Operation) -> Kernel:
    elements = max(math.prod(operation.in_shape), math.prod(operation.out_shape))
    moved = operation.input_bytes + operation.output_bytes + operation.weight_bytes
    return Kernel(kind, operation.macs, moved, elements, operation.in_shape, operation.out_shape)


def _convolution(operation: Operation) -> list[Kernel]:
    return [_matrix("convolution", operation)]


def _depthwise(operation: Operation) -> list[Kernel]:
    return [_matrix("depthwise_convolution", operation)]


def _linear(operation: Operation) -> list[Kernel]:
    positions = math.prod(operation.in_shape[:-1])
    return [_matrix("fully_connected" if positions > 1 else "matrix_vector", operation)]


def _group_norm(operation: Operation) -> list[Kernel]:
    """Two reductions per channel, a handful of tiny kernels for the groups, then scale and shift."""
    shape = operation.in_shape
    channels = (shape[-1],)
    reductions = [_walk("reduction", shape, channels)] * 2
    groups = [_walk("elementwise", channels, channels)] * 7
    return [*reductions, *groups, *_elementwise(shape, 2)]


def _layer_norm(operation: Operation) -> list[Kernel]:
    """Two reductions per token, then subtract, scale and shift."""
    shape = operation.in_shape
    tokens = (*shape[:-1], 1)
    reductions = [_walk("reduction", shape, tokens)] * 2
    return [*reductions, *[_walk("elementwise", tokens, tokens)] * 2, *_elementwise(shape, 3)]


def _scores(operation: Operation) -> list[Kernel]:
    """Heads are split off queries and keys by a transposition each, then one batched product."""
    keys = (operation.keys, operation.heads * operation.head_width)
    copies = [_walk("transpose", shape, shape) for shape in (operation.in_shape, keys)]
    return [*copies, _batched("attention_scores", operation, keys)]


def _values(operation: Operation) -> list[Kernel]:
    values = (operation.keys, operation.heads * operation.head_width)
    product = _batched("attention_values", operation, values)
    return [_walk("transpose", values, values), product, _walk("transpose", operation.out_shape, operation.out_shape)]


def _batched(kind: KernelKind, operation: Operation, second: Shape) -> Kernel:
    kernel = _matrix(kind, operation)
    return dataclasses.replace(kernel, bytes=kernel.bytes + _FLOAT_BYTES * math.prod(second))


def _relu(operation: Operation) -> list[Kernel]:
    """The clamp and the division by the number of keys."""
    return [_walk("clamp", operation.in_shape, operation.out_shape), *_elementwise(operation.in_shape, 1)]


def _silu(operation: Operation) -> list[Kernel]:
    return [_walk("sigmoid", operation.in_shape, operation.out_shape), *_elementwise(operation.in_shape, 1)]


def _gelu(operation: Operation) -> list[Kernel]:
    return [_walk("gelu", operation.in_shape, operation.out_shape)]


def _softmax(operation: Operation) -> list[Kernel]:
    return [_walk("softmax", operation.in_shape, operation.out_shape)]


def _binary(operation: Operation) -> list[Kernel]:
    return [_walk("elementwise", operation.in_shape, operation.out_shape, num_inputs=2)]


def _copy(operation: Operation) -> list[Kernel]:
    return [_walk("copy", operation.in_shape, operation.out_shape)]


def _upsample(operation: Operation) -> list[Kernel]:
    """Columns are doubled by one concatenation, rows by another."""
    height, width, channels = operation.in_shape
    wide = (height, 2 * width, channels)
    return [_walk("copy", operation.in_shape, wide), _walk("copy", wide, operation.out_shape)]


def _time_embedding(operation: Operation) -> list[Kernel]:
    """Product with the frequencies, sine, cosine, concatenation."""
    return _elementwise(operation.out_shape, 4)


def _elementwise(shape: Shape, count: int) -> list[Kernel]:
    return [_walk("elementwise", shape, shape)] * count


_RULES: dict[str, Callable[[Operation], list[Kernel]]] = {
    "conv3x3": _convolution,
    "depthwise3x3": _depthwise,
    "linear": _linear,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "attention_scores": _scores,
    "attention_values": _values,
    "softmax": _softmax,
    "relu": _relu,
    "gate": _binary,
    "add": _binary,
    "concat": _copy,
    "upsample": _upsample,
    "time_embedding": _time_embedding,
}
