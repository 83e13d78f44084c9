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

from search_space import Architecture, Scale, SearchSpace
from search_space.plan import ConvolutionSpec, OutputSpec
from supernet.blocks import Tokens
from supernet.convolution import Image, Lowering
from supernet.elastic_layers import pad, run_or_keep
from supernet.elastic_layout import ElasticLayout
from supernet.elastic_stage import ElasticStage, Row
from supernet.families import Parameters
from supernet.initializer import random_initializer
from supernet.route import Route, find_route, row_at
from supernet.switch import switch

SupernetParameters = dict[str, Parameters]
Streams = dict[str, Float[Array, "batch _ _ _"]]


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
        return self.features(parameters, x, timestep, context, route)[0]

    def features(
        self,
        parameters: SupernetParameters,
        x: Image,
        timestep: Float[Array, " batch"],
        context: Tokens,
        route: Route,
    ) -> tuple[Image, Streams]:
        """The prediction, and the stream at the end of each stage by the stage's name, with zeros behind the subnet's channels.

        The stream is that before it goes on to another resolution. Stages that only some numbers of levels have are left
        out, and then the mid stage too, whose place depends on that number.
        """
        rows = {name: route[i] for i, name in enumerate(self.layout.stages)}
        embedding = self.layout.families["time.embedding"]
        time = embedding.apply(parameters["time.embedding"], embedding.specs[0])(timestep)
        return _Pass(self.layout, parameters, rows, time, context).run(x)

    def channels(self, route: Route) -> dict[str, Int[Array, ""]]:
        """How many channels of its stream each stage of a route's subnet has, by the stage's name."""
        return {name: row_at(route[i], 0)["channels"] for i, name in enumerate(self.layout.stages)}

    def route(self, architecture: Architecture) -> Int[np.ndarray, "stages positions fields"]:
        """An architecture as `apply` takes it.

        Raises:
            ValueError: the architecture is not in the supernet's space.
        """
        self.space.validate(architecture)
        return find_route(self.layout, architecture.canonical())


@dataclasses.dataclass(frozen=True)
class _Pass:
    """One forward pass: the route of one architecture, traced, and the walk down and up."""

    layout: ElasticLayout
    parameters: SupernetParameters
    rows: dict[str, Array]
    time: Array
    context: Array

    def run(self, x: Array) -> tuple[Array, Streams]:
        x, streams = self.from_level(0, self.by_width("input.convolution", 0, x, _convolve))
        return self.by_width("output.head", 0, x, _head), streams

    def from_level(self, i: int, x: Array) -> tuple[Array, Streams]:
        """Down a level, through all that is below, and up again."""
        down, skips = self.stage(self.layout.stages[f"down{i}"], x)
        x, below = self.below(i, down)
        up = self.stage(self.layout.stages[f"up{i}"], x, skips)[0]
        return up, {f"down{i}": down, **below, f"up{i}": up}

    def below(self, i: int, x: Array) -> tuple[Array, Streams]:
        """What lies below a level: the next level, or the mid stage where this one is the coarsest."""
        num_levels = self.layout.space.num_levels
        if i + 1 == max(num_levels):
            return self.middle(x)
        if i + 1 not in num_levels:
            return self.deeper(i, x)
        width = self.layout.stages[f"up{i}"].carried_width
        branches = [
            lambda rows, parameters, x, *rest, go=go: pad(go(_Pass(self.layout, parameters, rows, *rest), x)[0], width)
            for go in (_Pass.middle, lambda inner, x: inner.deeper(i, x))
        ]
        inner = {"mid", *(f"{side}{j}" for side in ("down", "up") for j in range(i + 1, max(num_levels)))}
        reached = {name: of for name, of in self.parameters.items() if name.split(".")[0] in inner}
        reached[f"down{i}.downsample"] = self.parameters[f"down{i}.downsample"]
        is_there = row_at(self.rows[f"down{i + 1}"], 0)["is_active"]
        return switch(is_there, branches, reached, x, self.time, self.context, choices=self.rows), {}

    def middle(self, x: Array) -> tuple[Array, Streams]:
        mid = self.layout.stages.get("mid")
        if mid is None:
            return x, {}
        x = self.stage(mid, x)[0]
        return x, {"mid": x}

    def deeper(self, i: int, x: Array) -> tuple[Array, Streams]:
        x, streams = self.from_level(i + 1, self.by_width(f"down{i}.downsample", i, x, _convolve))
        return self.by_width(f"up{i + 1}.upsample", i + 1, x, _convolve), streams

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
        (x, _), outputs = lax.scan(position, (x, jnp.int32(0)), self.stored(stage))
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
        parts = {part: stored[part] for part in block.parts}
        ends = {part: stored[part] for part in ("project_in", "project_out")}

        def layer(tokens: Array, stored: dict[str, Any], is_active: Array) -> Array:
            return block.layer(row, stored, tokens, self.context, is_active)

        def whole(x: Array, stored: dict[str, Any], is_active: Array) -> Array:
            tokens = layer(block.enter(row, stored["project_in"], x, is_active), stored, is_active)
            return block.leave(row, stored["project_out"], tokens, x, is_active)

        if not self.layout.scale.shared_projections:
            return _over_layers(whole, x, parts | ends, stage.depth, depth)
        is_active = jnp.minimum(depth, 1)
        tokens = block.enter(row, ends["project_in"], x, is_active)
        tokens = _over_layers(layer, tokens, parts, stage.depth, depth)
        return block.leave(row, ends["project_out"], tokens, x, is_active)

    def stored(self, stage: ElasticStage) -> dict[str, Parameters]:
        """A stage's families by part, with positions first, and then layers where there may be more than one."""
        found = {}
        for part in self.layout.parts(stage):
            name = f"{stage.name}.{part}"
            has_one_layer = self.layout.families[name].copies[1:] == (1,)
            # An axis of length 1 less: arrays of one shape are read by one kernel, and that compiles once.
            shape = lambda x, one=has_one_layer: (x.shape[0], *x.shape[2:]) if one else x.shape  # noqa: E731
            found[part] = {path: x.reshape(shape(x)) for path, x in self.parameters[name].items()}
        return found


def _over_layers(
    step: Callable[[Array, Any, Array], Array], x: Array, stored: dict[str, Any], num_layers: int, depth: Array
) -> Array:
    """Layers in turn as `step(x, stored, is_active)`, of which the first `depth` are active."""
    if num_layers == 1:
        return step(x, stored, jnp.minimum(depth, 1))

    def layer(carry: tuple[Array, Array], stored: dict[str, Any]) -> tuple[tuple[Array, Array], None]:
        x, i = carry
        return (step(x, stored, (i < depth).astype(jnp.int32)), i + 1), None

    return lax.scan(layer, (x, jnp.int32(0)), stored)[0][0]


def _convolve(block: Any, spec: ConvolutionSpec, width: int, x: Array) -> Array:
    return pad(block(x[..., : spec.in_channels]), width)


def _head(block: Any, spec: OutputSpec, width: int, x: Array) -> Array:
    del width
    return block(x[..., : spec.in_channels])
