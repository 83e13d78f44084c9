"""Folders of bundles that appear whole, and those of trainings, which are gone on with after an interruption."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.json_files import read_json
from experiments.locks import lock_path, locked
from experiments.nested import flattened
from experiments.whole_files import write_whole

MADE_BY, WORK = "made_by.json", "work"


def refuse_existing(path: Path) -> None:
    """Raises InputError where a new bundle would fall onto something that is there."""
    if path.exists():
        raise InputError(f"{path}: it exists already; choose another folder with --out, or move it away")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears under its name only when the block ends well; what a kill leaves is `NAME.partial`.

    Raises:
        InputError: the folder is there, another process makes it, a training that is to have its name is not finished, or
            what has the name of what a kill leaves is something else.
    """
    partial = _partial(path)
    if (partial / MADE_BY).is_file():
        raise InputError(f"{partial}: holds a training that is not finished; choose another folder with --out, or delete it")
    with locked(partial, what="folder"):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            os.replace(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            lock_path(partial).unlink(missing_ok=True)


@contextlib.contextmanager
def resumable_folder(path: Path, made_by: dict[str, Any]) -> Iterator[Path]:
    """A folder that appears under its name when the block ends well; until then `NAME.partial`, which is gone on with.

    Its `made_by.json` says what was asked for; what is in `work/` is dropped at the end.

    Raises:
        InputError: the folder is there, another process works in it, it was begun with another request, or what has the
            name of what a kill leaves is something else.
    """
    partial = _partial(path)
    with locked(partial, what="training"):
        if (partial / MADE_BY).is_file():
            check_made_by(partial, made_by)
        elif partial.is_dir() and not (partial / WORK).is_dir():  # no training has left it
            shutil.rmtree(partial)
        (partial / WORK).mkdir(parents=True, exist_ok=True)
        write_whole(partial / MADE_BY, json.dumps(made_by, indent=2) + "\n")
        try:
            yield partial
            os.replace(partial, path)  # first: whatever happens now, nothing has to be trained again
            shutil.rmtree(path / WORK)
        finally:
            if partial.is_dir() and not any((partial / WORK).iterdir()):  # nothing to go on with
                shutil.rmtree(partial)
            if not partial.is_dir():
                lock_path(partial).unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    """Where a folder is made; if it is there, a kill has left it, whose lock lies beside it."""
    refuse_existing(path)
    partial = path.with_name(f"{path.name}.partial")
    if partial.exists() and not lock_path(partial).is_file():
        raise InputError(
            f"{partial}: it is in the way, and no interrupted command has left it; choose another folder with --out, or move "
            "it away"
        )
    partial.parent.mkdir(parents=True, exist_ok=True)
    return partial


def check_made_by(path: Path, made_by: dict[str, Any]) -> None:
    """Raises InputError where a folder of `resumable_folder` was asked for otherwise; the message names what differs."""
    if not isinstance(made_before := read_json(path / MADE_BY) or {}, dict):
        raise InputError(f"{path / MADE_BY}: this says nothing of a request; delete {path}, or choose another folder")
    before, now = flattened(made_before), flattened(made_by)
    differing = [f"{key} was {before.get(key)!r}, and is {x!r}" for key, x in now.items() if before.get(key) != x]
    if differing or before.keys() - now.keys():
        raise InputError(
            f"{path}: what is there was made, or begun, by another request ({'; '.join(differing) or 'of other keys'}); "
            "give the same one to go on with it, delete the folder, or choose another"
        )
