"""The one form in which every data set is used: random access to examples, and a description of them.

An example is a dict of `image` (float32 [height, width, channels]; pixels in [-1, 1], latents as they were stored) and
at most one prompt: `context` (float32 [length, width], encoded beforehand), `caption` (str) or `label` (int). A context or a
caption may have a label beside it, which is then no prompt but what the image is judged by.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int32

from experiments.data.words import word_tokens
from experiments.errors import InputError

Example = dict[str, Any]
CAPTION_LENGTH = 77  # default number of caption bytes that become tokens: the context length of Stable Diffusion
WORDS_LENGTH = 16  # the same, where captions are made of a closed set of words
MAX_ARRAY_BYTES = 4 * 1024**3


@dataclasses.dataclass(frozen=True)
class SizeRange:
    """Sizes (height, width) of the files of a data set, by area, before any resizing."""

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Attribute:
    """One thing that a label says of an image, such as its colour, and the names of the values it may have."""

    name: str
    values: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set without reading all of it.

    Attributes:
        name: the name or path that it was asked by.
        kind: where the examples come from: "tfds", "folder", "npz", "array_record" or "generated".
        split: "train", "validation", "test" or "all".
        num_examples: examples in this split.
        split_sizes: examples by split, of the splits that are not empty.
        image_shape: (height, width, channels) of every `image`.
        is_latent: the images are latents, whose values are not held to [-1, 1].
        num_classes: number of class labels, or None where examples have no label.
        label_names: their names by label, or None.
        attributes: what a label says, where it says several things: it is the number of their values in row-major order.
        has_captions: every example has a `caption` (it may be empty).
        words: all words of the captions, where they are a closed set; then a word is a token, elsewhere a byte is.
        context_shape: (length, width) of every `context`, or None.
        location: the folder or file that is read.
        sizes: sizes before resizing, where they are known.
        notes: what a person should know, one sentence each.
    """

    name: str
    kind: Literal["tfds", "folder", "npz", "array_record", "generated"]
    split: str
    num_examples: int
    split_sizes: dict[str, int]
    image_shape: tuple[int, int, int]
    location: str
    is_latent: bool = False
    num_classes: int | None = None
    label_names: tuple[str, ...] | None = None
    attributes: tuple[Attribute, ...] = ()
    has_captions: bool = False
    words: tuple[str, ...] | None = None
    context_shape: tuple[int, int] | None = None
    sizes: SizeRange | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Different tokens of its prompts, the null token included; without effect on encoded contexts."""
        if self.has_captions:
            return 257 if self.words is None else len(self.words) + 1
        return (self.num_classes or 0) + 1


@dataclasses.dataclass(frozen=True)
class RecordOrigin:
    """Names an example of a data set that has no file for each, in a message."""

    name: str
    split: str

    def __call__(self, index: int) -> str:
        return f"{self.name}, split {self.split}, example {index}"


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A random-access source of examples: `len(dataset)`, `dataset[i]`, iteration in stored order.

    Attributes:
        info: the description.
        read: the example at an index in [0, num_examples); a bad file raises `InputError` with its name.
        origin: where the example at an index comes from (a file, or a record's number), for messages.
    """

    info: DatasetInfo
    read: Callable[[int], Example]
    origin: Callable[[int], str]

    def __len__(self) -> int:
        return self.info.num_examples

    def __getitem__(self, index: int) -> Example:
        position = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= position < len(self):
            raise IndexError(f"example {index} of data set {self.info.name!r}: it has {len(self)} examples")
        return self.read(position)

    def at(self, rows: Sequence[int] | np.ndarray) -> "Dataset":
        """The examples at these rows, in their order; none is read yet."""
        places = [int(row) for row in rows]
        return Dataset(
            dataclasses.replace(self.info, num_examples=len(places)),
            lambda index: self.read(places[index]),
            lambda index: self.origin(places[index]),
        )

    def digest(self) -> str:
        """16 hexadecimal digits of where its examples come from, in their order; none of them is read."""
        found = hashlib.sha256()
        for index in range(len(self)):
            found.update(self.origin(index).encode() + b"\n")
        return found.hexdigest()[:16]

    def __iter__(self) -> Iterator[Example]:
        return (self.read(index) for index in range(len(self)))


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """A whole data set in memory; prompts are either `tokens` or `context`."""

    images: Float[np.ndarray, "n height width channels"]
    tokens: Int32[np.ndarray, "n context_length"] | None
    context: Float[np.ndarray, "n context_length context_width"] | None
    labels: Int32[np.ndarray, " n"] | None


