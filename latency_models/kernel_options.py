"""How a device runs a network: in which precision, in what tiles, and with which kernels written by hand.

The options are those of "Speed Is All You Need" (Chen et al. 2023, arXiv 2304.11267), each a rewriting of the operations'
kernels: what is fused leaves memory alone, what is transformed costs memory. Without options, kernels are those of
`kernels`, but for a GELU, which is the five elementwise kernels of its formula x/2 (1 + erf(x/sqrt(2))).
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

from latency_models.kernels import Kernel, KernelKind, operation_kernels, walk
from search_space import BlockPlan, LayerPlan, Operation
from search_space.blocks import TransformerSpec
from search_space.memory import Step, live_bytes
from search_space.operations import float_bytes
from search_space.plan import network_inputs

KernelOption = Literal["fused_group_norm", "fused_gelu", "partially_fused_softmax", "flash_attention", "winograd"]
OPTIONS: dict[KernelOption, str] = {
    "fused_group_norm": "a norm of groups or of tokens reads its input once and writes its output, in one kernel",
    "fused_gelu": "the activation of a feed-forward's gate and the product with the gate are one kernel",
    "partially_fused_softmax": "a softmax is a reduction to each row's maximum and sum; the rest is part of the product with "
    "the values",
    "flash_attention": "an attention with heads of at most 40 channels is one kernel, whose scores never reach memory",
    "winograd": "3x3 convolutions of stride 1 work on 4x4 outputs at a time, with a quarter of the multiplications, where the "
    "image is large enough for its channels",
}
_FLASH_HEAD_WIDTH = 40  # heads of 40 channels only: wider ones need too many registers
_GELU_PASSES = 5
_GROWTH = 2.25  # of an image cut into tiles of 6x6 that overlap by 2: 36 / 16
_WINOGRAD_WEIGHTS = 4  # 36 for each 9
# Multiplications saved for each byte more that is moved, from which on Winograd is used (the authors use it where it gains).
# At 16 bits, 8x8 and 16x16 images of Stable Diffusion are below, 32x32 and 64x64 above: chosen with the authors' peak of
# memory, 2,093 MB, in sight, which transformed weights of all convolutions would exceed by far.
_LEAST_SAVED_MACS = 50


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a device runs a network.

    Attributes:
      activation_bits: Of each element of an activation.
      weight_bits: Of each weight.
      tile: Channels that a matrix unit works on at once; others are padded to a multiple of it.
      options: Which kernels are written by hand.
    """

    activation_bits: int = 32
    weight_bits: int = 32
    tile: int = 1
    options: frozenset[KernelOption] = frozenset()

    def kernels(self, block: BlockPlan) -> tuple[Kernel, ...]:
        """The kernels of a block in execution order; their MACs count what is padded, and what Winograd saves."""
        kernels = (kernel for operation in block.operations for kernel in self._kernels(operation, block))
        return tuple(self._executed(kernel) for kernel in kernels)

    def peak_bytes(self, plan: LayerPlan) -> int:
        """Bytes of all weights and of most activations alive at once; counted, with nothing of a runtime's own."""
        inputs = {name: float_bytes(shape) for name, shape in network_inputs(plan.scale).items()}
        activations = max(live_bytes(self._steps(plan), inputs)) * self.activation_bits / 32
        convolutions = (o for block in plan.blocks for o in block.operations if self._is_winograd(o))
        again = sum((_WINOGRAD_WEIGHTS - 1) * operation.matrix_weights for operation in convolutions)
        return round(activations + (plan.parameters + again) * self.weight_bits / 8)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` turns back into this value."""
        return {**dataclasses.asdict(self), "options": sorted(self.options)}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Execution":
        """Reads what `to_json` wrote.

        Raises:
          TypeError: A key is unknown, or of a wrong type.
          ValueError: There is no such option.
        """
        return Execution(**{**record, "options": kernel_options(record["options"])})

    def _kernels(self, operation: Operation, block: BlockPlan) -> list[Kernel]:
        shape = operation.in_shape
        if operation.kind in ("group_norm", "layer_norm") and "fused_group_norm" in self.options:
            return [walk("reduction", shape, shape)]
        if isinstance(block.spec, TransformerSpec) and operation.kind in ("activation", "gate"):
            return self._gate(operation, block.spec.gating)
        if operation.heads and (rewritten := self._attention(operation)) is not None:
            return rewritten
        if self._is_winograd(operation):
            return _winograd(operation)
        return operation_kernels(operation, block)

    def _gate(self, operation: Operation, gating: str) -> list[Kernel]:
        shape = operation.in_shape
        kind: KernelKind = "gelu" if gating == "gelu" else "sigmoid"
        if "fused_gelu" in self.options:
            return [] if operation.kind == "activation" else [walk(kind, shape, shape, num_inputs=2)]
        if operation.kind == "gate":
            return [walk("elementwise", shape, shape, num_inputs=2)]
        passes = _GELU_PASSES if gating == "gelu" else 1
        first: list[Kernel] = [] if gating == "gelu" else [walk("sigmoid", shape, shape)]
        return [*first, *[walk("elementwise", shape, shape)] * passes]

    def _attention(self, operation: Operation) -> list[Kernel] | None:
        """The kernels of a part of an attention, where an option changes them."""
        if self._is_flash(operation):
            return [_flash(operation)] if operation.kind == "attention_values" else []
        if operation.kind == "softmax" and "partially_fused_softmax" in self.options:
            return [walk("reduction", operation.in_shape, (*operation.in_shape[:-1], 2))]
        return None

    def _is_flash(self, operation: Operation) -> bool:
        return bool(operation.heads) and "flash_attention" in self.options and operation.head_width <= _FLASH_HEAD_WIDTH

    def _is_winograd(self, operation: Operation) -> bool:
        """Whether a convolution is one that saves more than it moves."""
        if operation.kind != "conv3x3" or operation.in_shape[:-1] != operation.out_shape[:-1]:
            return False
        if "winograd" not in self.options:
            return False
        elements = math.prod(operation.in_shape) + math.prod(operation.out_shape)
        tiles_bytes = 2 * _GROWTH * elements * self.activation_bits / 8
        weights_bytes = (_WINOGRAD_WEIGHTS - 1) * operation.matrix_weights * self.weight_bits / 8
        return 0.75 * operation.macs >= _LEAST_SAVED_MACS * (tiles_bytes + weights_bytes)

    def _executed(self, kernel: Kernel) -> Kernel:
        """A kernel in this precision, padded to tiles."""
        moved = (kernel.bytes - kernel.weight_bytes) * self.activation_bits + kernel.weight_bytes * self.weight_bits
        macs = kernel.macs
        if macs and kernel.kind != "depthwise_convolution":
            padded = math.prod(-(-size // self.tile) * self.tile for size in (kernel.columns, kernel.depth))
            macs = macs * padded // (kernel.columns * kernel.depth)
        weights = kernel.weight_bytes * self.weight_bits // 32
        return dataclasses.replace(kernel, macs=macs, bytes=moved // 32, weight_bytes=weights)

    def _steps(self, plan: LayerPlan) -> Iterator[Step]:
        """The plan's steps without tensors that fusing saves, and with those that lie between the kernels of an operation."""
        operations = ((operation, block) for block in plan.blocks for operation in block.operations)
        instead: dict[str, tuple[str, ...]] = {}  # of a tensor that is never made: what its readers read
        for (made, reads, size), (operation, block) in zip(plan.steps(), operations, strict=True):
            found = reads_on = tuple(dict.fromkeys(name for read in reads for name in instead.get(read, (read,))))
            if self._is_fused(operation, block):
                instead[made] = found
                continue
            for i, bytes_between in enumerate(self._between(operation, block)):
                between = f"{made}.{i}"
                yield between, found, bytes_between
                # An activation's last product reads its input again; norms and Winograd are done with theirs.
                found = (between, *(reads_on if operation.kind == "activation" else ()))
            yield made, found, size

    def _is_fused(self, operation: Operation, block: BlockPlan) -> bool:
        """Whether an operation's output is never in memory: its reader computes it."""
        if operation.kind == "activation":
            return isinstance(block.spec, TransformerSpec) and "fused_gelu" in self.options
        if operation.kind == "softmax" and "partially_fused_softmax" in self.options:
            return True
        return operation.kind != "attention_values" and self._is_flash(operation)

    def _between(self, operation: Operation, block: BlockPlan) -> list[int]:
        """Bytes, in float32, of the tensors between an operation's kernels that are as large as its image."""
        if operation.kind in ("group_norm", "layer_norm"):
            return [] if "fused_group_norm" in self.options else [operation.output_bytes]
        if operation.kind == "activation":
            is_gelu = isinstance(block.spec, TransformerSpec) and block.spec.gating == "gelu"
            return [operation.output_bytes] * (_GELU_PASSES - 1 if is_gelu else 1)
        if self._is_winograd(operation):
            return [round(_GROWTH * size) for size in (operation.input_bytes, operation.output_bytes)]
        return []


def kernel_options(names: Iterable[str]) -> frozenset[KernelOption]:
    """Options by their names.

    Raises:
      ValueError: There is no such option; the message lists those there are, and the nearest.
    """
    found: set[KernelOption] = set()
    for name in names:
        known = next((option for option in get_args(KernelOption) if option == name), None)
        if known is None:
            nearest = difflib.get_close_matches(str(name), OPTIONS, n=1, cutoff=0)[0]
            raise ValueError(f"there is no kernel option {name!r}; known are {', '.join(OPTIONS)}; did you mean {nearest!r}?")
        found.add(known)
    return frozenset(found)


def _flash(operation: Operation) -> Kernel:
    """Queries, keys and values in, the attention's output out."""
    sequence, context = math.prod(operation.out_shape), operation.keys * operation.out_shape[-1]
    return Kernel(
        "attention_values", operation.heads, operation.tokens, operation.head_width, operation.keys, 2 * operation.macs,
        float_bytes((2 * sequence + 2 * context,)), 0, math.prod(operation.out_shape),
    )  # fmt: skip


def _winograd(operation: Operation) -> list[Kernel]:
    """The image is transformed to tiles, tiles are multiplied with transformed weights, products are transformed back."""
    (_, _, in_channels), (height, width, out_channels) = operation.in_shape, operation.out_shape
    rows = round(_GROWTH * height * width)
    tiles, products = (rows, in_channels), (rows, out_channels)
    weights = _WINOGRAD_WEIGHTS * operation.weight_bytes
    product = Kernel(
        "convolution", 36, rows // 36, out_channels, in_channels, operation.macs // 4,
        float_bytes(tiles) + float_bytes(products) + weights, weights, max(math.prod(tiles), math.prod(products)),
    )  # fmt: skip
    return [walk("transpose", operation.in_shape, tiles), product, walk("transpose", products, operation.out_shape)]
