"""Which examples a run is made with: `data.json`. Images that come later move the division of a set, and so every number."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from experiments.data import Dataset
from experiments.errors import InputError
from experiments.json_files import read_record
from experiments.whole_files import write_whole

FILE = "data.json"


class SplitRecord(BaseModel):
    """A split: how many examples it has, and a digest of where they come from, in their order."""

    model_config = ConfigDict(frozen=True)

    num_examples: int
    digest: str


class DataRecord(BaseModel):
    """The splits that a run reads."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    splits: dict[str, SplitRecord]


def check_same_data(run_dir: Path, splits: Mapping[str, Dataset]) -> None:
    """Records which examples a run is made with, where it says nothing yet.

    Raises:
        InputError: it was begun with others, or the record is damaged.
    """
    path = run_dir / FILE
    now = DataRecord(splits={name: _record(dataset) for name, dataset in splits.items()})
    before = read_record(path, DataRecord, remedy="delete it if the data are still the same")
    if before is None:
        write_whole(path, now.model_dump_json(indent=1) + "\n")
        return
    for name, split in now.splits.items():
        if (old := before.splits.get(name)) != split:
            had = f"{old.num_examples} examples" if old else "no examples"
            raise InputError(
                f"{path}: this run was made with other data: split {name!r} had {had} and has {split.num_examples}, not all of "
                "them the same; its numbers must not mix with new ones: put the data back, or choose another --run-dir"
            )


def _record(dataset: Dataset) -> SplitRecord:
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        digest.update(dataset.origin(index).encode() + b"\n")
    return SplitRecord(num_examples=len(dataset), digest=digest.hexdigest()[:16])
