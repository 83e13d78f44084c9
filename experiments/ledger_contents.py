"""What a ledger says, read without changing anything on disk; safe beside its writer.

A kill at any byte leaves at worst a torn last line, which is ignored here. Damage anywhere else is an error that names the
file and the line.
"""

import dataclasses
import json
import math
import shlex
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.records import Asked, Event, Repaired, Rung, Rungs, decode_line, event_from_json

SCHEMA_VERSION = 3  # 1 did not say where an architecture that was asked for came from; 2 knew of no rungs


@dataclasses.dataclass(frozen=True)
class LedgerContents:
    """What a ledger says.

    Attributes:
        header: schema version, space name, settings digest and what else the writer gave; empty where not yet written.
        events: asked for, evaluated, repaired, rungs planned, in the order of the file.
        torn: the last line is incomplete and was ignored.
    """

    header: dict[str, Any]
    events: tuple[Event, ...]
    torn: bool

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The rungs above the search, the cheapest first."""
        plans = [event.rungs for event in self.events if isinstance(event, Rungs)]
        return plans[-1] if plans else ()

    def at(self, rung: str | None) -> "LedgerContents":
        """What was asked for and found on one rung, named by its fingerprint; on None, by the search itself."""
        indices = {asked.index for asked in self.asked if asked.rung == rung}
        kept = (e for e in self.events if isinstance(e, Repaired) or (isinstance(e, Asked | Evaluation) and e.index in indices))
        return dataclasses.replace(self, events=tuple(kept))

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Every architecture that was asked for, in order."""
        return tuple(event for event in self.events if isinstance(event, Asked))

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Every outcome, in the order in which they came."""
        return tuple(event for event in self.events if isinstance(event, Evaluation))

    @property
    def num_ended(self) -> int:
        """Evaluations that count towards a sweep's goal: done or failed here, not those that broke a limit."""
        return sum(evaluation.status != "infeasible" and not self.is_taken_over(evaluation) for evaluation in self.evaluations)

    @property
    def num_taken_over(self) -> int:
        """Outcomes that came from an earlier ledger."""
        return sum(map(self.is_taken_over, self.evaluations))

    def is_taken_over(self, evaluation: Evaluation) -> bool:
        """Whether an outcome came from an earlier ledger."""
        return evaluation.index in self._taken_over

    @cached_property
    def _taken_over(self) -> frozenset[int]:
        return frozenset(asked.index for asked in self.asked if asked.origin == "ledger")

    @property
    def seconds(self) -> float:
        """Time that all evaluations took together."""
        return sum(evaluation.seconds for evaluation in self.evaluations if math.isfinite(evaluation.seconds))

    @property
    def in_flight(self) -> tuple[Asked, ...]:
        """What was asked for and has no outcome yet, in order."""
        outcomes = {evaluation.index for evaluation in self.evaluations}
        return tuple(asked for asked in self.asked if asked.index not in outcomes)


