"""Families: blocks that share one set of weights and differ in a choice, the branches of one switch.

A family stores, for every parameter that any member has, one array of the largest shape. A member takes the leading entries
of each axis; where its input is a stream with a skip behind it, it takes the leading entries of both parts.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import jax.numpy as jnp
from flax import nnx, traverse_util
from jax import lax
from jaxtyping import Array

from supernet.initializer import Initializer

Parameters = dict[str, Array]

# Axes of a residual block's parameters that run over the stream's channels and then the skip's.
_SKIP_AXES = {
    "norm1/scale": 0, "norm1/bias": 0, "conv1/kernel": 2, "conv1/depthwise": 2, "conv1/pointwise/kernel": 0,
    "shortcut/kernel": 0,
}  # fmt: skip

# Axes of an attention's parameters that run over its heads.
_HEAD_AXES = {"query/kernel": 1, "key/kernel": 1, "value/kernel": 1, "out/kernel": 0}


@dataclasses.dataclass(frozen=True)
class ParameterShape:
    """A parameter as an initializer is asked for it; it stands in the place of an array."""

    shape: tuple[int, ...]
    std: float
    mean: float = 0.0


@dataclasses.dataclass(frozen=True)
class Member:
    """One member: its block without parameters, and the parameters' shapes by path ("conv1/kernel")."""

    block: nnx.Module
    shapes: dict[str, ParameterShape]
    stream_channels: int | None
    skip_channels: int


@dataclasses.dataclass(frozen=True)
class Family:
    """Blocks that share weights.

    Attributes:
        specs: what tells the members apart, each once.
        build: the block of a specification.
        copies: leading axes of the stored arrays: positions of a stage, layers of a transformer.
        heads: number of attention heads at every width, of each of which a member takes the leading channels; None where the
            channels of a head are fixed, so that a narrower member has fewer heads.
    """

    specs: tuple[Any, ...]
    build: Callable[[Any, Initializer], nnx.Module]
    copies: tuple[int, ...] = ()
    heads: int | None = None

    @cached_property
    def members(self) -> dict[Any, Member]:
        """Members by specification."""
        return {spec: _member(spec, self.build(spec, _describe)) for spec in self.specs}

    @cached_property
    def stream_channels(self) -> int:
        """Channels of the widest stream that comes in with a skip; 0 where none does."""
        return max((member.stream_channels or 0) for member in self.members.values())

    def initial(self, init: Initializer) -> Parameters:
        """Fresh stored arrays; each is drawn with the spread of the largest member that has it."""
        return {
            path: init((*self.copies, *stored.shape), std=stored.std, mean=stored.mean) for path, stored in self._stored.items()
        }

    def cut(self, path: str, shape: tuple[int, ...], stored: Mapping[str, Array], stream_channels: Any = None) -> Array:
        """A member's parameter from a stored array without its leading axes: the leading entries of each axis.

        Where a skip stands behind the stream, it takes the leading entries of both, so many channels of the stream, which
        may be traced.
        """
        if self.stream_channels and path in _SKIP_AXES:
            return _lead_of_both(stored[path], shape, _SKIP_AXES[path], self.stream_channels, stream_channels)
        if self.heads and path in _HEAD_AXES:
            return _lead_of_heads(stored[path], shape, _HEAD_AXES[path], self.heads)
        return _lead(stored[path], shape)

    def member_parameters(self, stored: Mapping[str, Array], spec: Any) -> Parameters:
        """A member's parameters, from arrays that were stored without their leading axes."""
        member = self.members[spec]
        shapes = member.shapes.items()
        return {path: self.cut(path, wanted.shape, stored, member.stream_channels) for path, wanted in shapes}

    def apply(self, stored: Mapping[str, Array], spec: Any) -> Any:
        """The member as a callable block whose parameters are slices of the stored arrays."""
        return self._merge(self.members[spec].block, self.member_parameters(stored, spec))

    def layer(self, stored: Mapping[str, Array], spec: Any, path: str, stream_channels: Any = None) -> Any:
        """One layer of the member ("conv1/pointwise"), whose input has so many channels of the stream."""
        member, prefix = self.members[spec], f"{path}/"
        layer: Any = member.block
        for name in path.split("/"):
            layer = getattr(layer, name)
        shapes = {p: wanted.shape for p, wanted in member.shapes.items() if p.startswith(prefix)}
        found = {p.removeprefix(prefix): self.cut(p, shape, stored, stream_channels) for p, shape in shapes.items()}
        return self._merge(layer, found)

    def _merge(self, block: nnx.Module, parameters: Parameters) -> Any:
        return nnx.merge(nnx.graphdef(block), nnx.State(traverse_util.unflatten_dict(parameters, sep="/")))

    @cached_property
    def _stored(self) -> dict[str, ParameterShape]:
        stored: dict[str, ParameterShape] = {}
        skips = max(member.skip_channels for member in self.members.values())
        for member in self.members.values():
            for path, wanted in member.shapes.items():
                known = stored.get(path, wanted)
                shape = [max(pair) for pair in zip(known.shape, wanted.shape, strict=True)]
                if skips and path in _SKIP_AXES:
                    shape[_SKIP_AXES[path]] = self.stream_channels + skips
                smallest_std = min(known.std, wanted.std)  # the widest member's: fan-in is largest there
                stored[path] = ParameterShape(tuple(shape), smallest_std, wanted.mean)
        return stored


def only(stored: Mapping[str, Array], *layers: str) -> Parameters:
    """The parameters of some layers ("conv1", "conv1/pointwise")."""
    return {path: array for path, array in stored.items() if path.rpartition("/")[0] in layers}


def _lead(array: Array, shape: tuple[int, ...]) -> Array:
    return array[tuple(slice(size) for size in shape)]


def _lead_of_heads(array: Array, shape: tuple[int, ...], axis: int, heads: int) -> Array:
    """Along one axis the leading entries of each head."""
    split = (*array.shape[:axis], heads, -1, *array.shape[axis + 1 :])
    wanted = (*shape[:axis], heads, shape[axis] // heads, *shape[axis + 1 :])
    return _lead(array.reshape(split), wanted).reshape(shape)


def _lead_of_both(array: Array, shape: tuple[int, ...], axis: int, stored_stream: int, stream: Any) -> Array:
    """Along one axis the leading `stream` entries of the stored stream, then the leading ones of the skip behind it."""
    lead = _lead(array, shape)
    if shape[axis] == array.shape[axis]:  # what is moved forward leaves a place behind it; it is not used
        array = jnp.pad(array, [(0, stored_stream if i == axis else 0) for i in range(array.ndim)])
    start = [stored_stream - stream if i == axis else 0 for i in range(array.ndim)]
    in_stream = lax.broadcasted_iota(jnp.int32, shape, axis) < stream
    return jnp.where(in_stream, lead, lax.dynamic_slice(array, start, shape, allow_negative_indices=False))


def _describe(shape: tuple[int, ...], *, std: float, mean: float = 0.0) -> ParameterShape:
    return ParameterShape(shape, std, mean)


def _member(spec: Any, block: nnx.Module) -> Member:
    shapes: Any = traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(block)), sep="/")
    skip = getattr(spec, "skip_channels", 0)
    return Member(block, shapes, spec.in_channels if skip else None, skip)
