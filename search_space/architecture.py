"""An architecture as a value: what was chosen, in canonical form, with a digest, JSON in and out.

A UNet has levels (resolutions, finest first), each with a width and two stages (down and up), and one optional mid stage.
The skip rule ties the two sides of a level: a down stage of d blocks offers d + 1 skips (its input, then each block's
output) and the m blocks of the up stage take the last m of them, deepest first; so m <= d + 1, and skips that are left
over are not used. For the standard m = d + 1 this is Stable Diffusion's wiring.
"""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

SCHEMA_VERSION = 1

# The words that each field of a stage may be.
STAGE_WORDS = {
    "convolution": ("full", "separable"),
    "attention": ("self_cross", "cross", "self"),
    "attention_function": ("softmax", "relu"),
    "gating": ("gelu", "silu"),
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one stage of a UNet is made of.

    Attributes:
        num_blocks: residual blocks, 1 or more; 0 only says that there is no mid stage.
        convolution: full 3x3 convolutions, or separable ones (depthwise 3x3, then 1x1).
        transformer_depth: transformer layers behind each block; in the mid stage, between its blocks. 0 is none.
        attention: what each transformer layer attends to: itself and the prompt, the prompt alone, or itself alone.
        attention_function: softmax, or ReLU divided by the number of keys.
        expansion: hidden width of the gated feed-forward, in multiples of the stage's width.
        shared_kv: self-attention projects keys and values with one matrix.
        gating: activation of the gate in the feed-forward.
    """

    num_blocks: int
    convolution: str = "full"
    transformer_depth: int = 0
    attention: str = "self_cross"
    attention_function: str = "softmax"
    expansion: int = 4
    shared_kv: bool = False
    gating: str = "gelu"

    def __post_init__(self) -> None:
        """Checks every field against its type and range."""
        for name, choices in STAGE_WORDS.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name, least in (("num_blocks", 0), ("transformer_depth", 0), ("expansion", 1)):
            _check_integer(name, getattr(self, name), least)
        if not isinstance(self.shared_kv, bool):
            raise ValueError(f"shared_kv must be true or false, got {self.shared_kv!r}")


@dataclasses.dataclass(frozen=True)
class Level:
    """One resolution of a UNet: its width in units of the scale's base width, and the stages on both sides."""

    width: int
    down: Stage
    up: Stage

    def __post_init__(self) -> None:
        """Checks the width and the skip rule."""
        _check_integer("width", self.width, 1)
        for side in ("down", "up"):
            _check_integer(f"{side}.num_blocks", getattr(self, side).num_blocks, 1)
        if self.up.num_blocks > self.down.num_blocks + 1:
            raise ValueError(
                f"up.num_blocks must be at most down.num_blocks + 1 = {self.down.num_blocks + 1} (each up block takes "
                f"a skip of its own), got {self.up.num_blocks}; use fewer up blocks or more down blocks"
            )


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A UNet's architecture: levels, finest first, and an optional mid stage."""

    levels: tuple[Level, ...]
    mid: Stage | None = None

    def __post_init__(self) -> None:
        """Checks that there is a level."""
        if not self.levels:
            raise ValueError("levels must hold at least one level, got none")

    def canonical(self) -> "Architecture":
        """The same function with every gene that has no effect at its default."""
        return self._canonical_form or self

    @cached_property
    def _canonical_form(self) -> "Architecture | None":
        """None where it is canonical itself: a reference to itself would keep it alive."""
        levels = tuple(Level(level.width, _canonical(level.down), _canonical(level.up)) for level in self.levels)
        mid = None
        if self.mid is not None and self.mid.num_blocks:  # its transformers stand between its blocks
            mid = _canonical(self.mid, has_transformers=self.mid.num_blocks > 1)
        if (levels, mid) == (self.levels, self.mid):
            return None
        form = Architecture(levels, mid)
        form.__dict__["_canonical_form"] = None
        return form

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that two architectures share exactly when their canonical forms are equal."""
        text = json.dumps(self.canonical().to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` turns back into this value."""
        return {
            "schema": SCHEMA_VERSION,
            "levels": [{"width": x.width, "down": _stage_json(x.down), "up": _stage_json(x.up)} for x in self.levels],
            "mid": None if self.mid is None else _stage_json(self.mid),
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Architecture":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: a key is missing or unknown, a value is out of range, or the schema version is another.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"an architecture must be a JSON object, got {type(record).__name__}")
        if record.get("schema") != SCHEMA_VERSION:
            raise ValueError(
                f"schema must be {SCHEMA_VERSION}, got {record.get('schema')!r}; "
                "read this file with the version of PocketUNet that wrote it"
            )
        _check_keys("architecture", record, ("schema", "levels", "mid"))
        if not isinstance(record["levels"], list):
            raise ValueError(f"levels must be a list, got {record['levels']!r}")
        levels = tuple(_level(f"levels[{i}]", level) for i, level in enumerate(record["levels"]))
        mid = record["mid"]
        return Architecture(levels, None if mid is None else _stage("mid", mid))


_TRANSFORMER_FIELDS = ("transformer_depth", "attention", "attention_function", "expansion", "shared_kv", "gating")
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Stage)}


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {name: getattr(stage, name) for name in _DEFAULTS}


@lru_cache(maxsize=1 << 14)
def _canonical(stage: Stage, *, has_transformers: bool = True) -> Stage:
    if stage.transformer_depth == 0 or not has_transformers:
        return dataclasses.replace(stage, **{name: _DEFAULTS[name] for name in _TRANSFORMER_FIELDS})
    if stage.attention == "cross":  # there is no self-attention whose keys and values could be shared
        return dataclasses.replace(stage, shared_kv=False)
    return stage


def _check_integer(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, got {value!r}")


def _check_keys(where: str, record: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for key in record:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(names)}"
            raise ValueError(f"{where}: key {key!r} is not known{hint}")
    for name in names:
        if name not in record:
            raise ValueError(f"{where}: key {name!r} is missing")


def _level(where: str, record: Any) -> Level:
    if not isinstance(record, Mapping):
        raise ValueError(f"{where} must be a JSON object, got {record!r}")
    _check_keys(where, record, ("width", "down", "up"))
    down, up = (_stage(f"{where}.{side}", record[side]) for side in ("down", "up"))
    try:
        return Level(record["width"], down, up)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _stage(where: str, record: Any) -> Stage:
    if not isinstance(record, Mapping):
        raise ValueError(f"{where} must be a JSON object, got {record!r}")
    _check_keys(where, record, tuple(_DEFAULTS))
    try:
        return Stage(**record)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None
