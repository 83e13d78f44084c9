"""What a long benchmark has found, kept beside the measurements, from where it goes on on any machine; ledgers compressed."""

import contextlib
import gzip
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from experiments.whole_files import write_whole

_PACKED = ".jsonl"


def keep(files: Iterable[Path], *, folder: Path, kept: Path) -> None:
    """Copies files of a folder, with their times, to where they are kept, unless that has the same."""
    for path in files:
        target = kept / path.relative_to(folder)
        if path.suffix == _PACKED:
            target = target.with_name(f"{path.name}.gz")
        read_at, content = path.stat().st_mtime_ns, path.read_bytes()  # what is added meanwhile is newer
        if not target.is_file() or _unpacked(target) != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, gzip.compress(content, mtime=0) if path.suffix == _PACKED else content)
            os.utime(target, ns=(read_at, read_at))


def put_back(kept: Path, *, folder: Path) -> None:
    """Copies what was kept to where the folder has nothing, or has something older."""
    for path in kept.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(kept).with_suffix("" if path.suffix == ".gz" else path.suffix)
            if not target.is_file() or target.stat().st_mtime_ns < path.stat().st_mtime_ns:
                target.parent.mkdir(parents=True, exist_ok=True)
                write_whole(target, _unpacked(path))


@contextlib.contextmanager
def keeping(patterns: Iterable[str], *, folder: Path, kept: Path, every_s: float = 60.0) -> Iterator[None]:
    """Keeps the files of such names while the block runs, now and then, and when it ends: a kill loses the last minute."""
    over = threading.Event()

    def once() -> None:
        for pattern in patterns:
            keep(sorted(folder.glob(pattern)), folder=folder, kept=kept)

    def now_and_then() -> None:
        while not over.wait(every_s):
            once()

    keeper = threading.Thread(target=now_and_then, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        once()


def _unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
