"""One array_record file of latents, whose records are safetensors bytes."""

import dataclasses
import json
import pathlib
import struct
from typing import Any

import numpy as np

from experiments.data.dataset import Example
from experiments.data.latent_layout import Layout, example_of, require_floats
from experiments.errors import InputError

FORMAT = "pocketunet-latents-1"
WRITE_AGAIN = "write it again with write_latents"


@dataclasses.dataclass(frozen=True, eq=False)
class RecordShard:
    """The records of one file; `source` reads their bytes by number."""

    path: pathlib.Path
    source: Any
    layout: Layout

    def __len__(self) -> int:
        return len(self.source)

    def read(self, row: int) -> Example:
        tensors, found = decode_record(_read_bytes(self.source, row, self.path), origin=self.origin(row))
        if found != self.layout:
            raise InputError(f"{self.origin(row)}: it has {found}, but record 0 has {self.layout}; {WRITE_AGAIN}")
        label = None if "label" not in tensors else int(tensors["label"])
        context = tensors.get("context")
        return example_of(tensors["latent"], context, label, layout=self.layout, origin=self.origin(row))

    def origin(self, row: int) -> str:
        return f"{self.path}, record {row}"


def open_records(path: pathlib.Path) -> RecordShard:
    """Opens an array_record file; its first record tells the shapes of all.

    Raises:
        InputError: a damaged or empty file, or records of another format.
    """
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    try:
        source = ArrayRecordDataSource(str(path))
    except (RuntimeError, ValueError) as error:
        reason = str(error) or "it is cut short"
        raise InputError(f"{path}: not a readable array_record file ({reason}); {WRITE_AGAIN}") from None
    if not len(source):
        raise InputError(f"{path}: the file has no records; {WRITE_AGAIN}")
    _, layout = decode_record(_read_bytes(source, 0, path), origin=f"{path}, record 0")
    return RecordShard(path=path, source=source, layout=layout)


def encode_record(latent: np.ndarray, *, context: np.ndarray | None, label: int | None, num_classes: int | None) -> bytes:
    """One example as safetensors bytes; `decode_record` is the inverse."""
    from safetensors.numpy import save

    tensors = {"latent": np.ascontiguousarray(latent)}
    metadata = {"format": FORMAT}
    if context is not None:
        tensors["context"] = np.ascontiguousarray(context)
    if label is not None:
        tensors["label"] = np.array(label, np.int32)
        metadata["num_classes"] = str(num_classes)
    return save(tensors, metadata=metadata)


def decode_record(record: bytes, *, origin: str) -> tuple[dict[str, np.ndarray], Layout]:
    """The tensors of a record, checked, and their layout.

    Raises:
        InputError: not safetensors, another format, or a tensor missing or of the wrong type or shape.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(record)
        metadata = json.loads(record[8 : 8 + struct.unpack("<Q", record[:8])[0]]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{origin}: not a safetensors record ({error}); {WRITE_AGAIN}") from None
    if metadata.get("format") != FORMAT or "latent" not in tensors:
        raise InputError(
            f"{origin}: a record must have metadata format={FORMAT!r} and a tensor `latent`, got "
            f"format={metadata.get('format')!r} and {', '.join(sorted(tensors)) or 'none'}; {WRITE_AGAIN}"
        )
    require_floats(tensors["latent"], 3, where=f"{origin}: `latent`", axes="height, width, channels")
    if "context" in tensors:
        require_floats(tensors["context"], 2, where=f"{origin}: `context`", axes="length, width")
    return tensors, _layout(tensors, metadata, origin)


def _layout(tensors: dict[str, np.ndarray], metadata: dict[str, str], origin: str) -> Layout:
    context_shape = tensors["context"].shape if "context" in tensors else None
    num_classes = None
    if "label" in tensors:
        declared = metadata.get("num_classes", "")
        if not declared.isdecimal() or tensors["label"].ndim or not np.issubdtype(tensors["label"].dtype, np.integer):
            raise InputError(f"{origin}: a `label` is one int, with num_classes in the metadata; {WRITE_AGAIN}")
        num_classes = int(declared)
    return Layout(tensors["latent"].shape, context_shape, num_classes)


def _read_bytes(source: Any, row: int, path: pathlib.Path) -> bytes:
    try:
        return source[row]
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}, record {row}: the record is damaged ({error}); {WRITE_AGAIN}") from None
