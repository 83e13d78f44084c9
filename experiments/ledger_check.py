"""Looking a ledger over, and moving damaged lines out of it: the only code that changes a damaged ledger."""

import dataclasses
from pathlib import Path

from experiments.errors import InputError
from experiments.ledger import write_anew, write_through
from experiments.ledger_contents import parse_ledger, split_lines
from experiments.locks import locked
from experiments.records import Repaired


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
    contents, _ = parse_ledger(path, path.read_bytes(), on_damage=lambda number, what: damaged.append((number, what)))
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
    if not (found := check_ledger(path)).damaged:
        return found
    with locked(path, what="ledger"):
        found = check_ledger(path)  # another process may have repaired it meanwhile
        if found.damaged and found.damaged[0][0] == 1:
            raise InputError(
                f"{path}:1: the header is damaged: {found.damaged[0][1]}; it says how the numbers were measured and cannot be "
                "rebuilt from them; take line 1 from a copy of this file, or start a new run folder"
            )
        if found.damaged:
            _rewrite(path, dict(found.damaged))
    return found


def _rewrite(path: Path, damaged: dict[int, str]) -> None:
    data = path.read_bytes()
    contents, _ = parse_ledger(path, data, on_damage=lambda number, what: None)
    lines = split_lines(data)
    removed = b"".join(b"%d %s: %s\n" % (n, damaged[n].encode(), lines[n - 1].rstrip(b"\n")) for n in sorted(damaged))
    with Path(f"{path}.quarantine").open("ab", buffering=0) as aside:
        write_through(aside, removed)
    write_anew(path, contents.header, (*contents.events, Repaired(tuple(sorted(damaged)))))
