"""What a long benchmark has found, kept beside the measurements, from where it goes on on any machine; ledgers compressed.

A folder remembers what each of its files was whenever it was the same as the kept one, and so which of the two has changed
since, or was set back; their times say nothing, for git sets those of what it checks out.
"""

import contextlib
import gzip
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from experiments.errors import InputError
from experiments.json_files import read_json
from experiments.whole_files import write_whole

_PACKED = ".jsonl"
_SAME = ".kept"  # of a folder: digests of files as they were the same, the last one last, by name


def keep(files: Iterable[Path], *, folder: Path, kept: Path) -> None:
    """Copies files of a folder to where they are kept, unless that has the same."""
    for path in files:
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        target = kept / (f"{name}.gz" if path.suffix == _PACKED else name)
        if not target.is_file() or _unpacked(target) != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, gzip.compress(content, mtime=0) if path.suffix == _PACKED else content)
        _remember(folder, name, _digest(content))


def put_back(kept: Path, *, folder: Path) -> None:
    """Copies what was kept to where the folder has nothing, or what it had when both were last the same.

    What was deleted from the folder since then stays so, to be made again, unless the kept one has changed. Where that is as it
    was before, as after a checkout, the folder's stays.

    Raises:
        InputError: a file has changed in both places.
    """
    known = _were_same(folder)
    if not any((folder / name).is_file() for name in known):  # all was deleted
        (folder / _SAME).unlink(missing_ok=True)
        known = {}
    for path in sorted(path for path in kept.rglob("*") if path.is_file()):
        name = path.relative_to(kept).with_suffix("" if path.suffix == ".gz" else path.suffix).as_posix()
        target, content, were_same = folder / name, _unpacked(path), known.get(name, [])
        here, there = _digest(target.read_bytes()) if target.is_file() else None, _digest(content)
        if there in were_same:
            continue
        if here not in (None, there, *were_same[-1:]):
            raise InputError(f"{target}: it and {path} have both changed since they were the same; delete the wrong one")
        if here != there:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, content)
        _remember(folder, name, there)


@contextlib.contextmanager
def keeping(patterns: Iterable[str], *, folder: Path, kept: Path, every_s: float = 60.0) -> Iterator[None]:
    """Keeps the files of such names while the block runs, now and then, and when it ends: a kill loses the last minute."""
    over = threading.Event()

    def once() -> None:
        for pattern in patterns:
            keep(sorted(folder.glob(pattern)), folder=folder, kept=kept)

    def now_and_then() -> None:
        while not over.wait(every_s):
            with contextlib.suppress(OSError):  # of a file that was renamed meanwhile, or a full disk: the next time
                once()

    keeper = threading.Thread(target=now_and_then, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        once()


def _were_same(folder: Path) -> dict[str, list[str]]:
    return read_json(folder / _SAME) or {}


def _remember(folder: Path, name: str, digest: str) -> None:
    known = _were_same(folder)
    if (of_file := known.get(name, []))[-1:] != [digest]:
        write_whole(folder / _SAME, json.dumps({**known, name: [*(x for x in of_file if x != digest), digest]}))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
