"""Counting in batches: parameters, MACs and memory of thousands of architectures at once, without a layer plan for each.

What a block costs depends on few genes. So the walk of the layer plan is done once for the whole batch: at each place the
blocks that stand there are told apart, each distinct one is counted from its operations, and the counts are dealt to the
architectures by indexing. What waits while a block runs (skips, time embedding, prompt) is arithmetic on arrays. Counts
are those of `LayerPlan`, to the last byte.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from search_space.architecture import STAGE_WORDS, Architecture, Level, Stage
from search_space.blocks import (
    ConvolutionSpec,
    OutputSpec,
    ResidualSpec,
    Spec,
    TimeSpec,
    TransformerSpec,
    block_inputs,
    block_operations,
)
from search_space.memory import live_bytes, weight_bytes
from search_space.operations import Operation, float_bytes
from search_space.plan import BlockPlan, check_levels, network_inputs
from search_space.scale import Scale
from search_space.space import SearchSpace

Numbers = Int[np.ndarray, " architectures"]
Mask = Bool[np.ndarray, " architectures"]
_FIELDS = tuple(field.name for field in dataclasses.fields(Stage))
# Of blocks at one resolution, each with the names of what comes in and dies there.
_BlockRows = Callable[[Sequence[tuple[Spec, frozenset[str]]], int], np.ndarray]
_NO_STAGE = (0,) * len(_FIELDS)


@dataclasses.dataclass(frozen=True)
class Counts:
    """Counts of a batch of architectures, one entry each; what each counts, `LayerPlan` says.

    Attributes:
        parameters: learned numbers.
        macs_conv_linear: multiply-accumulates of convolutions and linear layers.
        macs_attention: multiply-accumulates of the two matmuls of every attention.
        peak_activation_bytes: most bytes of float32 activations alive at once.
        weight_bytes: bytes of all parameters by dtype.
    """

    parameters: Numbers
    macs_conv_linear: Numbers
    macs_attention: Numbers
    peak_activation_bytes: Numbers
    weight_bytes: Mapping[str, Numbers]

    @property
    def macs(self) -> Numbers:
        """Multiply-accumulates, the attention matmuls included."""
        return self.macs_conv_linear + self.macs_attention


def count_genotypes(space: SearchSpace, genotypes: Int[np.ndarray, "architectures genes"], scale: Scale) -> Counts:
    """Counts architectures that are given as choice indices of a space.

    Raises:
        ValueError: a wrong number of genes, an index outside its gene's choices, the skip rule is broken, or the scale does
            not fit.
    """
    if genotypes.shape[1] != len(space.genes):
        raise ValueError(f"a genotype of space {space.name!r} has {len(space.genes)} genes, got {genotypes.shape[1]}")
    values = {"num_levels": np.full(len(genotypes), len(space.levels))}
    for gene, indices in zip(space.genes, genotypes.T, strict=True):
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(gene.choices):
            wrong = next(index for index in indices if not 0 <= index < len(gene.choices))
            raise ValueError(f"gene {gene.name!r} has choices 0 to {len(gene.choices) - 1}, got {wrong}")
        field = gene.name.split(".")[-1]
        values[gene.name] = np.array([_number(field, choice) for choice in gene.choices])[indices]
    return _count(values, len(space.levels), scale)


def count_architectures(architectures: Sequence[Architecture], scale: Scale) -> Counts:
    """Counts architectures, of one space or of many.

    Raises:
        ValueError: the scale does not fit.
    """
    most = max((len(architecture.levels) for architecture in architectures), default=1)
    return _count(_values_of(architectures, most), most, scale)


def sum_over_blocks(
    architectures: Sequence[Architecture],
    scale: Scale,
    price: Callable[[Sequence[BlockPlan]], Float[np.ndarray, "blocks columns"]],
) -> Float[np.ndarray, "architectures columns"]:
    """Sums, over the blocks of each architecture, anything that a block alone determines: what it takes on a device, say.

    Args:
        architectures: of one space or of many; at least one.
        scale: where they live.
        price: what is summed of each of several blocks; columns are always as many.

    Raises:
        ValueError: the scale does not fit.
    """

    def rows(specs: Sequence[tuple[Spec, frozenset[str]]], resolution: int) -> Float[np.ndarray, "blocks columns_and_peak"]:
        priced = price([_block(spec, resolution, scale) for spec, _ in specs])
        return np.concatenate([priced, np.zeros((len(specs), 1))], 1)

    columns = price([_block(TimeSpec(scale.time_features, scale.time_width), scale.resolution, scale)]).shape[1]
    return _walked(architectures, scale, rows, columns).totals


def peak_bytes(architectures: Sequence[Architecture], scale: Scale, scratch: Callable[[Operation], int]) -> Numbers:
    """Most bytes of float32 activations alive at once, with what each operation takes beside its inputs and its output.

    Args:
        architectures: of one space or of many; at least one.
        scale: where they live.
        scratch: bytes that an operation takes besides; fewer than none where its output takes the place of its input.

    Raises:
        ValueError: the scale does not fit.
    """

    def rows(specs: Sequence[tuple[Spec, frozenset[str]]], resolution: int) -> Int[np.ndarray, "blocks peak"]:
        blocks = [(_block(spec, resolution, scale), dying) for spec, dying in specs]
        return np.array([[_block_peak(block, dying, scale, scratch)] for block, dying in blocks])

    return _walked(architectures, scale, rows, 0).peak


def _walked(architectures: Sequence[Architecture], scale: Scale, rows: _BlockRows, columns: int) -> "_Walk":
    """The walk of a batch that is not empty, done, with sums of so many columns."""
    most = max(len(architecture.levels) for architecture in architectures)
    check_levels(scale, most)
    walk = _Walk(_values_of(architectures, most), most, scale, totals=np.zeros((len(architectures), columns)), rows=rows)
    walk.run()
    return walk


def _values_of(architectures: Sequence[Architecture], num_levels: int) -> dict[str, Numbers]:
    names = _names(num_levels)
    rows = np.array([_row(architecture, num_levels) for architecture in architectures], np.int64).reshape(-1, len(names))
    return dict(zip(names, rows.T, strict=True))


def _names(num_levels: int) -> list[str]:
    stages = [f"{side}{i}" for i in range(num_levels) for side in ("down", "up")]
    fields = [f"{stage}.{field}" for stage in (*stages, "mid") for field in _FIELDS]
    return ["num_levels", *(f"level{i}.width" for i in range(num_levels)), *fields]


def _row(architecture: Architecture, num_levels: int) -> list[int]:
    """An architecture as numbers, in the order of `_names`."""
    absent = (None,) * (num_levels - len(architecture.levels))
    levels: list[Level | None] = [*architecture.levels, *absent]
    stages = [stage for level in levels for stage in ((level.down, level.up) if level else (None, None))]
    row = [len(architecture.levels), *(level.width if level else 0 for level in levels)]
    for stage in (*stages, architecture.mid):
        row += [_number(field, getattr(stage, field)) for field in _FIELDS] if stage else _NO_STAGE
    return row


def _number(field: str, value: Any) -> int:
    return STAGE_WORDS[field].index(value) if field in STAGE_WORDS else int(value)


def _count(values: Mapping[str, Numbers], num_levels: int, scale: Scale) -> Counts:
    if len(values["num_levels"]):
        check_levels(scale, int(values["num_levels"].max()))
    totals = np.zeros((len(values["num_levels"]), 5), np.int64)

    def rows(specs: Sequence[tuple[Spec, frozenset[str]]], resolution: int) -> Int[np.ndarray, "blocks columns_and_peak"]:
        return np.array([_block_counts(spec, resolution, scale, dying) for spec, dying in specs])

    walk = _Walk(values, num_levels, scale, totals=totals, rows=rows)
    walk.run()
    parameters, macs_conv_linear, macs_attention, matrix_weights, matrix_channels = totals.T
    by_dtype = weight_bytes(parameters, matrix_weights=matrix_weights, matrix_channels=matrix_channels)
    return Counts(parameters, macs_conv_linear, macs_attention, walk.peak, by_dtype)


class _Walk:
    """Down, through the mid stage and up, as the layer plan's builder goes, for a whole batch.

    Attributes:
        totals: what is summed over blocks; one row per architecture.
        rows: what each of several blocks adds to them, and last the most bytes alive in it, of what comes in only what dies
            there.
        peak: most bytes alive so far.
        waiting: bytes of the skips that wait.
        stream_waits: whether the stream is the newest of them.
        residuals_left: residual blocks to come; while there is one, the time embedding is alive.
        transformers_left: transformers with cross-attention to come; while there is one, the prompt is alive.
    """

    def __init__(
        self, values: Mapping[str, Numbers], num_levels: int, scale: Scale, *, totals: np.ndarray, rows: _BlockRows
    ) -> None:
        self.totals, self.rows = totals, rows
        self.values = values
        self.scale = scale
        self.last = num_levels - 1
        self.num_levels = values["num_levels"]
        self.widths = [values[f"level{i}.width"] * scale.base_width for i in range(num_levels)]
        self.bytes = {name: float_bytes(shape) for name, shape in network_inputs(scale).items()}
        zeros = np.zeros(len(self.num_levels), np.int64)
        self.peak, self.waiting, self.residuals_left, self.transformers_left = (zeros.copy() for _ in range(4))
        self.stream_waits = zeros.astype(bool)

    def run(self) -> None:
        scale, everywhere = self.scale, np.ones(len(self.num_levels), bool)
        self.plan_ahead()
        to_come, self.residuals_left = self.residuals_left, np.zeros_like(self.residuals_left)
        self.waiting += self.bytes["image"]
        time = {"features": scale.time_features, "width": scale.time_width}
        self.add(TimeSpec, everywhere, scale.resolution, time, dies={"timestep": everywhere})
        self.waiting -= self.bytes["image"]
        self.residuals_left = to_come
        self.convolve(everywhere, scale.resolution, scale.in_channels, self.widths[0], "keep")
        for i in range(self.last + 1):
            self.down(i)
        for i in range(self.last + 1):
            self.mid(i)
        for i in range(self.last, -1, -1):
            self.up(i)
        head = {"in_channels": self.widths[0], "out_channels": scale.out_channels}
        self.add(OutputSpec, everywhere, scale.resolution, head, dies={"stream": everywhere})

    def plan_ahead(self) -> None:
        """Counts the blocks that read the time embedding and the prompt, and checks the skip rule."""
        self.count_readers("mid", np.ones_like(self.stream_waits), behind_last=False)
        for i in range(self.last + 1):
            present = self.num_levels > i
            for side in ("down", "up"):
                self.count_readers(f"{side}{i}", present, behind_last=True)
            down, up = (self.values[f"{side}{i}.num_blocks"] for side in ("down", "up"))
            if (broken := present & (up > down + 1)).any():
                row = int(np.argmax(broken))
                raise ValueError(
                    f"up{i}.num_blocks must be at most down{i}.num_blocks + 1 = {down[row] + 1}, got {up[row]} in row {row}"
                )

    def count_readers(self, stage: str, present: Mask, *, behind_last: bool) -> None:
        num_blocks, depth = (self.values[f"{stage}.{field}"] for field in ("num_blocks", "transformer_depth"))
        at_a_block = np.minimum(depth, 1) if self.scale.shared_projections else depth
        reads_context = self.values[f"{stage}.attention"] != STAGE_WORDS["attention"].index("self")
        positions = num_blocks if behind_last else np.maximum(num_blocks - 1, 0)
        self.residuals_left += present * num_blocks
        self.transformers_left += present * positions * at_a_block * reads_context

    def down(self, i: int) -> None:
        present, stage, resolution = self.num_levels > i, f"down{i}", self.scale.resolution >> i
        num_blocks, taken = self.values[f"{stage}.num_blocks"], self.values[f"up{i}.num_blocks"]
        width, entry = self.widths[i], self.widths[max(i - 1, 0)]
        self.offer(present, num_blocks - taken < 0, resolution, entry)
        for j in range(_most(num_blocks, present)):
            here = present & (j < num_blocks)
            self.residual(stage, here, resolution, width if j else entry, width)
            self.transformers(stage, here, resolution, width)
            self.offer(here, j + 1 > num_blocks - taken, resolution, width)
        self.convolve(self.num_levels > i + 1, resolution, width, width, "down")

    def mid(self, i: int) -> None:
        """The mid stages of the architectures whose coarsest level is `i`."""
        present, resolution, width = self.num_levels == i + 1, self.scale.resolution >> i, self.widths[i]
        num_blocks = self.values["mid.num_blocks"]
        for j in range(_most(num_blocks, present)):
            self.residual("mid", present & (j < num_blocks), resolution, width, width)
            self.transformers("mid", present & (j < num_blocks - 1), resolution, width)

    def up(self, i: int) -> None:
        present, stage, resolution = self.num_levels > i, f"up{i}", self.scale.resolution >> i
        num_blocks, offered = self.values[f"{stage}.num_blocks"], self.values[f"down{i}.num_blocks"]
        width = self.widths[i]
        entry = np.where(self.num_levels > i + 1, self.widths[min(i + 1, self.last)], width)
        for j in range(_most(num_blocks, present)):
            here = present & (j < num_blocks)
            skip = np.where(offered > j, width, self.widths[max(i - 1, 0)])
            self.waiting -= here * _image_bytes(resolution, skip)
            self.residual(stage, here, resolution, width if j else entry, width, skip=skip)
            self.transformers(stage, here, resolution, width)
        if i:
            self.convolve(present, resolution, width, width, "up")

    def offer(self, present: Mask, is_taken: Mask, resolution: int, channels: Numbers) -> None:
        """The stream becomes a skip that waits, where an up block will take it."""
        self.stream_waits = np.where(present, is_taken, self.stream_waits)
        self.waiting += (present & is_taken) * _image_bytes(resolution, channels)

    def residual(
        self, stage: str, present: Mask, resolution: int, entry: Numbers, width: Numbers, *, skip: Numbers | int = 0
    ) -> None:
        fields = {
            "in_channels": entry, "skip_channels": skip, "out_channels": width,
            "convolution": self.values[f"{stage}.convolution"],
        }  # fmt: skip
        self.residuals_left -= present
        has_skip = np.broadcast_to(np.asarray(skip) > 0, present.shape)
        # Without a mid stage the stream that reaches the first up block is its skip: one tensor, which dies once.
        dies = {
            "stream": ~self.stream_waits | has_skip,
            "skip": has_skip & ~self.stream_waits,
            "time_embedding": self.residuals_left == 0,
        }
        self.add(ResidualSpec, present, resolution, fields, dies=dies)

    def transformers(self, stage: str, present: Mask, resolution: int, width: Numbers) -> None:
        genes = {field: self.values[f"{stage}.{field}"] for field in _FIELDS if field not in ("num_blocks", "convolution")}
        depth = genes.pop("transformer_depth")
        reads_context = genes["attention"] != STAGE_WORDS["attention"].index("self")
        for i in range(min(_most(depth, present), 1) if self.scale.shared_projections else _most(depth, present)):
            here = present & (i < depth)
            self.transformers_left -= here & reads_context
            dies = {"stream": here, "context": reads_context & (self.transformers_left == 0)}
            fields = {"channels": width, "depth": depth if self.scale.shared_projections else 1, **genes}
            self.add(TransformerSpec, here, resolution, fields, dies=dies)

    def convolve(self, present: Mask, resolution: int, entry: Numbers | int, width: Numbers, resample: str) -> None:
        fields = {"in_channels": entry, "out_channels": width, "resample": resample}
        self.add(ConvolutionSpec, present, resolution, fields, dies={"stream": ~self.stream_waits})

    def add(
        self, kind: type[Spec], present: Mask, resolution: int, fields: Mapping[str, Any], *, dies: Mapping[str, Mask]
    ) -> None:
        """Counts one block of each architecture where it is present.

        Args:
            kind: of the block.
            present: where there is one.
            resolution: of its input.
            fields: of its specification: an array where architectures differ, words as their index.
            dies: by the name of what comes into the block, where that is its last use. What lives on is counted outside.
        """
        rows = np.flatnonzero(present)
        if not len(rows):
            return
        arrays = {name: value[rows] for name, value in fields.items() if isinstance(value, np.ndarray)}
        constants = {name: value for name, value in fields.items() if name not in arrays}
        ends = {name: mask[rows] for name, mask in dies.items()}
        first, dealt = _distinct([*arrays.values(), *ends.values()])
        specs = [
            (
                kind(**constants, **{name: _value(name, int(array[i])) for name, array in arrays.items()}),
                frozenset(name for name, mask in ends.items() if mask[i]),
            )
            for i in first
        ]
        counted = self.rows(specs, resolution)[dealt]
        self.totals[rows] += counted[:, :-1]
        outside = self.waiting[rows] + self.bytes["context"] * (self.transformers_left[rows] > 0)
        outside += float_bytes((self.scale.time_width,)) * (self.residuals_left[rows] > 0)
        self.peak[rows] = np.maximum(self.peak[rows], outside + counted[:, -1])
        self.stream_waits[rows] = False


def _distinct(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each distinct combination of columns, and for each row which of these it equals."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        code = code * (int(column.max()) + 1) + column
    _, first, dealt = np.unique(code, return_index=True, return_inverse=True)
    return first, dealt


@functools.lru_cache(maxsize=1 << 16)
def _block_counts(spec: Spec, resolution: int, scale: Scale, dying: frozenset[str]) -> tuple[int, ...]:
    """Parameters, MACs of convolutions and linear layers, MACs of attention, weights of convolutions and dense layers, their
    output channels, and the most bytes alive.
    """
    block = _block(spec, resolution, scale)
    macs_conv_linear = block.macs - block.macs_attention
    peak = _block_peak(block, dying, scale, lambda operation: 0)
    return block.parameters, macs_conv_linear, block.macs_attention, block.matrix_weights, block.matrix_channels, peak


def _block_peak(block: BlockPlan, dying: frozenset[str], scale: Scale, scratch: Callable[[Operation], int]) -> int:
    """Most bytes alive in a block, of what comes in only what dies there."""
    steps = [(operation.name, operation.reads, operation.output_bytes) for operation in block.operations]
    inputs = {name: float_bytes(shape) for name, shape in block_inputs(block.spec, block.resolution, scale).items()}
    live = live_bytes(steps, {name: size for name, size in inputs.items() if name in dying})
    return max(alive + scratch(operation) for alive, operation in zip(live, block.operations, strict=True))


@functools.lru_cache(maxsize=1 << 16)
def _block(spec: Spec, resolution: int, scale: Scale) -> BlockPlan:
    return BlockPlan("", "", spec, resolution, None, block_operations(spec, resolution, scale))


def _value(field: str, number: int) -> Any:
    if field in STAGE_WORDS:
        return STAGE_WORDS[field][number]
    return bool(number) if field == "shared_kv" else number


def _most(numbers: Numbers, present: Mask) -> int:
    return int(numbers[present].max(initial=0))


def _image_bytes(resolution: int, channels: Numbers) -> Numbers:
    return float_bytes((resolution, resolution)) * channels
