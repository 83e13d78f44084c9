"""A folder of images as a data set: with captions, with one subfolder per class, or with images alone.

Splits: subfolders `train`, `validation` (or `val`, `valid`) and `test`, where the images lie in nothing else; otherwise
by the rule of `splits.divide` over the paths. Prompts: captions where there is any (see `captions`); else, where every
image lies in one of at least two subfolders, the first subfolder is its class.
"""

import dataclasses
import pathlib

import numpy as np

from experiments.data.dataset import Dataset, DatasetInfo, Example, SizeRange
from experiments.data.folder_contents import SPLIT_FOLDERS, Contents, class_folder, scan_folder
from experiments.data.pixels import GREY_MODES, read_pixels, validate_pixel_channels
from experiments.data.splits import choose, divide
from experiments.errors import InputError


class MixedSizesError(InputError):
    """The images have several sizes and nobody said which one is wanted."""


@dataclasses.dataclass(frozen=True, eq=False)
class FolderReader:
    """Reads the image at an index and its prompt."""

    root: pathlib.Path
    images: tuple[str, ...]
    captions: dict[str, str] | None
    labels: dict[str, int] | None
    shape: tuple[int, int, int]

    def __call__(self, index: int) -> Example:
        image = self.images[index]
        example: Example = {"image": read_pixels(self.root / image, shape=self.shape, origin=self.origin(index))}
        if self.captions is not None:
            example["caption"] = self.captions.get(image, "")
        if self.labels is not None:
            example["label"] = self.labels[image]
        return example

    def origin(self, index: int) -> str:
        return str(self.root / self.images[index])


def load_folder(
    root: pathlib.Path, *, name: str, split: str, resolution: int | None = None, channels: int | None = None
) -> Dataset:
    """Opens a folder of images. Headers of all images are read at once, pixels when asked.

    Args:
        root: the folder.
        name: what the person called it.
        split: train, validation, test or all.
        resolution: side of the square images (centred crop, then Lanczos); by default their own size, if all have one.
        channels: 1 or 3; by default 1 where all images are grey, else 3.

    Raises:
        InputError: no images, an image that is none, a bad caption line, an empty split.
        MixedSizesError: several sizes and no resolution.
    """
    validate_pixel_channels(channels)
    contents = scan_folder(root)
    divided = _divide(contents)
    remedy = "ask for another split, or put images into subfolders train, validation and test"
    chosen = tuple(contents.images[row] for row in choose(divided, split, name=name, remedy=remedy))
    captions = None if contents.captions is None else contents.captions.by_image
    labels = None
    if contents.classes:
        labels = {image: contents.classes.index(class_folder(image, contents)) for image in chosen}
    reader = FolderReader(root, chosen, captions, labels, _shape(contents, root, resolution, channels))
    info = DatasetInfo(
        name=name,
        kind="folder",
        split=split,
        num_examples=len(chosen),
        split_sizes={key: len(rows) for key, rows in divided.items() if rows},
        image_shape=reader.shape,
        location=str(root),
        num_classes=len(contents.classes) or None,
        label_names=contents.classes or None,
        has_captions=captions is not None,
        sizes=_size_range(contents.sizes),
        notes=_notes(contents, root),
    )
    return Dataset(info=info, read=reader, origin=reader.origin)


def _divide(contents: Contents) -> dict[str, list[int]]:
    if not contents.split_folders:
        return divide(contents.images)
    divided: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for row, image in enumerate(contents.images):
        divided[SPLIT_FOLDERS[image.partition("/")[0]]].append(row)
    return divided


def _shape(contents: Contents, root: pathlib.Path, resolution: int | None, channels: int | None) -> tuple[int, int, int]:
    depth = channels or (1 if contents.modes <= set(GREY_MODES) else 3)
    if resolution is not None:
        return (resolution, resolution, depth)
    height, width = (int(value) for value in contents.sizes[0])
    if (contents.sizes != contents.sizes[0]).any():
        sizes = _size_range(contents.sizes)
        raise MixedSizesError(
            f"{root}: the images have several sizes (height x width from {_by(sizes.smallest)} to "
            f"{_by(sizes.largest)}), and a data set has one; give `resolution`, for example resolution=64"
        )
    return (height, width, depth)


def _size_range(sizes: np.ndarray) -> SizeRange:
    ordered = sizes[np.argsort(sizes.prod(axis=1), kind="stable")]
    smallest, median, largest = ((int(h), int(w)) for h, w in ordered[[0, len(ordered) // 2, -1]])
    return SizeRange(smallest=smallest, median=median, largest=largest)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _notes(contents: Contents, root: pathlib.Path) -> tuple[str, ...]:
    notes = [*contents.captions.notes] if contents.captions is not None else []
    if contents.captions is None and not contents.classes:
        notes.append("no captions and no class folders: every image gets the empty prompt")
    if contents.captions is not None:
        notes.append(f"captions come from {contents.captions.found_in}")
    other = [name for name in ("metadata.csv", "metadata.parquet") if (root / name).is_file()]
    notes += [f"{name} is not read; write it as metadata.jsonl" for name in other]
    if not contents.split_folders:
        notes.append("splits are one tenth test, one tenth validation, by the SHA-256 of the path")
    return tuple(notes)
