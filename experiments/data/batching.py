"""Shuffled batches of a data set through Grain, which go on where they stopped."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from experiments.data.dataset import Dataset, DatasetInfo, Example, default_context_length, prompt_tokens
from experiments.errors import InputError

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayExamples:
    """The examples of a data set with arrays only: the form that Grain stacks into batches."""

    dataset: Dataset
    context_length: int

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Example:
        return array_example(self.dataset[index], self.dataset.info, context_length=self.context_length)


def array_example(example: Example, info: DatasetInfo, *, context_length: int) -> Example:
    """One example with `image`, then `tokens` or `context`, and `label` where the data set has labels."""
    arrays = {"image": example["image"]}
    if info.context_shape is None:
        arrays["tokens"] = prompt_tokens(example, context_length, words=info.words)
    else:
        arrays["context"] = example["context"]
    if info.num_classes is not None:
        arrays["label"] = np.int32(example["label"])
    return arrays


def batches(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    num_epochs: int | None = None,
    start_step: int = 0,
    context_length: int | None = None,
    num_threads: int = 2,
) -> Iterator[Batch]:
    """Batches in an order that depends on `seed` alone: `image`, `tokens` or `context`, and `label` where there is one.

    Every epoch is a permutation of its own. Batches run over the ends of epochs, so that all have one shape; what is
    left over at the very end is dropped.

    Args:
        dataset: what to read.
        batch_size: examples in each batch.
        seed: of the shuffling, in [0, 2**32).
        num_epochs: how often each example comes; None is for ever.
        start_step: the batch to begin with; what comes then is what an uninterrupted run would have had.
        context_length: tokens of each prompt; by default `default_context_length`.
        num_threads: threads that read ahead; 0 reads when asked.

    Raises:
        InputError: a number out of its range, or not one full batch.
    """
    _validate(dataset, batch_size=batch_size, seed=seed, num_epochs=num_epochs)
    import grain.python as grain

    length = context_length or default_context_length(dataset.info)
    source = grain.MapDataset.source(ArrayExamples(dataset, length))
    shuffled = source.seed(seed).shuffle().repeat(num_epochs).batch(batch_size, drop_remainder=True)
    start = _valid_step(start_step, len(shuffled))
    # As many waiting batches as threads: more would only hold memory.
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
    return iter(shuffled[start:].to_iter_dataset(options))


def _valid_step(step: int, num_steps: int) -> int:
    if not 0 <= step <= num_steps:
        raise InputError(f"`start_step` must lie in [0, {num_steps}], got {step}; begin with 0")
    return step


def _validate(dataset: Dataset, *, batch_size: int, seed: int, num_epochs: int | None) -> None:
    if batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1, got {batch_size}; use for example 64")
    if not 0 <= seed < 2**32:
        raise InputError(f"`seed` must lie in [0, 2**32), got {seed}; use for example 0")
    if num_epochs is None:
        return
    if num_epochs < 1:
        raise InputError(f"`num_epochs` must be at least 1 or None (for ever), got {num_epochs}")
    if (examples := len(dataset) * num_epochs) < batch_size:
        raise InputError(
            f"`batch_size`={batch_size} is more than the {examples} examples of {num_epochs} epochs of "
            f"{dataset.info.name!r} ({dataset.info.split}); use at most {examples}, or num_epochs=None"
        )
