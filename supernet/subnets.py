"""Where the parameters of a subnet stand in its supernet: read out of it, and written into it."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from search_space import Architecture, LayerPlan, layer_plan
from search_space.blocks import TransformerSpec
from search_space.plan import BlockPlan
from supernet.elastic_stage import PART_KINDS, cross_attention_part, feed_forward_part, self_attention_part
from supernet.families import Parameters
from supernet.supernet import Supernet, SupernetParameters

_PARTS = {
    "self_attention": self_attention_part,
    "cross_attention": cross_attention_part,
    "feed_forward": feed_forward_part,
}
# A supernet's parameters as arrays that can be written to.
StoredParameters = dict[str, dict[str, np.ndarray]]
# A family's name, the place among its copies, the member's specification; and how its paths begin in the block.
_Member = tuple[str, tuple[int, ...], Any, str]


def subnet_parameters(supernet: Supernet, parameters: SupernetParameters, architecture: Architecture) -> tuple[LayerPlan, dict]:
    """The layer plan of an architecture, and its blocks' parameters by block name and path, sliced from the supernet.

    Raises:
        ValueError: the architecture is not in the supernet's space.
    """
    supernet.space.validate(architecture)
    plan = layer_plan(architecture, supernet.scale)
    return plan, {block.name: block_parameters(supernet, parameters, block) for block in plan.blocks}


def block_parameters(
    supernet: Supernet, parameters: Mapping[str, Mapping[str, Array | np.ndarray]], block: BlockPlan
) -> Parameters:
    """The parameters of one block of a subnet, sliced from the supernet, by path."""
    sliced: Parameters = {}
    for name, place, spec, prefix in _members(block, shared_projections=supernet.scale.shared_projections):
        stored = {path: jnp.asarray(array[place]) for path, array in parameters[name].items()}
        found = supernet.layout.families[name].member_parameters(stored, spec)
        sliced |= {prefix + path: array for path, array in found.items()}
    return sliced


def write_block(supernet: Supernet, parameters: StoredParameters, block: BlockPlan, values: Mapping[str, Array]) -> None:
    """Writes the parameters of one block of a subnet into the supernet's, in place: `block_parameters` gives them back."""
    for name, place, spec, prefix in _members(block, shared_projections=supernet.scale.shared_projections):
        stored = {path: array[place] for path, array in parameters[name].items()}  # views
        numbered = {path: jnp.arange(array.size).reshape(array.shape) for path, array in stored.items()}
        for path, places in supernet.layout.families[name].member_parameters(numbered, spec).items():
            np.put(stored[path], np.asarray(places), np.asarray(values[prefix + path]))


def _members(block: BlockPlan, *, shared_projections: bool) -> Iterator[_Member]:
    """The members of families that a block is made of."""
    stage, *numbers, kind = block.name.split(".")
    place, spec = tuple(map(int, numbers)), block.spec
    if not isinstance(spec, TransformerSpec):
        yield f"{stage}.{kind}", place, spec, ""
        return
    position, first = (*place, 0)[:2]  # a layer with projections of its own says which one it is
    for end in ("project_in", "project_out"):
        yield f"{stage}.{end}", (position,) if shared_projections else (position, first), spec.channels, f"{end}/"
    for i in range(spec.depth):
        for part, as_part in _PARTS.items():
            if spec.attention in PART_KINDS[part]:
                yield f"{stage}.{part}", (position, first + i), as_part(spec), f"layers/{i}/{part}/"
