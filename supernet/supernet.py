"""The weight-sharing UNet: one set of weights and one compiled program for every architecture of a space.

An architecture enters as its route, an integer array. Each stage scans over its positions; at each position a switch
runs the one block that was chosen, on slices of exactly the chosen width, and nothing else. So a subnet costs what it costs
alone, and computes what it computes alone. Never map it with `vmap` over routes: that turns every switch into a select
that computes all branches; `lax.map` keeps the switch.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from search_space import Architecture, LayerPlan, Scale, SearchSpace, layer_plan
from search_space.plan import ConvolutionSpec, OutputSpec, TransformerSpec
from supernet.blocks import Tokens
from supernet.convolution import Image, Lowering
from supernet.elastic_layers import pad, run_or_keep
from supernet.elastic_layout import ElasticLayout
from supernet.elastic_stage import (
    PART_KINDS,
    ElasticStage,
    Row,
    cross_attention_part,
    feed_forward_part,
    self_attention_part,
)
from supernet.families import Parameters
from supernet.initializer import random_initializer
from supernet.route import Route, find_route, row_at
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
        route: Route,
    ) -> Image:
        """What the subnet of `route` predicts; arguments as in `UNet`."""
        return _Pass(self.layout, parameters, route, context).run(x, timestep)

    def route(self, architecture: Architecture) -> Int[np.ndarray, "stages positions fields"]:
        """An architecture as `apply` takes it.

        Raises:
            ValueError: the architecture is not in the supernet's space.
        """
        self.space.validate(architecture)
        return find_route(self.layout, architecture.canonical())


class _Pass:
    """One forward pass: the route of one architecture, traced, and the walk down and up."""

    def __init__(self, layout: ElasticLayout, parameters: SupernetParameters, route: Array, context: Array) -> None:
        self.layout = layout
        self.parameters = parameters
        self.context = context
        self.rows = {name: route[i] for i, name in enumerate(layout.stages)}

    def run(self, x: Array, timestep: Array) -> Array:
        stages, last = self.layout.stages, len(self.layout.space.levels) - 1
        embedding = self.layout.families["time.embedding"]
        self.time = embedding.apply(self.parameters["time.embedding"], embedding.specs[0])(timestep)
        x = self.resample("input.convolution", 0, x)
        skips = []
        for i in range(last + 1):
            x, outputs = self.stage(stages[f"down{i}"], x)
            skips.append(outputs)
            if i < last:
                x = self.resample(f"down{i}.downsample", i, x)
        if "mid" in stages:
            x, _ = self.stage(stages["mid"], x)
        for i in range(last, -1, -1):
            x, _ = self.stage(stages[f"up{i}"], x, skips[i])
            if i:
                x = self.resample(f"up{i}.upsample", i, x)
        return self.by_width("output.head", 0, x, _head)

    def resample(self, name: str, level: int, x: Array) -> Array:
        return self.by_width(name, level, x, _convolve)

    def by_width(self, name: str, level: int, x: Array, branch: Callable[..., Array]) -> Array:
        """A family whose members are the widths of a level, in that order."""
        family = self.layout.families[name]
        width = max(self.layout.widths(level))

        def bound(spec: Any) -> Callable[..., Array]:
            return lambda stored, x: branch(family.apply(stored, spec), spec, width, x)

        chosen = row_at(self.rows[f"down{level}"], 0)["width"]
        return switch(chosen, [bound(spec) for spec in family.specs], self.parameters[name], x)

    def stage(self, stage: ElasticStage, x: Array, skips: Array | None = None) -> tuple[Array, Array]:
        """Runs a stage; returns the stream, and its input and all positions' outputs as the skips that it offers."""
        x = pad(x, stage.carried_width)

        def position(carry: tuple[Array, Array], stored: dict[str, Any]) -> tuple[tuple[Array, Array], Array]:
            x, i = carry
            row = row_at(self.rows[stage.name], i)
            x = self.residual(stage, stored["residual"], x, row, skips)
            if stage.depth:
                x = self.transformer(stage, stored, x, row)
            return (x, i + 1), x

        offered = pad(x, stage.carried_width)[None]
        stored = {part: self.parameters[f"{stage.name}.{part}"] for part in self.layout.parts(stage)}
        (x, _), outputs = lax.scan(position, (x, jnp.int32(0)), stored)
        return x, jnp.concatenate([offered, outputs])

    def residual(self, stage: ElasticStage, stored: Parameters, x: Array, row: Row, skips: Array | None) -> Array:
        skip = ()
        if skips is not None:
            chosen = lax.dynamic_index_in_dim(skips, row["skip"], keepdims=False, allow_negative_indices=False)
            skip = (pad(chosen, max(stage.widths + stage.skip_widths)),)
        block = self.layout.residuals[stage.name]
        return run_or_keep(row["is_active"], block, stored, x, self.time, *skip, choices=row)

    def transformer(self, stage: ElasticStage, stored: dict[str, Any], x: Array, row: Row) -> Array:
        block, depth = self.layout.transformers[stage.name], row["depth"]

        def layer(carry: tuple[Array, Array], parts: dict[str, Parameters]) -> tuple[tuple[Array, Array], None]:
            tokens, i = carry
            return (block.layer(row, parts, tokens, self.context, (i < depth).astype(jnp.int32)), i + 1), None

        is_active = jnp.minimum(depth, 1)
        tokens = block.enter(row, stored["project_in"], x, is_active)
        parts = {part: stored[part] for part in block.parts}
        (tokens, _), _ = lax.scan(layer, (tokens, jnp.int32(0)), parts)
        return block.leave(row, stored["project_out"], tokens, x, is_active)


_PARTS = {
    "self_attention": self_attention_part,
    "cross_attention": cross_attention_part,
    "feed_forward": feed_forward_part,
}


def _convolve(block: Any, spec: ConvolutionSpec, width: int, x: Array) -> Array:
    return pad(block(x[..., : spec.in_channels]), width)


def _head(block: Any, spec: OutputSpec, width: int, x: Array) -> Array:
    del width
    return block(x[..., : spec.in_channels])


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
                if spec.attention in PART_KINDS[part]:
                    of = member(f"{stage}.{part}", (*position, i), as_part(spec))
                    found |= {f"layers/{i}/{part}/{path}": array for path, array in of.items()}
        sliced[block.name] = found
    return plan, sliced
