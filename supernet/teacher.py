"""Starts a supernet from a teacher: its largest subnet takes the teacher's weights, and computes what the teacher computes.

The block map says which block takes which. A block that the teacher does not have hands its input on: its last layer is
zero, and where the stream has a skip behind it, the shortcut picks the stream.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array

from search_space import Architecture, LayerPlan, layer_plan
from search_space.block_map import BlockMap, block_map, student_block_map
from search_space.blocks import ResidualSpec, Spec, TransformerSpec
from supernet.families import Parameters
from supernet.parameters import of_block
from supernet.subnets import StoredParameters, block_parameters, write_block
from supernet.supernet import Supernet


def start_from_teacher(
    supernet: Supernet, parameters: StoredParameters, teacher: LayerPlan, taught: Mapping[str, Array]
) -> BlockMap:
    """Writes the teacher's parameters into the supernet's, in place and block by block, since both may be gigabytes.

    Args:
        supernet: whose largest architecture has the teacher's levels and widths.
        parameters: of the supernet; what the teacher does not have stays as it is.
        teacher: the teacher's layer plan.
        taught: the teacher's parameters, as `unet_parameters` names them.

    Returns:
        The block map.

    Raises:
        ValueError: the teacher does not fit; the message says in what, and nothing was written.
    """
    larger = layer_plan(supernet.space.largest(), supernet.scale)
    feeding = block_map(teacher, larger)
    _fill(supernet, parameters, larger, feeding, teacher, taught, _taking)
    return feeding


def start_student(
    supernet: Supernet,
    parameters: StoredParameters,
    teacher: LayerPlan,
    taught: Mapping[str, Array],
    student: Architecture,
) -> BlockMap:
    """Writes what a student can use of the teacher's parameters into the supernet's, in place; `extract` then narrows them.

    A block of the same kind and size takes all, so that a student with the teacher's architecture is the teacher. Of a larger
    feed-forward it takes the first hidden units; a block that the teacher does not have hands its input on; a separable
    convolution in the place of a full one stays as it was.

    Args:
        supernet: whose largest architecture has the teacher's widths.
        parameters: of the supernet.
        teacher: the teacher's layer plan.
        taught: the teacher's parameters, as `unet_parameters` names them.
        student: of the supernet's space.

    Returns:
        The block map, by the student's blocks.

    Raises:
        ValueError: the student has other levels than the teacher, or the supernet other widths; nothing was written.
    """
    widths = [level.width for level in supernet.space.largest().levels]
    found = [level.width * teacher.scale.base_width for level in teacher.architecture.levels]
    wanted = [width * supernet.scale.base_width for width in widths]
    feeding = student_block_map(teacher, layer_plan(student, supernet.scale))
    if found != wanted:
        raise ValueError(
            f"teacher {teacher.architecture.digest} has {found} channels, the largest network of the space {wanted}"
        )
    levels = [dataclasses.replace(level, width=width) for level, width in zip(student.levels, widths, strict=True)]
    wide = layer_plan(dataclasses.replace(student, levels=tuple(levels)), supernet.scale)
    _fill(supernet, parameters, wide, feeding, teacher, taught, _as_much_of)
    return feeding


def _fill(
    supernet: Supernet,
    parameters: StoredParameters,
    plan: LayerPlan,
    feeding: BlockMap,
    teacher: LayerPlan,
    taught: Mapping[str, Array],
    taking: Callable[[Spec, Spec, Parameters, Parameters], Parameters],
) -> None:
    """Writes every block of a plan: what `taking` makes of its own and its source's parameters; without one, it hands on."""
    specs = {block.name: block.spec for block in teacher.blocks}
    for block in plan.blocks:
        fresh, source = block_parameters(supernet, parameters, block), feeding[block.name]
        if source is None:
            filled = fresh | _handing_on(block.spec, fresh)
        else:
            filled = taking(block.spec, specs[source], fresh, of_block(taught, source))
        write_block(supernet, parameters, block, filled)


