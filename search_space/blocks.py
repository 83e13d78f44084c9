"""The kinds of blocks that a UNet is made of, as specifications: what each computes, and what comes into it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from search_space.operations import (
    Operation,
    Shape,
    convolution_operations,
    output_operations,
    residual_operations,
    time_operations,
    transformer_operations,
)
from search_space.scale import Scale


@dataclasses.dataclass(frozen=True)
class ResidualSpec:
    """A residual block: channels of the stream, of the skip that is concatenated to it (0: none), and of the output."""

    in_channels: int
    skip_channels: int
    out_channels: int
    convolution: str


@dataclasses.dataclass(frozen=True)
class TransformerSpec:
    """A spatial transformer: its channels, and the genes of its layers."""

    channels: int
    depth: int
    attention: str
    attention_function: str
    expansion: int
    shared_kv: bool
    gating: str


@dataclasses.dataclass(frozen=True)
class ConvolutionSpec:
    """A 3x3 convolution outside residual blocks; `resample` says what happens to the resolution."""

    in_channels: int
    out_channels: int
    resample: Literal["keep", "down", "up"]


@dataclasses.dataclass(frozen=True)
class OutputSpec:
    """The head: group norm, SiLU and a 3x3 convolution."""

    in_channels: int
    out_channels: int


@dataclasses.dataclass(frozen=True)
class TimeSpec:
    """The time embedding: sinusoids and a two-layer perceptron."""

    features: int
    width: int


Spec = ResidualSpec | TransformerSpec | ConvolutionSpec | OutputSpec | TimeSpec
_KINDS: dict[str, type[Spec]] = {
    "residual": ResidualSpec,
    "transformer": TransformerSpec,
    "convolution": ConvolutionSpec,
    "output": OutputSpec,
    "time": TimeSpec,
}


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """A JSON object that `spec_from_json` turns back into this specification."""
    kind = next(name for name, one in _KINDS.items() if isinstance(spec, one))
    return {"kind": kind, **dataclasses.asdict(spec)}


def spec_from_json(record: Mapping[str, Any]) -> Spec:
    """Reads what `spec_to_json` wrote.

    >>> spec_from_json({"kind": "output", "in_channels": 8, "out_channels": 4})
    OutputSpec(in_channels=8, out_channels=4)

    Raises:
        ValueError: there is no such kind, or a key is missing or unknown.
    """
    name = record.get("kind", "") if isinstance(record, Mapping) else record
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"a block's kind must be one of {', '.join(_KINDS)}, got {name!r}")
    names = {field.name for field in dataclasses.fields(kind)}
    given = {key: value for key, value in record.items() if key != "kind"}
    if set(given) != names:
        raise ValueError(f"a block of kind {record['kind']!r} has the keys {', '.join(sorted(names))}, got {dict(record)!r}")
    return kind(**given)


def block_operations(spec: Spec, resolution: int, scale: Scale) -> tuple[Operation, ...]:
    """What a block computes, in order; `resolution` is that of its input.

    Raises:
        ValueError: a width does not fit the scale's norm or head rule.
    """
    match spec:
        case ResidualSpec():
            return residual_operations(
                spec.in_channels, spec.skip_channels, spec.out_channels, spec.convolution, resolution, scale
            )
        case TransformerSpec():
            return transformer_operations(spec, resolution, scale)
        case ConvolutionSpec():
            return convolution_operations(spec.in_channels, spec.out_channels, spec.resample, resolution)
        case OutputSpec():
            return output_operations(spec.in_channels, spec.out_channels, resolution)
        case TimeSpec():
            return time_operations(spec.features, spec.width)


def block_inputs(spec: Spec, resolution: int, scale: Scale) -> dict[str, Shape]:
    """Shapes of what comes into a block, by the names that its operations read."""
    if isinstance(spec, TimeSpec):
        return {"timestep": (1,)}
    if isinstance(spec, TransformerSpec):
        context = {} if spec.attention == "self" else {"context": (scale.context_length, scale.context_width)}
        return {"stream": (resolution, resolution, spec.channels), **context}
    inputs: dict[str, Shape] = {"stream": (resolution, resolution, spec.in_channels)}
    if isinstance(spec, ResidualSpec):
        inputs["time_embedding"] = (scale.time_width,)
        if spec.skip_channels:
            inputs["skip"] = (resolution, resolution, spec.skip_channels)
    return inputs
