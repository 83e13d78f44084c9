"""Counts over the examples of a data set: values, prompts, what does not read, and some pictures."""

import dataclasses
from collections import Counter

import numpy as np

from experiments.data.dataset import Dataset, DatasetInfo, Example
from experiments.errors import InputError

MAX_READ = 10_000
NUM_ROWS = 3
NUM_PICTURES = 64


@dataclasses.dataclass
class Tally:
    """What was counted over the examples that were read."""

    num_read: int = 0
    lowest: float = np.inf
    highest: float = -np.inf
    total: float = 0.0
    total_squares: float = 0.0
    num_values: int = 0
    num_captions: int = 0
    longest_caption: int = 0
    labels: Counter[int] = dataclasses.field(default_factory=Counter)
    refusals: list[str] = dataclasses.field(default_factory=list)
    rows: list[str] = dataclasses.field(default_factory=list)
    pictures: list[np.ndarray] = dataclasses.field(default_factory=list)


def count_examples(dataset: Dataset) -> Tally:
    """Reads up to 10,000 examples, spread evenly over the data set; those that do not read are kept as refusals."""
    tally = Tally()
    rows = _spread(len(dataset), MAX_READ)
    drawn = {rows[position] for position in _spread(len(rows), NUM_PICTURES)}
    for index in rows:
        try:
            example = dataset[index]
        except InputError as refusal:
            tally.refusals.append(str(refusal))
            continue
        _count(tally, example)
        if index in drawn or not tally.pictures:
            tally.pictures.append(example["image"])
        if len(tally.rows) < NUM_ROWS:
            tally.rows.append(f"{dataset.origin(index)}: {_prompt_words(example, dataset.info)}")
    return tally


def _spread(count: int, most: int) -> list[int]:
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, most)).tolist()})


def _count(tally: Tally, example: Example) -> None:
    image = example["image"]
    tally.num_read += 1
    tally.lowest = min(tally.lowest, float(image.min()))
    tally.highest = max(tally.highest, float(image.max()))
    tally.total += float(image.sum(dtype=np.float64))
    tally.total_squares += float(np.square(image, dtype=np.float64).sum())
    tally.num_values += image.size
    if caption := example.get("caption"):
        tally.num_captions += 1
        tally.longest_caption = max(tally.longest_caption, len(caption.encode()))
    if "label" in example:
        tally.labels[example["label"]] += 1


def _prompt_words(example: Example, info: DatasetInfo) -> str:
    if "caption" in example:
        return f"caption {example['caption'][:80]!r}"
    if "label" in example:
        name = info.label_names[example["label"]] if info.label_names else None
        return f"label {example['label']}" + (f" ({name})" if name not in (None, str(example["label"])) else "")
    return "encoded context" if "context" in example else "no prompt"
