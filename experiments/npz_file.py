"""Npz files: reads arrays of one that comes from elsewhere, of which nothing is unpickled; writes one as a whole."""

import io
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.errors import InputError
from experiments.whole_files import write_whole

TORN = (zipfile.BadZipFile, zlib.error, NotImplementedError, tokenize.TokenError)


def read_npz(path: Path, *, wants: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """The arrays whose names are wanted, by name.

    Raises:
        InputError: the file is cut short or damaged, or holds Python objects.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays if wants(name)}
    except (OSError, EOFError, ValueError, AttributeError, TypeError, *TORN) as error:
        raise InputError(f"{path}: this is no whole npz file of plain numbers ({error}); write it with numpy.savez") from None


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays by name; the file appears whole or not at all."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    write_whole(path, file.getvalue())
