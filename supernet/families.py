"""Families: blocks that share one set of weights and differ in a choice, the branches of one switch.

A family stores, for every parameter that any member has, one array of the largest shape. A member takes the leading entries
of each axis; where its input is a stream with a skip behind it, it takes the leading entries of both parts.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

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
    """

    specs: tuple[Any, ...]
    build: Callable[[Any, Initializer], nnx.Module]
    copies: tuple[int, ...] = ()

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

    def compact(self, stored: Mapping[str, Array], stream_channels: Any) -> Parameters:
        """The stored arrays with the skip's channels right behind so many of the stream's; a member's are then leading ones."""
        moved = dict(stored)
        for path, axis in _SKIP_AXES.items():
            if path in stored:
                skip = lax.slice_in_dim(stored[path], self.stream_channels, None, axis=axis)
                moved[path] = lax.dynamic_update_slice_in_dim(stored[path], skip, stream_channels, axis)
        return moved

    def member_parameters(self, stored: Mapping[str, Array], spec: Any) -> Parameters:
        """A member's parameters as slices of arrays that were stored without their leading axes."""
        member = self.members[spec]
        compact = self.compact(stored, member.stream_channels) if member.stream_channels else stored
        return {path: _lead(compact[path], wanted.shape) for path, wanted in member.shapes.items()}

    def apply(self, stored: Mapping[str, Array], spec: Any) -> Any:
        """The member as a callable block whose parameters are slices of the stored arrays."""
        return self._merge(self.members[spec].block, self.member_parameters(stored, spec))

    def layer(self, compact: Mapping[str, Array], spec: Any, path: str) -> Any:
        """One layer of the member ("conv1/pointwise"), from arrays that were stored without leading axes and compacted."""
        layer, prefix = self.members[spec].block, f"{path}/"
        for name in path.split("/"):
            layer = getattr(layer, name)
        shapes = {p.removeprefix(prefix): w.shape for p, w in self.members[spec].shapes.items() if p.startswith(prefix)}
        return self._merge(layer, {p: _lead(compact[prefix + p], shape) for p, shape in shapes.items()})

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


def _lead(array: Array, shape: tuple[int, ...]) -> Array:
    return array[tuple(slice(size) for size in shape)]


def _describe(shape: tuple[int, ...], *, std: float, mean: float = 0.0) -> ParameterShape:
    return ParameterShape(shape, std, mean)


def _member(spec: Any, block: nnx.Module) -> Member:
    shapes: Any = traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(block)), sep="/")
    skip = getattr(spec, "skip_channels", 0)
    return Member(block, shapes, spec.in_channels if skip else None, skip)
