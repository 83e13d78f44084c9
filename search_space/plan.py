"""The layer plan: an architecture at a scale as ordered stages, blocks and operations, with shapes and skip wiring.

Every count, kernel list, network, drawing and block map derives from it. Shapes are without the batch axis, images
are (height, width, channels), sequences (tokens, channels). MACs are multiply-accumulates of one forward pass at batch 1.
"""

import dataclasses
from functools import cached_property
from typing import Literal

from search_space.architecture import Architecture, Stage
from search_space.operations import (
    Operation,
    convolution_operations,
    output_operations,
    residual_operations,
    time_operations,
    transformer_operations,
)
from search_space.scale import Scale


@dataclasses.dataclass(frozen=True)
class ResidualSpec:
    """A residual block: channels of the stream, of the skip that is concatenated to it (0: none), and of the output."""

    in_channels: int
    skip_channels: int
    out_channels: int
    convolution: str


@dataclasses.dataclass(frozen=True)
class TransformerSpec:
    """A spatial transformer: its channels, and the genes of its layers."""

    channels: int
    depth: int
    attention: str
    attention_function: str
    expansion: int
    shared_kv: bool
    gating: str


@dataclasses.dataclass(frozen=True)
class ConvolutionSpec:
    """A 3x3 convolution outside residual blocks; `resample` says what happens to the resolution."""

    in_channels: int
    out_channels: int
    resample: Literal["keep", "down", "up"]


@dataclasses.dataclass(frozen=True)
class OutputSpec:
    """The head: group norm, SiLU and a 3x3 convolution."""

    in_channels: int
    out_channels: int


@dataclasses.dataclass(frozen=True)
class TimeSpec:
    """The time embedding: sinusoids and a two-layer perceptron."""

    features: int
    width: int


