"""The layout of a supernet: the stages of a space at a scale, and the families of all their blocks by name."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from search_space import Scale, SearchSpace
from search_space.plan import ConvolutionSpec, OutputSpec, TimeSpec, TransformerSpec
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
from supernet.elastic_stage import PART_KINDS, ElasticStage, cross_attention_part, feed_forward_part, self_attention_part
from supernet.elastic_transformer import ElasticTransformer
from supernet.families import Family
from supernet.initializer import Initializer


@dataclasses.dataclass(frozen=True)
class ElasticLayout:
    """The stages of a space at a scale, and the families of all their blocks by name."""

    space: SearchSpace
    scale: Scale
    lowering: Lowering

    def widths(self, level: int) -> tuple[int, ...]:
        """Channels that a level may have, ascending."""
        return tuple(sorted(width * self.scale.base_width for width in self.space.levels[level].width))

    @cached_property
    def stages(self) -> dict[str, ElasticStage]:
        """Stages by name, in execution order."""
        last = len(self.space.levels) - 1
        levels = self.space.levels
        stages = [self._stage(f"down{i}", i, level.down) for i, level in enumerate(levels)]
        if max(self.space.mid.num_blocks):
            stages.append(self._stage("mid", last, self.space.mid))
        stages += [self._stage(f"up{i}", i, levels[i].up, self.widths(max(i - 1, 0))) for i in range(last, -1, -1)]
        return {stage.name: stage for stage in stages}

    def _stage(self, name: str, level: int, choices: StageChoices, skips: tuple[int, ...] = ()) -> ElasticStage:
        stage = ElasticStage(name, level, choices, (), (), skips)
        existing = [number for number in self.space.num_levels if number > level or name == "mid"]
        widths, entry = (
            tuple(sorted({width for number in existing for width in self.widths(of(number))}))
            for of in (stage.level_of, stage.entry_level)
        )
        return dataclasses.replace(stage, widths=widths, entry_widths=entry)

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

    def parts(self, stage: ElasticStage) -> list[str]:
        """Names, without the stage's, of the families that a stage has a copy of at each of its positions."""
        names = ("residual", "project_in", *PART_KINDS, "project_out")
        return [name for name in names if f"{stage.name}.{name}" in self.families]

    @cached_property
    def transformers(self) -> dict[str, ElasticTransformer]:
        """The transformers of each stage that may have some, by its name."""
        return {
            stage.name: ElasticTransformer(
                stage, {part: self.families[f"{stage.name}.{part}"] for part in self.parts(stage)}, self.scale
            )
            for stage in self.stages.values()
            if stage.depth
        }

    def _stage_families(self, stage: ElasticStage) -> Iterator[tuple[str, Family]]:
        scale, lowering, positions = self.scale, self.lowering, (stage.positions,)
        residual = _builder(lambda spec, init: ResidualBlock(spec, scale, lowering=lowering, init=init))
        yield "residual", Family(stage.residuals, residual, positions)
        if not stage.depth:
            return
        project_in = _builder(lambda channels, init: ProjectIn(channels, scale, init=init))
        project_out = _builder(lambda channels, init: ProjectOut(channels, init=init))
        layers = (stage.positions, stage.depth)
        yield "project_in", Family(stage.widths, project_in, positions if scale.shared_projections else layers)
        yield "project_out", Family(stage.widths, project_out, positions if scale.shared_projections else layers)
        with_self = [spec for spec in stage.transformers if spec.attention != "cross"]
        with_cross = [spec for spec in stage.transformers if spec.attention != "self"]
        if with_self:
            build = _builder(lambda spec, init: self_attention(spec, scale, init=init))
            yield "self_attention", Family(_distinct(with_self, self_attention_part), build, layers, scale.num_heads)
        if with_cross:
            build = _builder(lambda spec, init: cross_attention(spec, scale, init=init))
            yield "cross_attention", Family(_distinct(with_cross, cross_attention_part), build, layers, scale.num_heads)
        build = _builder(lambda spec, init: feed_forward(spec, init=init))
        yield "feed_forward", Family(_distinct(stage.transformers, feed_forward_part), build, layers)


def _builder(build: Callable[..., Any]) -> Callable[[Any, Initializer], Any]:
    return lambda spec, init: build(spec, init=init)


def _distinct(specs: Any, part: Callable[[TransformerSpec], TransformerSpec]) -> tuple[TransformerSpec, ...]:
    return tuple(dict.fromkeys(part(spec) for spec in specs))
