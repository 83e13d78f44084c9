"""Which examples a run is made with: `data.json`. Images that come later move the division of a set, and so every number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from experiments.config import SweepConfig, ledger_header
from experiments.data import Dataset
from experiments.denoising_task import open_examples
from experiments.errors import InputError
from experiments.json_files import read_record
from experiments.ledger_contents import check_header
from experiments.run_folder import Run
from experiments.whole_files import write_whole
from search_space import get_scale

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


def open_splits(config: SweepConfig) -> dict[str, Dataset]:
    """The splits of the data set that a sweep reads.

    Raises:
        InputError: the data set cannot be read, or does not fit the scale.
    """
    scale = get_scale(config.proxy_scale)
    return {split: open_examples(config.data, scale, split=split) for split in ("train", "validation")}


def check_unchanged(run: Run, config: SweepConfig) -> None:
    """Holds `sweep.yaml` and the data to what the run was made with, before more is measured in its folder.

    Raises:
        InputError: one of them is another now; or as `check_same_data`.
    """
    check_header(run.path / "ledger.jsonl", run.ledger, ledger_header(config))
    check_same_data(run.path, open_splits(config))


def check_same_data(run_dir: Path, splits: Mapping[str, Dataset]) -> None:
    """Records which examples a run is made with, where it says nothing yet.

    Raises:
        InputError: it was begun with others, or the record is damaged.
    """
    path = run_dir / FILE
    if not path.is_file():
        now = DataRecord(splits={name: _record(dataset) for name, dataset in splits.items()})
        write_whole(path, now.model_dump_json(indent=1) + "\n")
    elif told := other_data(run_dir, splits):
        raise InputError(f"{told}; its numbers must not mix with new ones: put the data back, or choose another --run-dir")


def other_data(run_dir: Path, splits: Mapping[str, Dataset]) -> str | None:
    """What differs where a run was made with other examples; None where they are the same, or nothing is recorded.

    Raises:
        InputError: the record is damaged.
    """
    path = run_dir / FILE
    before = read_record(path, DataRecord, remedy="delete it if the data are still the same")
    if before is None:
        return None
    for name, dataset in splits.items():
        split = _record(dataset)
        if (old := before.splits.get(name)) != split:
            had = f"{old.num_examples} examples" if old else "no examples"
            return (
                f"{path}: this run was made with other data: split {name!r} had {had} and has {split.num_examples}, not all of "
                "them the same"
            )
    return None


def _record(dataset: Dataset) -> SplitRecord:
    return SplitRecord(num_examples=len(dataset), digest=dataset.digest())
