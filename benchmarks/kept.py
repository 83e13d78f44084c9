"""What a long benchmark has found, kept beside the measurements, from where it goes on on any machine; ledgers compressed.

A folder remembers what each of its files was when it was last the same as the kept one, and so which of the two has changed
since; their times say nothing, for git sets those of what it checks out.
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
_SAME = ".kept"  # of a folder: digests of files as they last were the same, by name


def keep(files: Iterable[Path], *, folder: Path, kept: Path) -> None:
    """Copies files of a folder to where they are kept, unless that has the same."""
    was_same, is_same = read_json(folder / _SAME) or {}, dict[str, str]()
    for path in files:
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        if was_same.get(name) == (digest := _digest(content)):
            continue
        target = kept / (f"{name}.gz" if path.suffix == _PACKED else name)
        if not target.is_file() or _unpacked(target) != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, gzip.compress(content, mtime=0) if path.suffix == _PACKED else content)
        is_same[name] = digest
    _remember(folder, is_same)


def put_back(kept: Path, *, folder: Path) -> None:
    """Copies what was kept to where the folder has nothing, or what it had when both were last the same.

    What was deleted from the folder since then stays so, to be made again, unless the kept one has changed.

    Raises:
        InputError: a file has changed in both places.
    """
    was_same, is_same = read_json(folder / _SAME) or {}, dict[str, str]()
    try:
        for path in sorted(path for path in kept.rglob("*") if path.is_file()):
            name = path.relative_to(kept).with_suffix("" if path.suffix == ".gz" else path.suffix).as_posix()
            target, content = folder / name, _unpacked(path)
            before, here = was_same.get(name), _digest(target.read_bytes()) if target.is_file() else None
            if (there := _digest(content)) == before:  # what has changed, if anything, is the folder's
                continue
            if here not in (None, there, before):
                raise InputError(f"{target}: it and {path} have both changed since they were the same; delete the wrong one")
            if here != there:
                target.parent.mkdir(parents=True, exist_ok=True)
                write_whole(target, content)
            is_same[name] = there
    finally:
        _remember(folder, is_same)


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


def _remember(folder: Path, is_same: dict[str, str]) -> None:
    if is_same:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _SAME, json.dumps({**(read_json(folder / _SAME) or {}), **is_same}))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
