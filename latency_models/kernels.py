"""The kernels of a network: its fused operations as a runtime executes them, by written fusion rules.

The rules were read off LiteRT's graphs and XNNPACK's profiles for networks of this family, whose kernels of each class
they match one to one and in order: a bias right behind a convolution is part of it, a 1x1 convolution is a fully connected
kernel, the gate and the value of a feed-forward are two of them, SiLU is a sigmoid and a product, the moments of a norm
are two reductions, x * x being part of the second; keys that serve as values are transposed once. GELU is counted as one
kernel; written through erf it is 28 elementwise ones in a row, which its cost per element absorbs.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

from search_space import BlockPlan, Operation

KernelKind = Literal[
    "convolution", "depthwise_convolution", "fully_connected", "attention_scores", "attention_values",
    "softmax", "clamp", "sigmoid", "gelu", "elementwise", "reduction", "copy", "transpose",
]  # fmt: skip
Shape = tuple[int, ...]
_FLOAT_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel on one example, float32.

    A kernel with a matrix product multiplies, for each of `batch`, (rows, depth) by (depth, columns); of the others, rows
    and columns are the leading and the last dimension of what they walk over, and depth is 0.

    Attributes:
      kind: Class of kernels that share their cost coefficients.
      batch: Number of products; an attention's heads.
      rows: Pixels or tokens.
      columns: Channels or keys.
      depth: What is summed over; nine times the channels for a 3x3 convolution, 9 for a depthwise one.
      macs: Multiply-accumulates; 0 for kernels without a matrix product.
      bytes: Bytes of input, output and weights together.
      weight_bytes: Bytes of the weights.
      elements: Elements of the larger of input and output: what a kernel without a matrix product walks over.
    """

    kind: KernelKind
    batch: int
    rows: int
    columns: int
    depth: int
    macs: int
    bytes: int
    weight_bytes: int
    elements: int


def block_kernels(block: BlockPlan) -> tuple[Kernel, ...]:
    """The kernels of a block in execution order; their MACs add up to the block's exactly."""
    return tuple(kernel for operation in block.operations for kernel in operation_kernels(operation, block))


def operation_kernels(operation: Operation, block: BlockPlan) -> list[Kernel]:
    """The kernels of one operation of a block."""
    if operation.kind == "activation" and getattr(block.spec, "gating", "silu") == "gelu":
        return _gelu(operation)
    return _RULES[operation.kind](operation)


def walk(kind: KernelKind, in_shape: Shape, out_shape: Shape, *, num_inputs: int = 1) -> Kernel:
    """A kernel without a matrix product."""
    inputs, outputs = math.prod(in_shape), math.prod(out_shape)
    larger = in_shape if inputs > outputs else out_shape
    moved = _FLOAT_BYTES * (num_inputs * inputs + outputs)
    return Kernel(kind, 1, math.prod(larger[:-1]), larger[-1], 0, 0, moved, 0, max(inputs, outputs))


def _matrix(
    kind: KernelKind, operation: Operation, rows: int, columns: int, depth: int, *, batch: int = 1, second: int = 0
) -> Kernel:
    """A kernel with a matrix product; `second` is the number of elements of its second input, where that is no weight."""
    elements = max(math.prod(operation.in_shape), math.prod(operation.out_shape))
    moved = operation.input_bytes + operation.output_bytes + operation.weight_bytes + _FLOAT_BYTES * second
    return Kernel(kind, batch, rows, columns, depth, operation.macs, moved, operation.weight_bytes, elements)


def _convolution(operation: Operation) -> list[Kernel]:
    rows, columns = math.prod(operation.out_shape[:-1]), operation.out_shape[-1]
    return [_matrix("convolution", operation, rows, columns, 9 * operation.in_shape[-1])]


def _depthwise(operation: Operation) -> list[Kernel]:
    rows, columns = math.prod(operation.out_shape[:-1]), operation.out_shape[-1]
    return [_matrix("depthwise_convolution", operation, rows, columns, 9)]


