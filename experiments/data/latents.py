"""Latents and text embeddings that were encoded beforehand: npz files, and array_record files of safetensors records.

npz: `latents` float [n, height, width, channels]; and `context` float [n, length, width], or `labels` int [n] (with
`num_classes`, else the largest label + 1), or both. It is memory-mapped where it is not compressed (`np.savez`).

array_record: every record is the bytes of one safetensors file with the tensors `latent` [height, width, channels],
and `context` [length, width] or `label` (a scalar) or both; its metadata holds `format` = "pocketunet-latents-1", and
`num_classes` where there are labels. One record a group, for random access.

Splits: files named `train*`, `validation*` and `test*` in one folder; otherwise by the rule of `splits.divide` over the
records' numbers. Latents are used as they are stored: scale them to about unit variance before (Stable Diffusion 1
multiplies by 0.18215).
"""

import bisect
import dataclasses
import itertools
import pathlib

from experiments.data.dataset import Dataset, DatasetInfo, Example
from experiments.data.latent_layout import Layout
from experiments.data.latent_npz import NpzShard, open_npz
from experiments.data.latent_records import RecordShard, open_records
from experiments.data.splits import SPLITS, choose, divide
from experiments.errors import InputError

Shard = NpzShard | RecordShard
OPEN = {".npz": open_npz, ".array_record": open_records}


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """Some records of several shards, by their numbers in the concatenation of the shards."""

    shards: tuple[Shard, ...]
    starts: tuple[int, ...]
    rows: tuple[int, ...]

    def __call__(self, index: int) -> Example:
        shard, row = self._locate(index)
        return shard.read(row)

    def origin(self, index: int) -> str:
        shard, row = self._locate(index)
        return shard.origin(row)

    def _locate(self, index: int) -> tuple[Shard, int]:
        row = self.rows[index]
        number = bisect.bisect_right(self.starts, row) - 1
        return self.shards[number], row - self.starts[number]


def load_latents(path: pathlib.Path, *, name: str, split: str) -> Dataset:
    """Opens a file of latents, or a folder of such files.

    Args:
        path: the file or folder.
        name: what the person called it.
        split: train, validation, test or all.

    Raises:
        InputError: mixed kinds of files, wrong keys or shapes, a damaged file, an empty split.
    """
    files = latent_files(path)
    shards = tuple(OPEN[file.suffix](file) for file in files)
    starts = tuple(itertools.accumulate((len(shard) for shard in shards[:-1]), initial=0))
    layout = _common_layout(shards, files)
    is_named = path.is_dir() and all(_named_split(file) for file in files)
    divided = _divide_by_name(files, shards, starts) if is_named else _divide_by_number(shards)
    remedy = "ask for another split, or write files named train, validation and test into one folder"
    rows = choose(divided, split, name=name, remedy=remedy)
    selection = Selection(shards, starts, tuple(rows))
    info = DatasetInfo(
        name=name,
        kind="npz" if files[0].suffix == ".npz" else "array_record",
        split=split,
        num_examples=len(rows),
        split_sizes={key: len(found) for key, found in divided.items() if found},
        image_shape=layout.image_shape,
        location=str(path),
        is_latent=True,
        num_classes=layout.num_classes,
        context_shape=layout.context_shape,
        notes=() if is_named else ("splits are one tenth test, one tenth validation, by the SHA-256 of the number",),
    )
    return Dataset(info=info, read=selection, origin=selection.origin)


def latent_files(path: pathlib.Path) -> list[pathlib.Path]:
    """The files of latents that a path means, sorted by name.

    Raises:
        InputError: a folder with both kinds.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in OPEN and not file.name.startswith("."))
    if len({file.suffix for file in files}) > 1:
        raise InputError(f"{path}: the folder has both .npz and .array_record files; keep one kind")
    return files


def _common_layout(shards: tuple[Shard, ...], files: list[pathlib.Path]) -> Layout:
    first = shards[0].layout
    classes = [shard.layout.num_classes for shard in shards]
    for file, shard in zip(files, shards, strict=True):
        same = dataclasses.replace(shard.layout, num_classes=first.num_classes) == first
        if not same or (shard.layout.num_classes is None) != (first.num_classes is None):
            raise InputError(f"{file}: it has {shard.layout}, but {files[0].name} has {first}; they must agree")
    return dataclasses.replace(first, num_classes=max((found for found in classes if found is not None), default=None))


def _named_split(file: pathlib.Path) -> str | None:
    return next((split for split in SPLITS if file.name.startswith(split)), None)


def _divide_by_name(files: list[pathlib.Path], shards: tuple[Shard, ...], starts: tuple[int, ...]) -> dict[str, list[int]]:
    divided: dict[str, list[int]] = {split: [] for split in SPLITS}
    for file, shard, start in zip(files, shards, starts, strict=True):
        divided[_named_split(file) or "train"] += range(start, start + len(shard))
    return divided


def _divide_by_number(shards: tuple[Shard, ...]) -> dict[str, list[int]]:
    return divide([str(row) for row in range(sum(len(shard) for shard in shards))])
