"""Limits as people say them: `latency_ms <= 5`, `memory_mb <= 400`, `params <= 60% of sd15`."""

import re
from collections.abc import Sequence

from experiments.limits import check_limits
from objectives import get_objective
from objectives.cost import counted_costs
from search_space import get_scale
from search_space.published import get_design

_SENTENCE = re.compile(r"\s*(?P<name>\w+)\s*<=?\s*(?P<number>[\d.]+(?:[eE][+-]?\d+)?)\s*(?P<rest>.*?)\s*")
_SHARE = re.compile(r"%\s*of\s+(\S+)")
# What a name stands for, with the units of the objective in one of its own.
_NAMES = {
    "params": ("parameters", 1.0),
    "memory_mb": ("peak_memory_bytes", 1e6),
    "memory_gb": ("peak_memory_bytes", 1e9),
    "activations_mb": ("peak_activation_bytes", 1e6),
}
_COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_UNITS = {
    "ms": {"": 1.0, "ms": 1.0, "s": 1e3},
    "bytes": {**_COUNTS, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
}
_HELP = "write such as 'latency_ms <= 5', 'macs <= 2.5 G', 'memory_mb <= 400' or 'params <= 60% of sd15'"


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
        name, bound = _limit(sentence, scale_name)
        if name in limits:
            raise ValueError(f"two limits are on {name}, the second is {sentence!r}; keep one")
        limits[name] = bound
    check_limits(limits)
    return limits


def _limit(sentence: str, scale_name: str) -> tuple[str, float]:
    found = _SENTENCE.fullmatch(sentence)
    if found is None:
        raise ValueError(f"{sentence!r} is no limit; {_HELP}")
    try:
        number = float(found["number"])
    except ValueError:
        raise ValueError(f"{sentence!r}: {found['number']!r} is no number; {_HELP}") from None
    name, factor = _NAMES.get(found["name"], (found["name"], 1.0))
    unit = get_objective(name).unit
    if share := _SHARE.fullmatch(found["rest"]):
        return name, number / 100 * _count(name, share[1], scale_name)
    units = {"": factor} if factor != 1.0 else _UNITS.get(unit, _COUNTS)
    if found["rest"] not in units:
        known = ", ".join(key for key in units if key) or "none, it is part of the name"
        raise ValueError(f"{sentence!r}: unit {found['rest']!r} is not known here; known are {known}; {_HELP}")
    return name, number * units[found["rest"]]


def _count(name: str, design: str, scale_name: str) -> float:
    """A count of a published design at a scale."""
    scale, architecture = get_scale(scale_name), get_design(design).architecture
    counts = counted_costs([architecture], scale)
    if name not in counts:
        raise ValueError(f"no share of {design} can be taken of {name}, which is not counted; known are {', '.join(counts)}")
    return float(counts[name][0])
