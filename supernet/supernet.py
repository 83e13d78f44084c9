"""The weight-sharing UNet: one set of weights and one compiled program for every architecture of a space.

An architecture enters as its genotype, an integer array. Each stage scans over its positions; at each position a switch
runs the one block that was chosen, on slices of exactly the chosen width, and nothing else. So a subnet costs what it costs
alone, and computes what it computes alone. Never map it with `vmap` over genotypes: that turns every switch into a select
that computes all branches; `lax.map` keeps the switch.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from search_space import Architecture, LayerPlan, Scale, SearchSpace, layer_plan
from search_space.plan import ConvolutionSpec, OutputSpec, TransformerSpec
from supernet.blocks import Tokens
from supernet.convolution import Image, Lowering
from supernet.elastic_attention import attention_branch
from supernet.elastic_residual import pad
from supernet.elastic_stage import (
    ElasticLayout,
    ElasticStage,
    cross_attention_part,
    feed_forward_part,
    self_attention_part,
)
from supernet.families import Family, Parameters
from supernet.initializer import random_initializer
from supernet.switch import switch

SupernetParameters = dict[str, Parameters]


@dataclasses.dataclass(frozen=True)
class Supernet:
    """The supernet of a space at a scale; parameters are kept apart, as a dictionary of families."""

    space: SearchSpace
    scale: Scale
    lowering: Lowering

    @cached_property
    def layout(self) -> ElasticLayout:
        """Stages and families."""
        return ElasticLayout(self.space, self.scale, self.lowering)

    def initial_parameters(self, seed: int) -> SupernetParameters:
        """Fresh parameters."""
        init = random_initializer(seed)
        return {name: family.initial(init) for name, family in self.layout.families.items()}

    def apply(
        self,
        parameters: SupernetParameters,
        x: Image,
        timestep: Float[Array, " batch"],
        context: Tokens,
        genotype: Int[Array, " genes"],
    ) -> Image:
        """What the subnet of `genotype` (from `SearchSpace.encode`) predicts; arguments as in `UNet`."""
        return _Pass(self.layout, parameters, genotype, context).run(x, timestep)


class _Pass:
    """One forward pass: the genes of one architecture, traced, and the walk down and up."""

    def __init__(self, layout: ElasticLayout, parameters: SupernetParameters, genotype: Array, context: Array) -> None:
        self.layout = layout
        self.parameters = parameters
        self.context = context
        self.genotype = genotype
        self.genes = {gene.name: (i, gene) for i, gene in enumerate(layout.space.genes)}

    def chosen(self, name: str) -> Array:
        """Index of the chosen value of a gene."""
        return self.genotype[self.genes[name][0]]

    def number(self, name: str) -> Array:
        """The chosen value of a gene whose choices are numbers."""
        return jnp.asarray(self.genes[name][1].choices)[self.chosen(name)]

    def width(self, level: int) -> Array:
        """Channels of a level."""
        return jnp.asarray(self.layout.widths(level))[self.chosen(f"level{level}.width")]

    def run(self, x: Array, timestep: Array) -> Array:
        stages, last = self.layout.stages, len(self.layout.space.levels) - 1
        self.time = self.one("time.embedding", lambda block: block(timestep))
        x = self.resample("input.convolution", 0, x)
        skips = []
        for i in range(last + 1):
            x, outputs = self.stage(stages[f"down{i}"], x, self.width(max(i - 1, 0)), skips=None)
            skips.append(outputs)
            if i < last:
                x = self.resample(f"down{i}.downsample", i, x)
        if "mid" in stages:
            x, _ = self.stage(stages["mid"], x, self.width(last), skips=None)
        for i in range(last, -1, -1):
            x, _ = self.stage(stages[f"up{i}"], x, self.width(min(i + 1, last)), skips=skips[i])
            if i:
                x = self.resample(f"up{i}.upsample", i, x)
        return self.by_width("output.head", 0, x, _head)

    def one(self, name: str, apply: Callable[[Any], Array]) -> Array:
        """A family with one member."""
        family = self.layout.families[name]
        return apply(family.apply(self.parameters[name], family.specs[0]))

    def resample(self, name: str, level: int, x: Array) -> Array:
        return self.by_width(name, level, x, _convolve)

    def by_width(self, name: str, level: int, x: Array, branch: Callable[..., Array]) -> Array:
        """A family whose members are the widths of a level, in that order."""
        family = self.layout.families[name]
        width = max(self.layout.widths(level))
        branches = tuple(_bind(branch, family, spec, width) for spec in family.specs)
        return switch(self.chosen(f"level{level}.width"), branches, self.parameters[name], x, choices=())

    def stage(self, stage: ElasticStage, x: Array, entry: Array, *, skips: Array | None) -> tuple[Array, Array]:
        """Runs a stage; returns the stream, and its input and all positions' outputs as the skips that it offers."""
        x = pad(x, stage.carried_width)
        layers = {name: self.parameters[f"{stage.name}.{name}"] for name in _parts(stage, self.layout)}
        num_blocks = self.number(f"{stage.name}.num_blocks")

        def position(x: Array, inputs: tuple[Array, dict[str, Parameters]]) -> tuple[Array, Array]:
            i, stored = inputs
            x = self.residual(stage, stored["residual"], x, i, jnp.where(i == 0, entry, self.width(stage.level)), skips)
            if stage.depth:
                behind = i < num_blocks - (stage.name == "mid")
                x = self.transformer(stage, stored, x, behind)
            return x, x

        offered = pad(x, stage.carried_width)[None]
        x, outputs = lax.scan(position, x, (jnp.arange(stage.positions), layers))
        return x, jnp.concatenate([offered, outputs])

    def residual(self, stage: ElasticStage, stored: Parameters, x: Array, i: Array, entry: Array, skips: Array | None) -> Array:
        block = self.layout.residuals[stage.name]
        skip, skip_channels = ((), 0) if skips is None else self.skip(stage, skips, i)
        choices = block.choices(entry, skip_channels, self.width(stage.level), self.chosen(f"{stage.name}.convolution"))
        active = i < self.number(f"{stage.name}.num_blocks")
        return _switch_or_keep(active, 0, (block,), x, self.time, *skip, stored=stored, choices=choices)

    def skip(self, stage: ElasticStage, skips: Array, i: Array) -> tuple[tuple[Array], Array]:
        """The skip of the up stage's position i, deepest first, and its channels."""
        left = jnp.maximum(self.number(f"down{stage.level}.num_blocks") - i, 0)
        width = jnp.where(left > 0, self.width(stage.level), self.width(max(stage.level - 1, 0)))
        skip = lax.dynamic_index_in_dim(skips, left, keepdims=False)
        return (pad(skip, max(stage.widths + stage.skip_widths)),), width

    def transformer(self, stage: ElasticStage, stored: dict[str, Parameters], x: Array, behind: Array) -> Array:
        families, name, width = self.layout.families, stage.name, self.chosen(f"level{stage.level}.width")
        depth = jnp.where(behind, self.number(f"{name}.transformer_depth"), 0)
        padded = max(stage.widths)

        def project(part: str, branch: Callable[..., Array], keep: Callable[..., Array], to: int, *operands: Array) -> Array:
            family = families[f"{name}.{part}"]
            branches = tuple(_bind(branch, family, channels, to) for channels in family.specs)
            return _switch_or_keep(depth > 0, width, branches, *operands, stored=stored[part], keep=keep)

        tokens = project("project_in", _project_in, lambda x: _as_tokens(x, padded), padded, x)
        parts = {part: stored[part] for part in _PARTS if part in stored}

        def layer(tokens: Array, inputs: tuple[Array, dict[str, Parameters]]) -> tuple[Array, None]:
            i, layer_stored = inputs
            for part in parts:  # in this order: a dictionary that went through a scan comes back sorted by name
                tokens = self.layer_part(stage, part, layer_stored[part], tokens, i < depth)
            return tokens, None

        tokens, _ = lax.scan(layer, tokens, (jnp.arange(stage.depth), parts))
        return project("project_out", _project_out, lambda tokens, x: x, stage.carried_width, tokens, x)

    def layer_part(self, stage: ElasticStage, part: str, stored: Parameters, tokens: Array, active: Array) -> Array:
        """One of the three parts of a transformer layer, or the tokens as they are where it was not chosen."""
        family = self.layout.families[f"{stage.name}.{part}"]
        kinds = jnp.asarray([kind in _PART_KINDS[part] for kind in stage.choices.attention])
        active = active & kinds[self.chosen(f"{stage.name}.attention")]
        width, chosen = self.chosen(f"level{stage.level}.width"), lambda field: self.chosen(f"{stage.name}.{field}")
        if part == "feed_forward":
            branches = tuple(_bind(_feed_forward, family, spec, max(stage.widths)) for spec in family.specs)
            expansions, gatings = len(stage.choices.expansion), len(stage.choices.gating)
            index = (width * expansions + chosen("expansion")) * gatings + chosen("gating")
            return _switch_or_keep(active, index, branches, tokens, stored=stored)
        choices = {"attention_function": chosen("attention_function"), "shared_kv": chosen("shared_kv")}
        branches = tuple(attention_branch(family, stage, channels, part == "cross_attention") for channels in stage.widths)
        return _switch_or_keep(active, width, branches, tokens, self.context, stored=stored, choices=choices)


