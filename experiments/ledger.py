"""The ledger: an append-only file of what was asked for and what came of it, the one truth of a run.

Everything else (the searcher's state, the front, the report) is derived from it by replay. A kill at any byte leaves at
worst a torn last line: readers ignore it, the writer cuts it and says so. Damage anywhere else stops every reader with
the file and the line; only `quarantine` changes such a file. One process writes at a time: it holds a lock that ends with
it, however it ends.
"""

import dataclasses
import fcntl
import json
import math
import os
import socket
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.records import (
    Asked,
    Event,
    Origin,
    Repaired,
    Rung,
    Rungs,
    decode_line,
    encode_line,
    event_from_json,
    event_to_json,
    finite,
)
from experiments.whole_files import naming, write_whole
from search_space import Architecture

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
    return _parse(path, path.read_bytes())[0]


def lock_path(path: Path) -> Path:
    """The file that the writer of a ledger keeps locked; it says who that is or was, and stays when it is free."""
    return path.with_name(f"{path.name}.lock")


def writer_of(path: Path) -> str | None:
    """The process that writes a ledger now, as it calls itself; None where none does."""
    lock = lock_path(path)
    if not lock.is_file():
        return None
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return file.read().decode(errors="replace").strip() or "unknown"
    return None


class Ledger:
    """The single writer of a ledger; open it with `Ledger.open`, best in a `with` statement."""

    def __init__(self, path: Path, file: BinaryIO, lock: BinaryIO, contents: LedgerContents) -> None:
        """Takes over an open file and its lock; callers use `open`."""
        self.path = path
        self._file = file
        self._lock = lock
        self._header = contents.header
        self._events = list(contents.events)
        self._consistency = _Consistency()
        for event in contents.events:
            self._consistency.add(event)

    @staticmethod
    def open(path: str | Path, *, header: dict[str, Any]) -> "Ledger":
        """Opens or creates a ledger for writing; cuts a torn last line and says so on standard error.

        A ledger in which nothing was asked for yet is begun anew where its header is another.

        Args:
            path: the file; its folder must exist.
            header: what all evaluations in it share, such as the space's name and the digest of the evaluation settings.

        Raises:
            InputError: another process writes it, a line is damaged, or its header is another.
        """
        path = Path(path)
        header = json.loads(json.dumps(header, allow_nan=False))  # as it will be read back: tuples are lists
        lock = _lock(path)
        try:
            contents = _prepare(path, {"schema": SCHEMA_VERSION, **header})
            return Ledger(path, path.open("ab", buffering=0), lock, contents)
        except BaseException:
            lock.close()
            raise

    @property
    def contents(self) -> LedgerContents:
        """What the ledger says now."""
        return LedgerContents(dict(self._header), tuple(self._events), torn=False)

    @property
    def next_index(self) -> int:
        """The index that the next architecture asked for must have."""
        return self._consistency.next_index

    def asked(self, index: int, architecture: Architecture, *, origin: Origin = "searcher", rung: str | None = None) -> Asked:
        """Writes that an architecture was asked for, by whom and for which rung; returns once it is on disk."""
        asked = Asked(index, architecture.canonical(), origin, rung)
        self._append(asked)
        return asked

    def plan(self, rungs: Sequence[Rung]) -> None:
        """Writes what rungs there are above the search, unless the ledger says so already."""
        if tuple(rungs) != self.contents.rungs:
            self._append(Rungs(tuple(rungs)))

    def record(self, evaluation: Evaluation) -> Evaluation:
        """Writes an outcome and returns it as written, once it is on disk.

        An objective that is not a finite number makes the evaluation a failed one, with the reason.

        Raises:
            ValueError: its index was not asked for, has another architecture, or has an outcome already.
        """
        evaluation = finite(evaluation)
        self._append(evaluation)
        return evaluation

    def close(self) -> None:
        """Gives the file and its lock back; closing twice is harmless."""
        self._file.close()
        self._lock.close()

    def __enter__(self) -> "Ledger":
        """Nothing to do: the ledger is open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the ledger."""
        self.close()

    def _append(self, event: Event) -> None:
        line = encode_line(event_to_json(event))
        self._consistency.add(event)
        _write(self._file, line)
        self._events.append(event)


@dataclasses.dataclass(frozen=True)
class LedgerCheck:
    """What `check_ledger` found: counts, and a sentence per damaged line (line number from 1, what is wrong)."""

    path: Path
    num_lines: int
    num_asked: int
    num_evaluations: int
    torn: bool
    damaged: tuple[tuple[int, str], ...]


