"""Bounds as people say them: `latency_ms <= 5`, `memory_mb <= 400`, `params <= 60% of sd15`."""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Literal

from experiments.limits import check_limits
from objectives import get_objective
from objectives.cost import counted_costs
from search_space import get_scale
from search_space.published import get_design

_SENTENCE = re.compile(
    r"\s*(?P<name>\w+)\s*(?P<relation><=?|>=?)\s*(?P<number>[-+]?[\d.]+(?:[eE][+-]?\d+)?)\s*(?P<rest>.*?)\s*"
)
_SHARE = re.compile(r"%\s*of\s+(\S+)")
# What a name stands for, with the units of the objective in one of its own.
_NAMES = {
    "params": ("parameters", 1.0),
    "memory_mb": ("peak_memory_bytes", 1e6),
    "memory_gb": ("peak_memory_bytes", 1e9),
    "activations_mb": ("peak_activation_bytes", 1e6),
}
# Those that stand for an objective in its own unit.
SAME = {name: objective for name, (objective, factor) in _NAMES.items() if factor == 1.0}
_COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_UNITS = {
    "ms": {"": 1.0, "ms": 1.0, "s": 1e3},
    "bytes": {**_COUNTS, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
}
_HELP = "write such as 'latency_ms <= 5', 'macs <= 2.5 G', 'memory_mb <= 400' or 'params <= 60% of sd15'"


@dataclasses.dataclass(frozen=True)
class Bound:
    """What an objective's value may be at most, or at least."""

    name: str
    relation: Literal["<=", ">="]
    value: float

    def is_kept(self, value: float) -> bool:
        """Whether a value is within the bound; one that is not a number never is."""
        return value <= self.value if self.relation == "<=" else value >= self.value


def limits_of(sentences: Sequence[str], *, scale_name: str) -> dict[str, float]:
    """Upper bound by objective name.

    Args:
        sentences: one limit each.
        scale_name: of the scale at which costs are judged, and at which a published design is counted for a share of it.

    Raises:
        ValueError: a sentence cannot be read, its cost or unit is unknown, a design has no such count at this scale, or two are
            about the same cost.
    """
    limits: dict[str, float] = {}
    for sentence in sentences:
        bound = bound_of(sentence, scale_name=scale_name)
        if bound.relation == ">=":
            raise ValueError(f"{sentence!r}: a limit is an upper bound; {_HELP}")
        if bound.name in limits:
            raise ValueError(f"two limits are on {bound.name}, the second is {sentence!r}; keep one")
        limits[bound.name] = bound.value
    check_limits(limits)
    return limits


def bound_of(sentence: str, *, scale_name: str) -> Bound:
    """The bound on an objective that a sentence states, `<` read as `<=`.

    Raises:
        ValueError: it cannot be read, its objective or unit is unknown, or a design has no such count at this scale.
    """
    found = _SENTENCE.fullmatch(sentence)
    if found is None:
        raise ValueError(f"{sentence!r} is no bound; {_HELP}")
    try:
        number = float(found["number"])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{sentence!r}: {found['number']!r} is no number; {_HELP}")
    name, factor = _NAMES.get(found["name"], (found["name"], 1.0))
    unit, relation = get_objective(name).unit, "<=" if found["relation"].startswith("<") else ">="
    if share := _SHARE.fullmatch(found["rest"]):
        return Bound(name, relation, number / 100 * _count(name, share[1], scale_name))
    units = {"": factor} if factor != 1.0 else _UNITS.get(unit, _COUNTS)
    if found["rest"] not in units:
        known = ", ".join(key for key in units if key) or "none, it is part of the name"
        raise ValueError(f"{sentence!r}: unit {found['rest']!r} is not known here; known are {known}; {_HELP}")
    return Bound(name, relation, number * units[found["rest"]])


def _count(name: str, design: str, scale_name: str) -> float:
    """A count of a published design at a scale."""
    scale, architecture = get_scale(scale_name), get_design(design).architecture
    counts = counted_costs([architecture], scale)
    if name not in counts:
        raise ValueError(f"no share of {design} can be taken of {name}, which is not counted; known are {', '.join(counts)}")
    return float(counts[name][0])