def prompt_tokens(
    example: Example, context_length: int, *, words: tuple[str, ...] | None = None
) -> Int32[np.ndarray, " context_length"]:
    """Token ids of an example's prompt, padded with the null token 0 to `context_length`.

    A caption is its UTF-8 bytes + 1, so that 257 tokens are enough for every language, cut where they are too many; or, given
    all `words` that there are, a token for each. Without a caption, label k is the one token k + 1. An example with neither
    is the null prompt.

    >>> prompt_tokens({"label": 4}, 3).tolist(), prompt_tokens({"caption": "ab"}, 3).tolist()
    ([5, 0, 0], [98, 99, 0])

    Raises:
        InputError: the caption has a word that is not among `words`, or more of them than fit.
    """
    tokens = np.zeros(context_length, np.int32)
    if "caption" in example and words is not None:
        found = word_tokens(example["caption"], words, most=context_length)
        tokens[: len(found)] = found
    elif "caption" in example:
        encoded = np.frombuffer(example["caption"].encode("utf-8")[:context_length], np.uint8)
        tokens[: len(encoded)] = encoded.astype(np.int32) + 1
    elif "label" in example:
        tokens[0] = int(example["label"]) + 1
    return tokens


def default_context_length(info: DatasetInfo) -> int:
    """Tokens of a prompt where nobody says otherwise: 77 for captions of bytes, 16 for captions of words, else 1."""
    if not info.has_captions:
        return 1
    return CAPTION_LENGTH if info.words is None else WORDS_LENGTH


def as_arrays(dataset: Dataset, *, context_length: int | None = None) -> Arrays:
    """Reads a whole small data set into memory, in stored order.

    Args:
        dataset: what to read.
        context_length: tokens of each prompt; by default `default_context_length`. Without effect on encoded contexts.

    Raises:
        InputError: the arrays would take more than 4 GiB; use `batches` for such a set.
    """
    info = dataset.info
    check_fits(info)
    length = context_length or default_context_length(info)
    images = np.empty((len(dataset), *info.image_shape), np.float32)
    tokens = np.zeros((len(dataset), length), np.int32) if info.context_shape is None else None
    context = None if info.context_shape is None else np.empty((len(dataset), *info.context_shape), np.float32)
    labels = None if info.num_classes is None else np.empty(len(dataset), np.int32)
    for index, example in enumerate(dataset):
        images[index] = example["image"]
        if tokens is not None:
            tokens[index] = prompt_tokens(example, length, words=info.words)
        if context is not None:
            context[index] = example["context"]
        if labels is not None:
            labels[index] = example["label"]
    return Arrays(images=images, tokens=tokens, context=context, labels=labels)


def array_bytes(info: DatasetInfo) -> int:
    """Of the images and encoded contexts of a split in memory."""
    floats = int(np.prod(info.image_shape)) + int(np.prod(info.context_shape or (0,)))
    return 4 * floats * info.num_examples


def check_fits(info: DatasetInfo) -> None:
    """Raises InputError where a split as arrays would take more than 4 GiB."""
    if (size := array_bytes(info)) > MAX_ARRAY_BYTES:
        raise InputError(
            f"data set {info.name!r} would take {size / 2**30:.1f} GiB in memory, more than the limit of 4 GiB; "
            f"read it with `batches`, give a smaller resolution, or make split {info.split!r} smaller"
        )
