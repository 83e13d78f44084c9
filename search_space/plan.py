"""The layer plan: an architecture at a scale as ordered stages, blocks and operations, with shapes and skip wiring.

Every count, kernel list, network, drawing and block map derives from it. Shapes are without the batch axis, images
are (height, width, channels), sequences (tokens, channels). MACs are multiply-accumulates of one forward pass at batch 1.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from functools import cached_property

from search_space.architecture import Architecture, Stage
from search_space.blocks import (
    ConvolutionSpec,
    OutputSpec,
    ResidualSpec,
    Spec,
    TimeSpec,
    TransformerSpec,
    block_operations,
)
from search_space.memory import Step, live_bytes, weight_bytes
from search_space.operations import Operation, Shape, float_bytes
from search_space.scale import Scale


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """One block of a network.

    Attributes:
        name: unique, `stage.position.kind`: "down0.1.residual"; where one position holds several transformers, the second is
            "down0.1.1.transformer".
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
    def out_shape(self) -> Shape:
        """Shape behind this block: (height, width, channels), of the time embedding (channels,)."""
        return self.operations[-1].out_shape

    @property
    def parameters(self) -> int:
        """Learned numbers of this block."""
        return sum(operation.parameters for operation in self.operations)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of this block, attention matmuls included."""
        return sum(operation.macs for operation in self.operations)

    @property
    def macs_attention(self) -> int:
        """Multiply-accumulates of this block's attention matmuls."""
        return sum(operation.macs for operation in self.operations if operation.kind.startswith("attention_"))

    @property
    def matrix_weights(self) -> int:
        """Weights that this block's convolutions and dense layers multiply with."""
        return sum(operation.matrix_weights for operation in self.operations)

    @property
    def matrix_channels(self) -> int:
        """Output channels of this block's convolutions and dense layers together."""
        return sum(operation.out_shape[-1] for operation in self.operations if operation.matrix_weights)


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
    def encoder(self) -> tuple[BlockPlan, ...]:
        """The blocks before the first up stage, time embedding included; the decoder reads their streams."""
        return tuple(itertools.takewhile(lambda block: not block.stage.startswith("up"), self.blocks))

    @cached_property
    def parameters(self) -> int:
        """Learned numbers of the network, the prompt's encoder apart."""
        return sum(block.parameters for block in self.blocks)

    @cached_property
    def macs_attention(self) -> int:
        """Multiply-accumulates of the two matmuls of every attention."""
        return sum(block.macs_attention for block in self.blocks)

    @cached_property
    def macs_conv_linear(self) -> int:
        """Multiply-accumulates of convolutions and linear layers."""
        return self.macs - self.macs_attention

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates, the attention matmuls included."""
        return sum(operation.macs for operation in self.operations)

    @cached_property
    def live_bytes(self) -> tuple[int, ...]:
        """Bytes of float32 activations alive while each operation runs; see `search_space.memory`."""
        return live_bytes(self.steps(), {name: float_bytes(shape) for name, shape in network_inputs(self.scale).items()})

    @cached_property
    def peak_activation_bytes(self) -> int:
        """Most bytes of float32 activations alive at once."""
        return max(self.live_bytes)

    @cached_property
    def stage_peak_bytes(self) -> dict[str, int]:
        """Most bytes of float32 activations alive at once while each stage runs."""
        peaks = dict.fromkeys(self.stages, 0)
        stage_of = (block.stage for block in self.blocks for _ in block.operations)
        for stage, live in zip(stage_of, self.live_bytes, strict=True):
            peaks[stage] = max(peaks[stage], live)
        return peaks

    @cached_property
    def weight_bytes(self) -> dict[str, int]:
        """Bytes of all parameters by dtype; see `search_space.memory`."""
        return weight_bytes(
            self.parameters,
            matrix_weights=sum(block.matrix_weights for block in self.blocks),
            matrix_channels=sum(block.matrix_channels for block in self.blocks),
        )

    def steps(self) -> Iterator[Step]:
        """All operations, with names of tensors that are unique in the network."""
        made = {name: name for name in network_inputs(self.scale)}
        made["stream"] = "image"
        outputs: dict[str | None, str] = {}
        for block in self.blocks:
            inside = {**made, "skip": outputs.get(block.skip_from, "")}
            for operation in block.operations:
                inside[operation.name] = output = f"{block.name}.{operation.name}"
                yield output, tuple(inside[name] for name in operation.reads), operation.output_bytes
                outputs[block.name] = output
            made["time_embedding" if isinstance(block.spec, TimeSpec) else "stream"] = outputs[block.name]


def network_inputs(scale: Scale) -> dict[str, Shape]:
    """Shapes of what a network takes, by name."""
    image = (scale.resolution, scale.resolution, scale.in_channels)
    return {"image": image, "timestep": (1,), "context": (scale.context_length, scale.context_width)}


def layer_plan(architecture: Architecture, scale: Scale) -> LayerPlan:
    """The plan of an architecture at a scale.

    Raises:
        ValueError: the resolution cannot be halved often enough, or a width does not fit the scale's norm or head rule.
    """
    check_levels(scale, len(architecture.levels))
    builder = _Builder(architecture.canonical(), scale)
    return LayerPlan(builder.architecture, scale, tuple(builder.build()))


def check_levels(scale: Scale, num_levels: int) -> None:
    """Raises ValueError where a scale's resolution cannot be halved once for each level but the first."""
    if scale.resolution % (1 << (num_levels - 1)):
        raise ValueError(
            f"resolution {scale.resolution} of scale {scale.name!r} cannot be halved {num_levels - 1} times; "
            f"use at most {(scale.resolution & -scale.resolution).bit_length()} levels"
        )


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
        """The layers behind a residual block: one block of all, or each a block of its own, numbered from the second on."""
        if not stage.transformer_depth:
            return
        depths = (stage.transformer_depth,) if self.scale.shared_projections else (1,) * stage.transformer_depth
        for i, depth in enumerate(depths):
            spec = TransformerSpec(
                self.channels, depth, stage.attention, stage.attention_function, stage.expansion, stage.shared_kv, stage.gating
            )
            self.add(f"{position}.{i}" if i else position, "transformer", spec)

    def add(self, position: str, kind: str, spec: Spec, skip_from: str | None = None) -> None:
        name = f"{position}.{kind}"
        operations = block_operations(spec, self.resolution, self.scale)
        self.blocks.append(BlockPlan(name, position.split(".")[0], spec, self.resolution, skip_from, operations))
