"""Safetensors files tensor by tensor: their headers, one tensor's data at a time, and writing without holding a network.

The library's own readers map the file, and its writer makes the whole file in memory first; here no more than one tensor is
held. The library still judges whether a file is whole. Tensors keep the type they are stored in, bfloat16 included.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from experiments.errors import InputError
from experiments.whole_files import naming

FLOATS = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(jnp.bfloat16),
}  # fmt: skip
_ALIGNMENT = 8
_LENGTH_BYTES = 8
_METADATA = "__metadata__"


@dataclasses.dataclass(frozen=True)
class TensorType:
    """What a header says of a tensor: its type as safetensors names it ("F32", "BF16", ...), and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of its data."""
        return FLOATS[self.dtype].itemsize * math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, and where its data begin there."""

    type: TensorType
    file: Path
    offset: int

    def read(self) -> np.ndarray:
        """Its data, in the type they are stored in."""
        dtype, shape = FLOATS[self.type.dtype], self.type.shape
        return np.fromfile(self.file, dtype, math.prod(shape), offset=self.offset).reshape(shape)


def read_header(
    path: Path, *, is_ignored: Callable[[str], bool] = lambda name: False
) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of a file by name, and its metadata; no tensor is read.

    Args:
        path: the file.
        is_ignored: whether a tensor of that name is left out, whatever its type.

    Raises:
        InputError: the file is cut short or damaged, or holds a tensor of another type than floating-point numbers.
    """
    try:
        with safe_open(path, "np") as whole:
            metadata = whole.metadata() or {}
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = json.loads(file.read(length))
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: this is no whole safetensors file ({error}); copy it again") from None
    tensors = {}
    for name, entry in header.items():
        if name == _METADATA or is_ignored(name):
            continue
        if entry["dtype"] not in FLOATS:
            raise InputError(f"{path}: tensor {name!r} must be of type {', '.join(FLOATS)}, got {entry['dtype']}; convert it")
        begin, _ = entry["data_offsets"]
        kind = TensorType(entry["dtype"], tuple(entry["shape"]))
        tensors[name] = StoredTensor(kind, path, _LENGTH_BYTES + length + begin)
    return tensors, metadata


def write_safetensors(
    path: Path, types: Mapping[str, TensorType], read: Callable[[str], np.ndarray], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a file: the header, then each tensor as `read` gives it by name; one at a time is held.

    Args:
        path: the file.
        types: of the tensors by name.
        read: a tensor's data by its name, of the type that was said; they need not be contiguous.
        metadata: texts for the header.
    """
    # Wide types first, as the library writes them, so that every tensor is aligned to its own width.
    order = sorted(types, key=lambda name: (-FLOATS[types[name].dtype].itemsize, name))
    header: dict[str, object] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        begin, end = end, end + types[name].num_bytes
        header[name] = {"dtype": types[name].dtype, "shape": types[name].shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with naming(path), path.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for name in order:
            array = read(name)
            assert type_of(array) == types[name], f"{name}: said {types[name]}, got {type_of(array)}"
            # `tofile` writes through a stream of its own, and does not say when the disk is full.
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def type_of(array: Any) -> TensorType:
    """The type of an array of floating-point numbers, NumPy's or JAX's."""
    return TensorType(next(name for name, dtype in FLOATS.items() if dtype == array.dtype), array.shape)


def shapes_of(stored: Mapping[str, StoredTensor]) -> dict[str, tuple[int, ...]]:
    """The shapes of tensors by name."""
    return {name: tensor.type.shape for name, tensor in stored.items()}


def mismatch(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> str | None:
    """Which tensors are missing, left over or of another shape than wanted, the first few by name; None where none is."""
    misshapen = [
        f"{name} is {found[name]} and must be {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    lists = (
        ("missing", [name for name in wanted if name not in found]),
        ("left over", [name for name in found if name not in wanted]),
        ("of another shape", misshapen),
    )
    return "; ".join(_said(title, names) for title, names in lists if names) or None


def _said(title: str, names: list[str], limit: int = 3) -> str:
    counted = "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"
    return f"{counted} {title}: {', '.join(names[:limit])}" + (" ..." if len(names) > limit else "")
