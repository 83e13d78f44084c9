"""What a long benchmark has found, kept beside the measurements, from where it goes on on any machine; ledgers compressed."""

import gzip
from collections.abc import Iterable
from pathlib import Path

_PACKED = ".jsonl"


def keep(files: Iterable[Path], *, folder: Path, kept: Path) -> None:
    """Copies files of a folder to where they are kept."""
    for path in files:
        target, content = kept / path.relative_to(folder), path.read_bytes()
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == _PACKED:
            target.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            target.write_bytes(content)


def put_back(kept: Path, *, folder: Path) -> None:
    """Copies what was kept to where the folder has nothing."""
    for path in kept.rglob("*"):
        if path.is_file():
            is_packed = path.suffix == ".gz"
            target = folder / path.relative_to(kept).with_suffix("" if is_packed else path.suffix)
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes())
