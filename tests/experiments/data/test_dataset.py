import pickle

import numpy as np
import pytest

from experiments.data import Dataset, DatasetInfo, as_arrays, batches, prompt_tokens, write_latents
from experiments.data.loading import load_dataset
from experiments.errors import InputError


class Numbers:
    """A picture of its own number; even a class below kept picklable."""

    def __init__(self, broken: int | None = None):
        self.broken = broken

    def __call__(self, index):
        if index == self.broken:
            raise InputError(f"{self.origin(index)}: the image does not decode")
        return {"image": np.full((2, 2, 1), index, np.float32), "label": index % 3}

    def origin(self, index):
        return f"number {index}"


def numbers(count: int, broken: int | None = None, shape: tuple[int, int, int] = (2, 2, 1)) -> Dataset:
    read = Numbers(broken)
    info = DatasetInfo(
        name="numbers",
        kind="folder",
        split="train",
        num_examples=count,
        split_sizes={"train": count},
        image_shape=shape,
        location="nowhere",
        num_classes=3,
    )
    return Dataset(info=info, read=read, origin=read.origin)


def shown(batch) -> list[int]:
    return batch["image"][:, 0, 0, 0].astype(int).tolist()


@pytest.mark.parametrize(
    ("example", "length", "expected"),
    [
        ({"label": 0}, 1, [1]),
        ({"label": 9}, 3, [10, 0, 0]),
        ({"caption": "ab"}, 4, [98, 99, 0, 0]),
        ({"caption": "abc"}, 2, [98, 99]),
        ({"caption": "\u00e9"}, 3, [196, 170, 0]),
        ({"caption": ""}, 2, [0, 0]),
        ({}, 2, [0, 0]),
    ],
)
def test_prompt_tokens(example, length, expected):
    tokens = prompt_tokens(example, length)
    assert tokens.dtype == np.int32
    assert tokens.tolist() == expected


def test_indexing_is_that_of_a_sequence():
    dataset = numbers(5)
    assert len(dataset) == 5
    assert dataset[-1]["image"][0, 0, 0] == 4
    assert [example["label"] for example in dataset] == [0, 1, 2, 0, 1]
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"example {index} of data set 'numbers': it has 5 examples"):
            dataset[index]


def test_arrays_hold_every_example_in_order():
    arrays = as_arrays(numbers(5), context_length=2)
    assert arrays.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert arrays.labels.tolist() == [0, 1, 2, 0, 1]
    assert arrays.tokens.tolist() == [[1, 0], [2, 0], [3, 0], [1, 0], [2, 0]]
    assert arrays.context is None


def test_arrays_refuse_what_does_not_fit_into_memory():
    with pytest.raises(InputError, match=r"would take 5\.9 GiB in memory, .* read it with `batches`"):
        as_arrays(numbers(2000, shape=(512, 512, 3)))


def test_batches_are_a_function_of_seed_and_step():
    first, again, other = (batches(numbers(10), batch_size=4, seed=seed) for seed in (1, 1, 2))
    taken = [shown(next(first)) for _ in range(7)]
    assert taken == [shown(next(again)) for _ in range(7)]
    assert taken != [shown(next(other)) for _ in range(7)]


def test_every_epoch_holds_every_example_once_in_another_order():
    seen = [number for batch in batches(numbers(10), batch_size=5, seed=0, num_epochs=3) for number in shown(batch)]
    epochs = [seen[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_batches_hold_arrays_of_one_shape():
    batch = next(batches(numbers(3), batch_size=8, seed=0, context_length=2))
    assert {key: (value.shape, value.dtype) for key, value in batch.items()} == {
        "image": ((8, 2, 2, 1), np.float32),
        "tokens": ((8, 2), np.int32),
        "label": ((8,), np.int32),
    }
    assert (batch["tokens"][:, 0] == batch["label"] + 1).all()


@pytest.mark.parametrize("num_threads", [0, 2])
def test_batches_resume_at_any_step(num_threads):
    whole = [shown(batch) for batch in batches(numbers(10), batch_size=4, seed=3, num_epochs=4)]
    assert len(whole) == 10
    for step in (0, 3, 9, 10):
        late = batches(numbers(10), batch_size=4, seed=3, num_epochs=4, start_step=step, num_threads=num_threads)
        assert [shown(batch) for batch in late] == whole[step:]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"seed": -1}, r"`seed` must lie in \[0, 2\*\*32\), got -1"),
        ({"num_epochs": 0}, "`num_epochs` must be at least 1 or None"),
        ({"num_epochs": 1, "batch_size": 11}, "`batch_size`=11 is more than the 10 examples of 1 epochs"),
        ({"start_step": -1}, r"`start_step` must lie in \[0, .*\], got -1"),
    ],
)
def test_wrong_numbers_for_batches(wrong, message):
    with pytest.raises(InputError, match=message):
        batches(numbers(10), **{"batch_size": 2, "seed": 0, **wrong})


@pytest.mark.parametrize("num_threads", [0, 2])
def test_an_example_that_does_not_read_is_named_through_grain(num_threads):
    with pytest.raises(InputError, match="number 7: the image does not decode"):
        for _ in batches(numbers(10, broken=7), batch_size=5, seed=0, num_epochs=1, num_threads=num_threads):
            pass


def test_batches_of_encoded_prompts_hold_the_context(tmp_path):
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(12, 4, 4, 2)).astype(np.float32)
    context = rng.normal(size=(12, 3, 5)).astype(np.float32)
    path = write_latents(tmp_path / "a.npz", latents, context=context)
    batch = next(batches(load_dataset(path, split="all"), batch_size=6, seed=0))
    assert sorted(batch) == ["context", "image"]
    for image, prompt in zip(batch["image"], batch["context"], strict=True):
        row = np.flatnonzero((latents == image).all(axis=(1, 2, 3)))
        assert np.array_equal(prompt, context[row[0]])


def test_a_data_set_can_be_sent_to_another_process(tmp_path):
    for name in ("a.npz", "a.array_record"):
        path = write_latents(tmp_path / name, np.ones((3, 2, 2, 1), np.float32))
        dataset = load_dataset(path, split="train")
        sent = pickle.loads(pickle.dumps(dataset))
        assert np.array_equal(sent[2]["image"], dataset[2]["image"])
