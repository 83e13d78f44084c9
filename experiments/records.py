"""The ledger's lines: one JSON object each, closed by a checksum, and the values that they stand for.

A line is `{"kind": ..., ..., "crc32": "xxxxxxxx"}` and a newline. The checksum is taken over the bytes of the line before
`,"crc32"` and a closing brace, so that no second serialisation has to agree with the first.
"""

import dataclasses
import json
import math
import re
import zlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

from experiments.evaluation import Evaluation
from objectives import Estimate
from search_space import Architecture

_TAIL = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\n\Z')
_OUTCOMES = ("done", "failed", "infeasible")
Origin = Literal["searcher", "start", "ledger"]


@dataclasses.dataclass(frozen=True)
class Asked:
    """An architecture was asked for; its evaluation may follow.

    Attributes:
        index: position in the order in which architectures were asked for, from 0.
        architecture: what is asked for, canonical.
        origin: who asks: the searcher; the sweep, which was told to start from this architecture; or an earlier ledger, whose
            outcome is taken over and counts towards no goal.
        rung: fingerprint of the rung that it is promoted to; None where the search itself asks.
    """

    index: int
    architecture: Architecture
    origin: Origin = "searcher"
    rung: str | None = None


@dataclasses.dataclass(frozen=True)
class Repaired:
    """Damaged lines were taken out above this line; `removed` holds their numbers, from 1, at that time."""

    removed: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Rung:
    """A dearer way to measure quality, for the best of those that were measured in the way before.

    Attributes:
        fingerprint: names the way.
        objectives: names of what is compared on it, costs included.
        share: of the architectures that are done on the rung below, those that are promoted to this one.
        num_samples: that are drawn of each.
    """

    fingerprint: str
    objectives: tuple[str, ...]
    share: float
    num_samples: int


@dataclasses.dataclass(frozen=True)
class Rungs:
    """The rungs above the search, the cheapest first; the last such line of a ledger holds."""

    rungs: tuple[Rung, ...]


Event = Asked | Evaluation | Repaired | Rungs


def encode_line(record: Mapping[str, Any]) -> bytes:
    r"""A record as one line with its checksum.

    >>> encode_line({"kind": "header"})
    b'{"kind":"header","crc32":"5df10ca4"}\n'

    Raises:
        ValueError: a number in it is not finite; JSON has no such numbers.
    """
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return body[:-1] + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def decode_line(line: bytes) -> dict[str, Any]:
    """The record of one line, newline included.

    Raises:
        ValueError: the line is not complete, its checksum is wrong, or it is no JSON object.
    """
    tail = _TAIL.search(line)
    if tail is None:
        raise ValueError("the line does not end in a checksum")
    body = line[: tail.start()] + b"}"
    if zlib.crc32(body) != int(tail.group(1), 16):
        raise ValueError("the checksum does not match the line")
    record = json.loads(body)
    if not isinstance(record, dict):
        raise ValueError("the line is no JSON object")
    return record


def event_to_json(event: Event) -> dict[str, Any]:
    """The record that stands for an event."""
    if isinstance(event, Asked):
        architecture = event.architecture
        return {
            "kind": "asked",
            "index": event.index,
            "digest": architecture.digest,
            "origin": event.origin,
            **({"rung": event.rung} if event.rung is not None else {}),
            "architecture": architecture.to_json(),
        }
    if isinstance(event, Rungs):
        return {"kind": "rungs", "rungs": [dataclasses.asdict(rung) for rung in event.rungs]}
    if isinstance(event, Repaired):
        return {"kind": "repaired", "removed": list(event.removed)}
    return {"kind": event.status, **evaluation_to_json(event)}


def event_from_json(record: Mapping[str, Any]) -> Event:
    """Reads what `event_to_json` wrote.

    Raises:
        ValueError: the kind is unknown, a key is missing, or the digest is not the architecture's.
    """
    kind = record.get("kind")
    try:
        if kind == "asked":
            return Asked(int(record["index"]), _architecture(record), _origin(record), record.get("rung"))
        if kind == "rungs":
            return Rungs(tuple(Rung(**{**rung, "objectives": tuple(rung["objectives"])}) for rung in record["rungs"]))
        if kind == "repaired":
            return Repaired(tuple(record["removed"]))
        if kind in _OUTCOMES:
            return evaluation_from_json(record)
    except KeyError as error:
        raise ValueError(f"the key {error} is missing") from None
    raise ValueError(f"the kind must be asked, repaired, rungs, {', '.join(_OUTCOMES)}, got {kind!r}")


def evaluation_to_json(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as a JSON object; the ledger and `front.json` share this form."""
    return {
        "index": evaluation.index,
        "digest": evaluation.digest,
        "status": evaluation.status,
        "objectives": {name: estimate.to_json() for name, estimate in evaluation.objectives.items()},
        "fingerprint": evaluation.fingerprint,
        "reason": evaluation.reason,
        "seconds": evaluation.seconds if math.isfinite(evaluation.seconds) else None,
        "architecture": evaluation.architecture.to_json(),
    }


def evaluation_from_json(record: Mapping[str, Any]) -> Evaluation:
    """Reads what `evaluation_to_json` wrote.

    Raises:
        ValueError: the status is unknown, the digest is not the architecture's, or an estimate is malformed.
        KeyError: a key is missing.
    """
    if record["status"] not in _OUTCOMES:
        raise ValueError(f"the status must be one of {', '.join(_OUTCOMES)}, got {record['status']!r}")
    architecture = _architecture(record)
    return Evaluation(
        index=int(record["index"]),
        digest=architecture.digest,
        architecture=architecture,
        status=record["status"],
        objectives={name: Estimate.from_json(item) for name, item in record["objectives"].items()},
        fingerprint=record["fingerprint"],
        reason=record["reason"],
        seconds=math.nan if record["seconds"] is None else float(record["seconds"]),
    )


def finite(evaluation: Evaluation) -> Evaluation:
    """The evaluation itself, or, where an objective is not a finite number, a failed one that says which."""
    bad = [name for name, estimate in evaluation.objectives.items() if not estimate.is_finite]
    if not bad:
        return evaluation
    told = ", ".join(f"{name} is {evaluation.objectives[name].value}" for name in bad)
    kept = {name: estimate for name, estimate in evaluation.objectives.items() if name not in bad}
    reason = f"{evaluation.reason}; {told}" if evaluation.reason else told
    return dataclasses.replace(evaluation, status="failed", objectives=kept, reason=reason)


def _origin(record: Mapping[str, Any]) -> Origin:
    origin = record.get("origin", "searcher")  # schema 1 knew of no other
    if origin not in get_args(Origin):
        raise ValueError(f"the origin must be one of {', '.join(get_args(Origin))}, got {origin!r}")
    return origin


def _architecture(record: Mapping[str, Any]) -> Architecture:
    architecture = Architecture.from_json(record["architecture"]).canonical()
    if architecture.digest != record["digest"]:
        raise ValueError(f"the digest {record['digest']} is not that of the architecture, {architecture.digest}")
    return architecture
