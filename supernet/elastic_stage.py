"""The stages of a supernet: for each stage of a search space, the families of blocks that any architecture can put there."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from search_space import Scale, SearchSpace
from search_space.plan import ConvolutionSpec, OutputSpec, ResidualSpec, TimeSpec, TransformerSpec
from search_space.space import StageChoices
from supernet.blocks import (
    Convolution,
    OutputHead,
    ProjectIn,
    ProjectOut,
    ResidualBlock,
    TimeEmbedding,
    cross_attention,
    feed_forward,
    self_attention,
)
from supernet.convolution import Lowering
from supernet.elastic_residual import ElasticResidual
from supernet.families import Family
from supernet.initializer import Initializer


@dataclasses.dataclass(frozen=True)
class ElasticStage:
    """One stage with everything that may stand in it; widths are channels.

    Attributes:
        name: "down0", "mid", "up0".
        level: index of its level; the mid stage has that of the coarsest.
        choices: what each gene may be.
        widths: of its output.
        entry_widths: of the stream that comes in.
        skip_widths: of the skips behind the first position's, empty where the stage takes none. The first position's skip
            has the stage's own width.
        resolution: height and width of its images.
    """

    name: str
    level: int
    choices: StageChoices
    widths: tuple[int, ...]
    entry_widths: tuple[int, ...]
    skip_widths: tuple[int, ...]
    resolution: int

    @property
    def positions(self) -> int:
        """The largest number of residual blocks."""
        return max(self.choices.num_blocks)

    @property
    def depth(self) -> int:
        """The largest number of transformer layers at a position."""
        return max(self.choices.transformer_depth)

    @property
    def carried_width(self) -> int:
        """Channels to which the stream is padded on its way through the stage."""
        return max(self.widths + self.entry_widths)

    @property
    def residuals(self) -> tuple[ResidualSpec, ...]:
        """Every residual block that an architecture can put into this stage."""
        shapes: dict[tuple[int, int, int], None] = {}
        for out in self.widths:
            for entry in self.entry_widths if self.name != "mid" else (out,):
                shapes[(entry, out if self.skip_widths else 0, out)] = None
            for skip in {out, *self.skip_widths} if self.skip_widths else (0,):
                shapes[(out, skip, out)] = None
        return tuple(
            ResidualSpec(*shape, convolution)
            for shape, convolution in itertools.product(sorted(shapes), self.choices.convolution)
        )

    @property
    def transformers(self) -> tuple[TransformerSpec, ...]:
        """Every kind of transformer layer that an architecture can put into this stage."""
        c = self.choices
        combinations = itertools.product(
            self.widths, (1,), c.attention, c.attention_function, c.expansion, c.shared_kv, c.gating
        )
        return tuple(TransformerSpec(*values) for values in combinations) if self.depth else ()


# The parts of a transformer layer, each as what tells its alternatives apart: the other fields take a fixed value.
def self_attention_part(spec: TransformerSpec) -> TransformerSpec:
    """The fields that self-attention depends on."""
    return TransformerSpec(spec.channels, 1, "self", spec.attention_function, 1, spec.shared_kv, "gelu")


def cross_attention_part(spec: TransformerSpec) -> TransformerSpec:
    """The fields that cross-attention depends on."""
    return TransformerSpec(spec.channels, 1, "cross", spec.attention_function, 1, False, "gelu")


def feed_forward_part(spec: TransformerSpec) -> TransformerSpec:
    """The fields that the feed-forward depends on."""
    return TransformerSpec(spec.channels, 1, "self", "softmax", spec.expansion, False, spec.gating)


@dataclasses.dataclass(frozen=True)
class ElasticLayout:
    """The stages of a space at a scale, and the families of all their blocks by name."""

    space: SearchSpace
    scale: Scale
    lowering: Lowering

    def widths(self, level: int) -> tuple[int, ...]:
        """Channels that a level may have."""
        return tuple(width * self.scale.base_width for width in self.space.levels[level].width)

    @cached_property
    def stages(self) -> dict[str, ElasticStage]:
        """Stages by name, in execution order."""
        last = len(self.space.levels) - 1
        stages = [
            self._stage(f"down{i}", i, level.down, self.widths(max(i - 1, 0)), ()) for i, level in enumerate(self.space.levels)
        ]
        if max(self.space.mid.num_blocks):
            stages.append(self._stage("mid", last, self.space.mid, self.widths(last), ()))
        for i in range(last, -1, -1):
            up, below, above = self.space.levels[i].up, self.widths(min(i + 1, last)), self.widths(max(i - 1, 0))
            stages.append(self._stage(f"up{i}", i, up, below, above))
        return {stage.name: stage for stage in stages}

    def _stage(
        self, name: str, level: int, choices: StageChoices, entry: tuple[int, ...], skips: tuple[int, ...]
    ) -> ElasticStage:
        return ElasticStage(name, level, choices, self.widths(level), entry, skips, self.scale.resolution >> level)

    @cached_property
    def families(self) -> dict[str, Family]:
        """Every family by name, "down0.residual"."""
        scale, lowering = self.scale, self.lowering
        convolution = _builder(lambda spec, init: Convolution(spec, lowering=lowering, init=init))
        families = {"time.embedding": Family((TimeSpec(scale.time_features, scale.time_width),), _builder(TimeEmbedding))}
        families["input.convolution"] = Family(
            tuple(ConvolutionSpec(scale.in_channels, width, "keep") for width in self.widths(0)), convolution
        )
        for stage in self.stages.values():
            families |= {f"{stage.name}.{part}": family for part, family in self._stage_families(stage)}
        last = len(self.space.levels) - 1
        for i in range(last):
            specs = tuple(ConvolutionSpec(width, width, "down") for width in self.widths(i))
            families[f"down{i}.downsample"] = Family(specs, convolution)
            specs = tuple(ConvolutionSpec(width, width, "up") for width in self.widths(i + 1))
            families[f"up{i + 1}.upsample"] = Family(specs, convolution)
        families["output.head"] = Family(
            tuple(OutputSpec(width, scale.out_channels) for width in self.widths(0)),
            _builder(lambda spec, init: OutputHead(spec, scale, lowering=lowering, init=init)),
        )
        return families

    @cached_property
    def residuals(self) -> dict[str, ElasticResidual]:
        """The residual blocks of each stage, by its name."""
        return {
            stage.name: ElasticResidual(
                self.families[f"{stage.name}.residual"],
                stage.choices.convolution,
                self.scale,
                self.lowering,
                stage.carried_width,
            )
            for stage in self.stages.values()
        }

    def _stage_families(self, stage: ElasticStage) -> Iterator[tuple[str, Family]]:
        scale, lowering, positions = self.scale, self.lowering, (stage.positions,)
        residual = _builder(lambda spec, init: ResidualBlock(spec, scale, lowering=lowering, init=init))
        yield "residual", Family(stage.residuals, residual, positions)
        if not stage.depth:
            return
        project_in = _builder(lambda channels, init: ProjectIn(channels, scale, init=init))
        project_out = _builder(lambda channels, init: ProjectOut(channels, init=init))
        yield "project_in", Family(stage.widths, project_in, positions)
        yield "project_out", Family(stage.widths, project_out, positions)
        layers = (stage.positions, stage.depth)
        with_self = [spec for spec in stage.transformers if spec.attention != "cross"]
        with_cross = [spec for spec in stage.transformers if spec.attention != "self"]
        if with_self:
            build = _builder(lambda spec, init: self_attention(spec, scale, init=init))
            yield "self_attention", Family(_distinct(with_self, self_attention_part), build, layers)
        if with_cross:
            build = _builder(lambda spec, init: cross_attention(spec, scale, init=init))
            yield "cross_attention", Family(_distinct(with_cross, cross_attention_part), build, layers)
        build = _builder(lambda spec, init: feed_forward(spec, init=init))
        yield "feed_forward", Family(_distinct(stage.transformers, feed_forward_part), build, layers)


def _builder(build: Callable[..., Any]) -> Callable[[Any, Initializer], Any]:
    return lambda spec, init: build(spec, init=init)


def _distinct(specs: Any, part: Callable[[TransformerSpec], TransformerSpec]) -> tuple[TransformerSpec, ...]:
    return tuple(dict.fromkeys(part(spec) for spec in specs))