Spec = ResidualSpec | TransformerSpec | ConvolutionSpec | OutputSpec | TimeSpec


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """One block of a network.

    Attributes:
        name: unique, `stage.position.kind`: "down0.1.residual".
        stage: the stage it belongs to: "time", "input", "down0", "mid", "up0", "output".
        spec: what it is.
        resolution: of its input, in pixels a side.
        skip_from: name of the block whose output it takes as skip, or None.
        operations: what is computed, in order.
    """

    name: str
    stage: str
    spec: Spec
    resolution: int
    skip_from: str | None
    operations: tuple[Operation, ...]

    @property
    def parameters(self) -> int:
        """Learned numbers of this block."""
        return sum(operation.parameters for operation in self.operations)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of this block, attention matmuls included."""
        return sum(operation.macs for operation in self.operations)


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """A network as a list of blocks in execution order."""

    architecture: Architecture
    scale: Scale
    blocks: tuple[BlockPlan, ...]

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """All operations in execution order."""
        return tuple(operation for block in self.blocks for operation in block.operations)

    @cached_property
    def stages(self) -> dict[str, tuple[BlockPlan, ...]]:
        """Blocks by stage, in execution order."""
        names = dict.fromkeys(block.stage for block in self.blocks)
        return {name: tuple(block for block in self.blocks if block.stage == name) for name in names}

    @cached_property
    def parameters(self) -> int:
        """Learned numbers of the network, the prompt's encoder apart."""
        return sum(block.parameters for block in self.blocks)

    @cached_property
    def macs_attention(self) -> int:
        """Multiply-accumulates of the two matmuls of every attention."""
        return sum(operation.macs for operation in self.operations if operation.kind.startswith("attention_"))

    @cached_property
    def macs_conv_linear(self) -> int:
        """Multiply-accumulates of convolutions and linear layers."""
        return self.macs - self.macs_attention

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates, the attention matmuls included."""
        return sum(operation.macs for operation in self.operations)

    @cached_property
    def peak_activation_bytes(self) -> int:
        """Largest sum of live activations: skips that wait, what a block adds at its end, an operation's input and output.

        What attention holds beside its scores (queries, keys and values) is not counted.
        """
        wanted = {block.skip_from for block in self.blocks}
        waiting: dict[str | None, int] = {}
        peak = 0
        for block in self.blocks:
            waiting.pop(block.skip_from, None)  # from here on it is the input of the concatenation
            first, *rest = block.operations
            peak = max(peak, sum(waiting.values()) + first.input_bytes + first.output_bytes)
            joined = first.output_bytes if first.kind == "concat" else first.input_bytes
            for i, operation in enumerate(rest):
                reads_joined = i == 0 and first.kind == "concat"
                held = joined if rest[-1].kind == "add" and not reads_joined else 0
                peak = max(peak, sum(waiting.values()) + held + operation.input_bytes + operation.output_bytes)
            if block.name in wanted:
                waiting[block.name] = block.operations[-1].output_bytes
        return peak


def layer_plan(architecture: Architecture, scale: Scale) -> LayerPlan:
    """The plan of an architecture at a scale.

    Raises:
        ValueError: the resolution cannot be halved often enough, or a width does not fit the scale's norm or head rule.
    """
    halvings = len(architecture.levels) - 1
    if scale.resolution % (1 << halvings):
        raise ValueError(
            f"resolution {scale.resolution} of scale {scale.name!r} cannot be halved {halvings} times; "
            f"use at most {(scale.resolution & -scale.resolution).bit_length()} levels"
        )
    builder = _Builder(architecture.canonical(), scale)
    return LayerPlan(builder.architecture, scale, tuple(builder.build()))


class _Builder:
    """Walks down, through the mid stage and up, keeping the stream's channels and resolution."""

    def __init__(self, architecture: Architecture, scale: Scale) -> None:
        self.architecture = architecture
        self.scale = scale
        self.widths = [level.width * scale.base_width for level in architecture.levels]
        self.resolution = scale.resolution
        self.channels = self.widths[0]
        self.blocks: list[BlockPlan] = []

    def build(self) -> list[BlockPlan]:
        scale, levels = self.scale, self.architecture.levels
        last = len(levels) - 1
        self.add("time", "embedding", TimeSpec(scale.time_features, scale.time_width))
        self.add("input", "convolution", ConvolutionSpec(scale.in_channels, self.widths[0], "keep"))
        skips: list[list[tuple[str, int]]] = []
        for i, level in enumerate(levels):
            skips.append([self.here()])
            skips[i] += self.side(f"down{i}", level.down, self.widths[i], None)
            if i < last:
                self.add(f"down{i}", "downsample", ConvolutionSpec(self.channels, self.channels, "down"))
                self.resolution //= 2
        if self.architecture.mid:
            self.mid(self.architecture.mid)
        for i in range(last, -1, -1):
            self.side(f"up{i}", levels[i].up, self.widths[i], skips[i])
            if i:
                self.add(f"up{i}", "upsample", ConvolutionSpec(self.channels, self.channels, "up"))
                self.resolution *= 2
        self.add("output", "head", OutputSpec(self.channels, scale.out_channels))
        return self.blocks

    def here(self) -> tuple[str, int]:
        """Name of the block just built and the channels of its output."""
        return self.blocks[-1].name, self.channels

    def side(self, name: str, stage: Stage, width: int, skips: list[tuple[str, int]] | None) -> list[tuple[str, int]]:
        """One side of a level; an up stage pops its skips, deepest first. Returns what each position left in the stream."""
        outputs = []
        for i in range(stage.num_blocks):
            skip, skip_channels = skips.pop() if skips else (None, 0)
            self.residual(f"{name}.{i}", ResidualSpec(self.channels, skip_channels, width, stage.convolution), skip)
            self.transformer(f"{name}.{i}", stage)
            outputs.append(self.here())
        return outputs

    def mid(self, stage: Stage) -> None:
        for i in range(stage.num_blocks):
            self.residual(f"mid.{i}", ResidualSpec(self.channels, 0, self.channels, stage.convolution), None)
            if i < stage.num_blocks - 1:
                self.transformer(f"mid.{i}", stage)

    def residual(self, position: str, spec: ResidualSpec, skip_from: str | None) -> None:
        self.channels = spec.out_channels
        self.add(position, "residual", spec, skip_from)

    def transformer(self, position: str, stage: Stage) -> None:
        if stage.transformer_depth:
            spec = TransformerSpec(
                self.channels, stage.transformer_depth, stage.attention, stage.attention_function, stage.expansion,
                stage.shared_kv, stage.gating,
            )  # fmt: skip
            self.add(position, "transformer", spec)

    def add(self, position: str, kind: str, spec: Spec, skip_from: str | None = None) -> None:
        name = f"{position}.{kind}"
        operations = _operations(spec, self.resolution, self.scale)
        self.blocks.append(BlockPlan(name, position.split(".")[0], spec, self.resolution, skip_from, operations))


def _operations(spec: Spec, resolution: int, scale: Scale) -> tuple[Operation, ...]:
    match spec:
        case ResidualSpec():
            return residual_operations(
                spec.in_channels, spec.skip_channels, spec.out_channels, spec.convolution, resolution, scale
            )
        case TransformerSpec():
            return transformer_operations(spec, resolution, scale)
        case ConvolutionSpec():
            return convolution_operations(spec.in_channels, spec.out_channels, spec.resample, resolution)
        case OutputSpec():
            return output_operations(spec.in_channels, spec.out_channels, resolution)
        case TimeSpec():
            return time_operations(spec.features, spec.width)
