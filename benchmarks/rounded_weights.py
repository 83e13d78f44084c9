"""Weights rounded to six significant bits, of which millions fit in a repository: about nine bits each, compressed."""

import io
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments.errors import InputError
from experiments.npz_file import read_npz
from experiments.whole_files import write_whole

_DROPPED = 18  # of the 23 bits that a float32 has behind its first one
_MANTISSA = 23 - _DROPPED
_EXPONENTS, _REST = "exponents", "signs_and_mantissas"


def write_weights(path: Path, parameters: Any) -> None:
    """Writes a tree of float32 arrays, each number rounded to the nearest of six significant bits, at most 1/64 from it."""
    flat, _ = ravel_pytree(parameters)
    codes = (np.asarray(flat).view(np.uint32) + (1 << (_DROPPED - 1))) >> _DROPPED
    exponents, mantissas, signs = codes >> _MANTISSA & 0xFF, codes & ((1 << _MANTISSA) - 1), codes >> (_MANTISSA + 8)
    file = io.BytesIO()  # exponents are alike, so that they compress; the others do not
    planes = {_EXPONENTS: exponents, _REST: signs << _MANTISSA | mantissas}
    np.savez_compressed(file, allow_pickle=False, **{name: plane.astype(np.uint8) for name, plane in planes.items()})
    write_whole(path, file.getvalue())


def read_weights(path: Path, like: Any) -> Any:
    """The tree that was written, rounded.

    Args:
        path: the file.
        like: a tree of the same shapes.

    Raises:
        InputError: it is damaged, or of other shapes.
    """
    planes, (flat, unravel) = read_npz(path, wants={_EXPONENTS, _REST}.__contains__), ravel_pytree(like)
    if planes.keys() != {_EXPONENTS, _REST} or any(plane.shape != flat.shape for plane in planes.values()):
        raise InputError(f"{path}: these are not the {flat.size} weights of this supernet; copy the file again")
    exponents, rest = (planes[name].astype(np.uint32) for name in (_EXPONENTS, _REST))
    codes = rest >> _MANTISSA << (_MANTISSA + 8) | exponents << _MANTISSA | rest & ((1 << _MANTISSA) - 1)
    return unravel(jnp.asarray((codes << _DROPPED).view(np.float32)))
