"""The ledger: an append-only file of what was asked for and what came of it, the one truth of a run.

Everything else (the searcher's state, the front, the report) is derived from it by replay. The writer cuts a line that a
kill has torn, and says so. One process writes at a time: it holds a lock that ends with it, however it ends.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from experiments.evaluation import Evaluation
from experiments.ledger_contents import SCHEMA_VERSION, Consistency, LedgerContents, check_header, parse_ledger
from experiments.locks import locked
from experiments.records import Asked, Event, Origin, Rung, Rungs, encode_line, event_to_json, finite
from experiments.whole_files import naming, write_whole
from search_space import Architecture


class Ledger:
    """The single writer of a ledger; open it with `Ledger.open`, best in a `with` statement."""

    def __init__(self, path: Path, file: BinaryIO, lock: BinaryIO, contents: LedgerContents) -> None:
        """Takes over an open file and its lock; callers use `open`."""
        self.path = path
        self._file = file
        self._lock = lock
        self._header = contents.header
        self._events = list(contents.events)
        self._consistency = Consistency()
        self._followers: list[Callable[[Event], None]] = []
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
        lock = locked(path, what="ledger")
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

    def follow(self, follower: Callable[[Event], None]) -> None:
        """Tells a follower every event that is there, and from here on each one once it is on disk; it must not raise."""
        for event in self._events:
            follower(event)
        self._followers.append(follower)

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
        write_through(self._file, line)
        self._events.append(event)
        for follower in self._followers:
            follower(event)


def _prepare(path: Path, header: dict[str, Any]) -> LedgerContents:
    """Reads a ledger that will be written: cuts its torn tail, writes or checks its header, brings it to this schema."""
    contents, length = parse_ledger(path, path.read_bytes() if path.is_file() else b"")
    if contents.torn:
        with path.open("rb+") as file:
            cut = file.seek(0, os.SEEK_END) - length
            file.truncate(length)
            os.fsync(file.fileno())
        print(f"{path}: cut a torn last line ({cut} bytes), as a kill leaves it; nothing else is lost", file=sys.stderr)
    if contents.header != header and not contents.asked:
        with path.open("wb", buffering=0) as file:
            write_through(file, encode_line({"kind": "header", **header}))
        _sync_folder(path)
        return LedgerContents(header, (), torn=False)
    check_header(path, contents, header)
    if contents.header["schema"] != SCHEMA_VERSION:
        write_anew(path, contents.header, contents.events)
        print(f"{path}: brought from schema {contents.header['schema']} to {SCHEMA_VERSION}", file=sys.stderr)
    return LedgerContents({**contents.header, "schema": SCHEMA_VERSION}, contents.events, torn=False)


def write_anew(path: Path, header: dict[str, Any], events: Sequence[Event]) -> None:
    """Replaces a ledger as a whole, in this version's schema."""
    header = {"kind": "header", **header, "schema": SCHEMA_VERSION}
    write_whole(path, b"".join(map(encode_line, [header, *map(event_to_json, events)])))
    _sync_folder(path)


def write_through(file: BinaryIO, data: bytes) -> None:
    """Writes all of the data and returns once it is on disk."""
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