def _linear(operation: Operation) -> list[Kernel]:
    """One kernel, but for the feed-forward's expansion, whose halves are layers of their own."""
    rows, columns, depth = math.prod(operation.out_shape[:-1]), operation.out_shape[-1], operation.in_shape[-1]
    if not operation.name.endswith(".expand"):
        return [_matrix("fully_connected", operation, rows, columns, depth)]
    half = dataclasses.replace(
        operation, macs=operation.macs // 2, parameters=operation.parameters // 2,
        out_shape=(*operation.out_shape[:-1], columns // 2),
    )  # fmt: skip
    return [_matrix("fully_connected", half, rows, columns // 2, depth)] * 2


def _group_norm(operation: Operation) -> list[Kernel]:
    """Two reductions per channel, a handful of tiny kernels for the groups, then scale and shift."""
    shape = operation.in_shape
    channels = (shape[-1],)
    reductions = [walk("reduction", shape, channels)] * 2
    groups = [walk("elementwise", channels, channels)] * 10
    return [*reductions, *groups, *_elementwise(shape, 2)]


def _layer_norm(operation: Operation) -> list[Kernel]:
    """Two reductions per token, then subtract, scale and shift."""
    shape = operation.in_shape
    tokens = (*shape[:-1], 1)
    reductions = [walk("reduction", shape, tokens)] * 2
    return [*reductions, *[walk("elementwise", tokens, tokens)] * 3, *_elementwise(shape, 4)]


def _scores(operation: Operation) -> list[Kernel]:
    """Heads are split off queries and keys by a transposition each, then one batched product."""
    keys = (operation.keys, operation.heads * operation.head_width)
    copies = [walk("transpose", shape, shape) for shape in (operation.in_shape, keys)]
    product = _matrix(
        "attention_scores", operation, operation.tokens, operation.keys, operation.head_width,
        batch=operation.heads, second=math.prod(keys),
    )  # fmt: skip
    return [*_elementwise(operation.in_shape, 1), *copies, product]


def _values(operation: Operation) -> list[Kernel]:
    """Values are transposed, unless they are the keys, which were; heads are joined by another transposition."""
    values = (operation.keys, operation.heads * operation.head_width)
    product = _matrix(
        "attention_values", operation, operation.tokens, operation.head_width, operation.keys,
        batch=operation.heads, second=math.prod(values),
    )  # fmt: skip
    is_shared = operation.reads[1].endswith(".key")
    split = [] if is_shared else [walk("transpose", values, values)]
    return [*split, product, walk("transpose", operation.out_shape, operation.out_shape)]


def _relu(operation: Operation) -> list[Kernel]:
    """The clamp and the division by the number of keys."""
    return [walk("clamp", operation.in_shape, operation.out_shape), *_elementwise(operation.in_shape, 1)]


def _silu(operation: Operation) -> list[Kernel]:
    return [walk("sigmoid", operation.in_shape, operation.out_shape), *_elementwise(operation.in_shape, 1)]


def _gelu(operation: Operation) -> list[Kernel]:
    return [walk("gelu", operation.in_shape, operation.out_shape)]


def _softmax(operation: Operation) -> list[Kernel]:
    return [walk("softmax", operation.in_shape, operation.out_shape)]


def _binary(operation: Operation) -> list[Kernel]:
    return [walk("elementwise", operation.in_shape, operation.out_shape, num_inputs=2)]


def _copy(operation: Operation) -> list[Kernel]:
    return [walk("copy", operation.in_shape, operation.out_shape)]


def _upsample(operation: Operation) -> list[Kernel]:
    """Columns are doubled by one concatenation, rows by another."""
    height, width, channels = operation.in_shape
    wide = (height, 2 * width, channels)
    return [walk("copy", operation.in_shape, wide), walk("copy", wide, operation.out_shape)]


def _time_embedding(operation: Operation) -> list[Kernel]:
    """Product with the frequencies, sine, cosine, concatenation."""
    return [*_elementwise(operation.out_shape, 3), *_copy(operation)]


def _elementwise(shape: Shape, count: int) -> list[Kernel]:
    return [walk("elementwise", shape, shape)] * count


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
    "activation": _silu,
    "gate": _binary,
    "add": _binary,
    "concat": _copy,
    "upsample": _upsample,
    "time_embedding": _time_embedding,
}
