"""One npz file of latents, memory-mapped where numpy stored it uncompressed."""

import dataclasses
import pathlib
import struct
import zipfile
from typing import IO, Any

import numpy as np

from experiments.data.dataset import Example
from experiments.data.latent_layout import Layout, example_of, require_floats
from experiments.errors import InputError
from experiments.npz_file import TORN

LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # a zip member's header; its last two fields are the lengths that follow it


@dataclasses.dataclass(frozen=True, eq=False)
class NpzShard:
    """The arrays of one npz file, `latents` and `context` on disk until a row is read."""

    path: pathlib.Path
    latents: np.ndarray
    context: np.ndarray | None
    labels: np.ndarray | None
    layout: Layout

    def __len__(self) -> int:
        return len(self.latents)

    def read(self, row: int) -> Example:
        context = None if self.context is None else self.context[row]
        label = None if self.labels is None else int(self.labels[row])
        return example_of(self.latents[row], context, label, layout=self.layout, origin=self.origin(row))

    def origin(self, row: int) -> str:
        return f"{self.path}, row {row}"


def open_npz(path: pathlib.Path) -> NpzShard:
    """Opens `latents`, and `context`, `labels`, `num_classes` where they are there.

    Raises:
        InputError: no npz file, no `latents`, a wrong type or shape, or lengths that differ.
    """
    try:
        arrays = map_npz(path)
    except (OSError, ValueError, EOFError, struct.error, *TORN) as error:
        raise InputError(f"{path}: not a readable npz file ({error}); write it again with write_latents") from None
    if "latents" not in arrays:
        raise InputError(f"{path}: key `latents` is missing; the keys are {', '.join(sorted(arrays)) or 'none'}")
    latents, context, labels = (arrays.get(key) for key in ("latents", "context", "labels"))
    assert latents is not None
    require_floats(latents, 4, where=f"{path}: `latents`", axes="n, height, width, channels")
    if context is not None:
        require_floats(context, 3, where=f"{path}: `context`", axes="n, length, width")
    if labels is not None and (labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer)):
        raise InputError(f"{path}: `labels` must be int [n], got {labels.dtype} {list(labels.shape)}; encode it again")
    for key, array in (("context", context), ("labels", labels)):
        if array is not None and len(array) != len(latents):
            raise InputError(f"{path}: `{key}` has {len(array)} rows and `latents` {len(latents)}; they must agree")
    num_classes = None if labels is None else _num_classes(labels, arrays, path)
    layout = Layout(latents.shape[1:], None if context is None else context.shape[1:], num_classes)
    return NpzShard(path=path, latents=latents, context=context, labels=labels, layout=layout)


def _num_classes(labels: np.ndarray, arrays: dict[str, np.ndarray], path: pathlib.Path) -> int:
    declared: Any = arrays.get("num_classes", labels.max() + 1)
    if np.ndim(declared) or not np.issubdtype(np.asarray(declared).dtype, np.integer):
        raise InputError(f"{path}: `num_classes` must be one int, got {declared!r}; encode it again")
    return int(declared)


def map_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name: read-only memory maps, or in memory where compressed. Never unpickles.

    Raises:
        ValueError: an array of Python objects.
    """
    arrays = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            if member.compress_type == zipfile.ZIP_STORED:
                arrays[key] = _map_member(path, file, member.header_offset)
            else:
                with archive.open(member) as stream:
                    arrays[key] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


def _map_member(path: pathlib.Path, file: IO[bytes], header_offset: int) -> np.ndarray:
    file.seek(header_offset)
    *_, name_length, extra_length = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    file.seek(name_length + extra_length, 1)
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"npy version {version} is not known")
    shape, is_fortran, dtype = read_header[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    if 0 in shape:
        return np.empty(shape, dtype)  # an empty part of a file cannot be mapped
    order = "F" if is_fortran else "C"
    return np.memmap(path, dtype=dtype, mode="r", offset=file.tell(), shape=shape, order=order)
