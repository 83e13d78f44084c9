"""Reads what Weights & Biases leaves offline: records in a log of LevelDB's format, behind seven bytes of its own."""

import json
import pathlib
import struct

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK = 32_768
_HEADER = struct.Struct("<IHB")  # checksum, length, kind: 1 whole, 2 first, 3 middle, 4 last part
_WHOLE, _LAST = 1, 4


def records(path: pathlib.Path) -> list[Record]:
    """The records of a `.wandb` file."""
    data, at, parts, found = path.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while at + _HEADER.size <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER.size:  # no header fits into the rest of the block
            at += _BLOCK - at % _BLOCK
            continue
        _, length, kind = _HEADER.unpack_from(data, at)
        parts += data[at + _HEADER.size : at + _HEADER.size + length]
        at += _HEADER.size + length
        if kind in (_WHOLE, _LAST):
            found.append(Record.FromString(parts))
            parts = b""
    return found


def history(path: pathlib.Path) -> list[dict[str, float]]:
    """The rows that were logged, by name."""
    rows = [record.history.item for record in records(path) if record.WhichOneof("record_type") == "history"]
    return [{item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in row} for row in rows]


def config(path: pathlib.Path) -> dict[str, object]:
    """The configuration of the run."""
    found: dict[str, object] = {}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        changed = record.run.config if kind == "run" else record.config
        found |= {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in changed.update}
    return found


def exit_code(path: pathlib.Path) -> int:
    """What the run ended with."""
    (code,) = [record.exit.exit_code for record in records(path) if record.WhichOneof("record_type") == "exit"]
    return code