def read_ledger(path: str | Path) -> LedgerContents:
    """Reads a ledger without changing anything on disk; safe beside its writer.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: a line other than the last is damaged, or the schema version is another.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no ledger; `pocketunet sweep` writes one")
    return parse_ledger(path, path.read_bytes())[0]


def check_header(path: Path, contents: LedgerContents, header: dict[str, Any]) -> None:
    """Raises InputError where a ledger that holds anything was begun with another header than this one."""
    header = json.loads(json.dumps(header, allow_nan=False))  # as it will be read back: tuples are lists
    for key in sorted({*header, *contents.header}) if contents.asked else ():
        if key != "schema" and header.get(key) != contents.header.get(key):
            raise InputError(
                f"{path}: this ledger was begun with {key}={contents.header.get(key)!r}, now it is {header.get(key)!r}; "
                "numbers of the two must not mix: set it back, or choose another run folder"
            )


class Consistency:
    """Holds events to the rules: an index once, an architecture once a rung, an outcome after its ask, once."""

    def __init__(self) -> None:
        self.next_index = 0
        self._digests: dict[int, str] = {}
        self._seen: set[tuple[str | None, str]] = set()
        self._in_flight: set[int] = set()

    def is_asked(self, index: int) -> bool:
        return index in self._digests

    def add(self, event: Event) -> None:
        """Takes the next event, or raises ValueError and stays as it was."""
        if isinstance(event, Asked):
            digest = event.architecture.digest
            if event.index < 0 or self.is_asked(event.index):
                raise ValueError(f"index {event.index} was asked for twice; the next is {self.next_index}")
            if (event.rung, digest) in self._seen:
                raise ValueError(f"architecture {digest} was asked for twice")
            self._digests[event.index] = digest
            self._seen.add((event.rung, digest))
            self._in_flight.add(event.index)
            self.next_index = max(self.next_index, event.index + 1)
        elif isinstance(event, Evaluation):
            if event.index not in self._in_flight or self._digests[event.index] != event.digest:
                raise ValueError(f"index {event.index} with architecture {event.digest} is not in flight")
            self._in_flight.remove(event.index)


OnDamage = Callable[[int, str], object]


def parse_ledger(path: Path, data: bytes, *, on_damage: OnDamage | None = None) -> tuple[LedgerContents, int]:
    """The contents, and the number of bytes before a torn last line.

    Without `on_damage` the first damaged line raises InputError; with it, damaged lines are reported and left out, and an
    outcome whose ask is lost brings its own.
    """

    def damage(number: int, what: str) -> None:
        if on_damage is None:
            remedy = (
                f"copy the file, then move the line out with `pocketunet ledger check {shlex.quote(str(path))} --quarantine`"
            )
            if number == 1:
                remedy = "it says how the numbers were measured: take it from a copy of the file"
            raise InputError(f"{path}:{number}: the line is damaged: {what}; {remedy}")
        on_damage(number, what)

    lines, torn = _whole_lines(data)
    header: dict[str, Any] = {}
    events: list[Event] = []
    consistency = Consistency()
    for number, line in enumerate(lines, start=1):
        try:
            record = decode_line(line)
            if number == 1:
                header = _header(path, record)
                continue
            event = event_from_json(record)
            if on_damage is not None and isinstance(event, Evaluation) and not consistency.is_asked(event.index):
                own = header.get("fingerprint", event.fingerprint)
                rung = None if event.fingerprint == own else event.fingerprint
                events.append(Asked(event.index, event.architecture, rung=rung))
                consistency.add(events[-1])
            consistency.add(event)
            events.append(event)
        except InputError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            damage(number, str(error))
    return LedgerContents(header, tuple(events), torn), sum(map(len, lines))


def _whole_lines(data: bytes) -> tuple[list[bytes], bool]:
    """The lines without a torn last one, and whether there was one: what a kill leaves is the beginning of a line.

    A last line of full length is never torn, whatever is wrong with it.
    """
    lines = split_lines(data)
    if not lines or lines[-1].endswith(b"\n"):
        return lines, False
    try:
        decode_line(lines[-1][:-1] + b"\n")
    except ValueError:
        return lines[:-1], True
    return lines, False


def split_lines(data: bytes) -> list[bytes]:
    *lines, rest = data.split(b"\n")
    return [line + b"\n" for line in lines] + [rest] * bool(rest)


def _header(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    if record.get("kind") != "header":
        raise ValueError(f"the first line must be a header, got the kind {record.get('kind')!r}")
    if record.get("schema") not in range(1, SCHEMA_VERSION + 1):
        raise InputError(
            f"{path}:1: this version reads ledgers of schemas 1 to {SCHEMA_VERSION}, got {record.get('schema')!r}; "
            "use the version of PocketUNet that wrote it"
        )
    return {key: value for key, value in record.items() if key != "kind"}