def check_ledger(path: str | Path) -> LedgerCheck:
    """Looks at every line of a ledger and changes nothing.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no ledger to check")
    damaged: list[tuple[int, str]] = []
    contents, _ = _parse(path, path.read_bytes(), on_damage=lambda number, what: damaged.append((number, what)))
    num_lines = path.read_bytes().count(b"\n")
    return LedgerCheck(path, num_lines, len(contents.asked), len(contents.evaluations), contents.torn, tuple(damaged))


def quarantine(path: str | Path) -> LedgerCheck:
    """Moves the damaged lines of a ledger into `<path>.quarantine` and notes in the ledger that it was repaired.

    Intact outcomes are kept. A searcher that replays a repaired ledger learns all of them, but it no longer proposes
    exactly what it would have proposed without the damage.

    Returns:
        What was wrong before.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the header itself is damaged, or another process writes the ledger.
    """
    path = Path(path)
    found = check_ledger(path)
    if not found.damaged:
        return found
    if found.damaged[0][0] == 1:
        raise InputError(
            f"{path}:1: the header is damaged: {found.damaged[0][1]}; it says how the numbers were measured and cannot be "
            "rebuilt from them; take line 1 from a copy of this file, or start a new run folder"
        )
    with _lock(path):
        _rewrite(path, dict(found.damaged))
    return found


def _rewrite(path: Path, damaged: dict[int, str]) -> None:
    data = path.read_bytes()
    contents, _ = _parse(path, data, on_damage=lambda number, what: None)
    lines = _split(data)
    removed = b"".join(b"%d %s: %s\n" % (n, damaged[n].encode(), lines[n - 1].rstrip(b"\n")) for n in sorted(damaged))
    with Path(f"{path}.quarantine").open("ab", buffering=0) as aside:
        _write(aside, removed)
    _write_anew(path, contents.header, (*contents.events, Repaired(tuple(sorted(damaged)))))


def _write_anew(path: Path, header: dict[str, Any], events: Sequence[Event]) -> None:
    header = {"kind": "header", **header, "schema": SCHEMA_VERSION}
    write_whole(path, b"".join(map(encode_line, [header, *map(event_to_json, events)])))
    _sync_folder(path)


class _Consistency:
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


def _parse(path: Path, data: bytes, *, on_damage: OnDamage | None = None) -> tuple[LedgerContents, int]:
    """The contents, and the number of bytes before a torn last line.

    Without `on_damage` the first damaged line raises InputError; with it, damaged lines are reported and left out, and an
    outcome whose ask is lost brings its own.
    """

    def damage(number: int, what: str) -> None:
        if on_damage is None:
            raise InputError(
                f"{path}:{number}: the line is damaged: {what}; copy the file, then move the line out with "
                f"`pocketunet ledger check {path} --quarantine`"
            )
        on_damage(number, what)

    lines, torn = _whole_lines(data)
    header: dict[str, Any] = {}
    events: list[Event] = []
    consistency = _Consistency()
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
    lines = _split(data)
    if not lines or lines[-1].endswith(b"\n"):
        return lines, False
    try:
        decode_line(lines[-1][:-1] + b"\n")
    except ValueError:
        return lines[:-1], True
    return lines, False


def _split(data: bytes) -> list[bytes]:
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


def _prepare(path: Path, header: dict[str, Any]) -> LedgerContents:
    """Reads a ledger that will be written: cuts its torn tail, writes or checks its header, brings it to this schema."""
    contents, length = _parse(path, path.read_bytes() if path.is_file() else b"")
    if contents.torn:
        with path.open("rb+") as file:
            cut = file.seek(0, os.SEEK_END) - length
            file.truncate(length)
            os.fsync(file.fileno())
        print(f"{path}: cut a torn last line ({cut} bytes), as a kill leaves it; nothing else is lost", file=sys.stderr)
    if contents.header != header and not contents.asked:
        with path.open("wb", buffering=0) as file:
            _write(file, encode_line({"kind": "header", **header}))
        _sync_folder(path)
        return LedgerContents(header, (), torn=False)
    check_header(path, contents, header)
    if contents.header["schema"] != SCHEMA_VERSION:
        _write_anew(path, contents.header, contents.events)
        print(f"{path}: brought from schema {contents.header['schema']} to {SCHEMA_VERSION}", file=sys.stderr)
    return LedgerContents({**contents.header, "schema": SCHEMA_VERSION}, contents.events, torn=False)


def check_header(path: Path, contents: LedgerContents, header: dict[str, Any]) -> None:
    """Raises InputError where a ledger that holds anything was begun with another header than this one."""
    header = json.loads(json.dumps(header, allow_nan=False))  # as it will be read back: tuples are lists
    for key in sorted({*header, *contents.header}) if contents.asked else ():
        if key != "schema" and header.get(key) != contents.header.get(key):
            raise InputError(
                f"{path}: this ledger was begun with {key}={contents.header.get(key)!r}, now it is {header.get(key)!r}; "
                "numbers of the two must not mix: set it back, or choose another run folder"
            )


def _lock(path: Path) -> BinaryIO:
    lock = lock_path(path).open("ab+", buffering=0)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().decode(errors="replace").strip()
        lock.close()
        raise InputError(
            f"{path}: another process writes this ledger ({holder or 'unknown'}); wait for it, end it, or use another folder"
        ) from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
    return lock


def _write(file: BinaryIO, data: bytes) -> None:
    written = 0
    with naming(Path(file.name)):
        while written < len(data):
            written += file.write(data[written:])
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