# The kinds of attention that have each part of a transformer layer.
_PART_KINDS = {
    "self_attention": ("self", "self_cross"),
    "cross_attention": ("cross", "self_cross"),
    "feed_forward": ("self", "cross", "self_cross"),
}
_PARTS = {
    "self_attention": self_attention_part,
    "cross_attention": cross_attention_part,
    "feed_forward": feed_forward_part,
}


def _parts(stage: ElasticStage, layout: ElasticLayout) -> list[str]:
    names = ("residual", "project_in", "self_attention", "cross_attention", "feed_forward", "project_out")
    return [name for name in names if f"{stage.name}.{name}" in layout.families]


def _bind(branch: Callable[..., Array], family: Family, spec: Any, *static: Any) -> Callable[..., Array]:
    return lambda choices, stored, *operands: branch(family.apply(stored, spec), spec, *static, *operands)


def _switch_or_keep(
    active: Array, chosen: Any, branches: Any, x: Array, *operands: Array, stored: Parameters, choices: Any = (),
    keep: Callable[..., Array] = lambda x, *_: x,
) -> Array:  # fmt: skip
    """The chosen branch of (choices, stored, x, *operands) where `active`, else what `keep` makes of x and the operands."""
    kept = (lambda choices, stored, *operands: keep(*operands),)
    return switch(jnp.where(active, chosen + 1, 0), (*kept, *branches), stored, x, *operands, choices=choices)


