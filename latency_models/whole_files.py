"""Files that appear whole or not at all, whenever the process is killed."""

import json
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# What a changed byte of an archive brings NumPy to: a seek to where no file reaches, a header that does not parse.
_DAMAGED = (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, tokenize.TokenError, OSError)


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a JSON object under its name only once all of it is on disk; a kill leaves the old file or the new one."""
    text = _json(record) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """The same for arrays as a compressed npz."""
    write_whole(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz.

    Raises:
      ValueError: The file is torn, or holds anything but plain arrays.
    """
    # Opened here: where the file is no archive, NumPy leaves open what it opened.
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except _DAMAGED as error:
            raise ValueError(str(error)) from None


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """The same for whatever is written."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = error.filename or str(path)  # a write's does not say where it went
        raise
    partial.replace(path)


def _json(record: Mapping[str, Any]) -> str:
    """A line for each key, and for each entry of a list of objects: readable, and small where there are hundreds."""
    lines = []
    for key, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            entries = ",\n  ".join(json.dumps(entry) for entry in value)
            lines.append(f" {json.dumps(key)}: [\n  {entries}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}"