def _as_much_of(spec: Spec, source: Spec, fresh: Parameters, taught: Parameters) -> Parameters:
    """A block's parameters with as much of the teacher's as it has room for."""
    if isinstance(spec, ResidualSpec) and isinstance(source, ResidualSpec) and spec.convolution != source.convolution == "full":
        taught = {path: array for path, array in taught.items() if not path.startswith(("conv1", "conv2"))}
        source = dataclasses.replace(source, convolution=spec.convolution)
    taken = _taking(spec, source, fresh, taught)
    return {path: taken[path][tuple(map(slice, x.shape))] if path in taken else x for path, x in fresh.items()}


def _handing_on(spec: Spec, fresh: Parameters) -> Parameters:
    """What makes a block hand its input on."""
    if isinstance(spec, TransformerSpec):
        return _zeros(fresh, "project_out/dense")
    assert isinstance(spec, ResidualSpec)
    assert spec.in_channels == spec.out_channels, "a block that changes the width has its counterpart in the teacher"
    # Of a separable convolution the last factor alone: with both of them zero, nothing in the block would ever have a gradient.
    found = _zeros(fresh, "conv2/pointwise" if spec.convolution == "separable" else "conv2")
    if spec.skip_channels:
        found |= _zeros(fresh, "shortcut")
        found["shortcut/kernel"] = jnp.eye(spec.in_channels + spec.skip_channels, spec.out_channels)
    return found


def _taking(spec: Spec, source: Spec, fresh: Parameters, taught: Parameters) -> Parameters:
    """A block's parameters that make it compute what the teacher's block computes."""
    if isinstance(spec, ResidualSpec) and isinstance(source, ResidualSpec) and spec.convolution != source.convolution:
        taught = {path: array for path, array in taught.items() if not path.startswith(("conv1", "conv2"))} | {
            path: array for name in ("conv1", "conv2") for path, array in _as_full(name, taught).items()
        }
    if not isinstance(spec, TransformerSpec) or not isinstance(source, TransformerSpec):
        return taught
    found = fresh | taught
    for i in range(spec.depth):
        for part in ("self_attention", "cross_attention", "feed_forward"):
            name = f"layers/{i}/{part}"
            last = f"{name}/contract" if part == "feed_forward" else f"{name}/out"
            if f"{last}/kernel" not in taught:
                found |= _zeros(fresh, last)
            elif part == "feed_forward":
                found |= _wider(name, fresh, taught)
            elif f"{name}/value/kernel" not in taught:
                found[f"{name}/value/kernel"] = taught[f"{name}/key/kernel"]
    return found


def _wider(name: str, fresh: Parameters, taught: Parameters) -> Parameters:
    """A feed-forward with the teacher's hidden units in front, and further ones, if any, that nothing is taken from."""
    found = {}
    for path, axis in (("expand/kernel", 1), ("expand/bias", 0), ("gate/kernel", 1), ("gate/bias", 0), ("contract/kernel", 0)):
        own, array = fresh[f"{name}/{path}"], taught[f"{name}/{path}"]
        behind = own[array.shape[0] :] if axis == 0 else own[:, array.shape[1] :]
        found[f"{name}/{path}"] = jnp.concatenate([array, 0 * behind if path == "contract/kernel" else behind], axis)
    return found


def _as_full(name: str, taught: Parameters) -> Parameters:
    """A separable convolution as a full one."""
    depthwise, pointwise = taught[f"{name}/depthwise"], taught[f"{name}/pointwise/kernel"]
    return {f"{name}/kernel": depthwise[..., None] * pointwise[None, None], f"{name}/bias": taught[f"{name}/pointwise/bias"]}


def _zeros(fresh: Parameters, layer: str) -> Parameters:
    return {path: jnp.zeros_like(array) for path, array in fresh.items() if path.startswith(f"{layer}/")}