def _convolve(block: Any, spec: ConvolutionSpec, width: int, x: Array) -> Array:
    return pad(block(x[..., : spec.in_channels]), width)


def _head(block: Any, spec: OutputSpec, width: int, x: Array) -> Array:
    del width
    return block(x[..., : spec.in_channels])


def _as_tokens(x: Array, width: int) -> Array:
    return pad(x, width).reshape(x.shape[0], -1, width)


def _project_in(block: Any, channels: int, width: int, x: Array) -> Array:
    return pad(block(x[..., :channels]), width)


def _project_out(block: Any, channels: int, width: int, tokens: Array, x: Array) -> Array:
    return pad(block(tokens[..., :channels], x[..., :channels]), width)


def _feed_forward(block: Any, spec: TransformerSpec, width: int, tokens: Array) -> Array:
    return pad(block(tokens[..., : spec.channels]), width)


def subnet_parameters(supernet: Supernet, parameters: SupernetParameters, architecture: Architecture) -> tuple[LayerPlan, dict]:
    """The layer plan of an architecture, and its blocks' parameters by block name and path, sliced from the supernet.

    Raises:
        ValueError: the architecture is not in the supernet's space.
    """
    supernet.space.validate(architecture)
    plan = layer_plan(architecture, supernet.scale)
    families = supernet.layout.families

    def member(family: str, place: tuple[int, ...], spec: Any) -> Parameters:
        stored = {path: array[place] for path, array in parameters[family].items()}
        return families[family].member_parameters(stored, spec)

    sliced: dict[str, Parameters] = {}
    for block in plan.blocks:
        stage, *place, kind = block.name.split(".")
        position = tuple(map(int, place))
        if not isinstance(block.spec, TransformerSpec):
            sliced[block.name] = member(f"{stage}.{kind}", position, block.spec)
            continue
        spec = block.spec
        ends = {end: member(f"{stage}.{end}", position, spec.channels) for end in ("project_in", "project_out")}
        found = {f"{end}/{path}": array for end, of in ends.items() for path, array in of.items()}
        for i in range(spec.depth):
            for part, as_part in _PARTS.items():
                if spec.attention in _PART_KINDS[part]:
                    of = member(f"{stage}.{part}", (*position, i), as_part(spec))
                    found |= {f"layers/{i}/{part}/{path}": array for path, array in of.items()}
        sliced[block.name] = found
    return plan, sliced
