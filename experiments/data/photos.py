"""Patches of the two photographs that scikit-learn carries: no download, real colours and textures.

Source: china.jpg and flower.jpg of `sklearn.datasets.load_sample_images`, under Creative Commons licences.
"""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from experiments.data.dataset import Dataset, DatasetInfo, Example, RecordOrigin
from experiments.data.generated import GeneratedSizes
from experiments.data.pixels import bytes_to_pixels
from experiments.data.splits import ALL, SPLITS

PHOTOS_NAME = "photos"
PICTURES = ("china", "flower")
# Larger ones leave too few patches to a split.
SIZES = GeneratedSizes(PHOTOS_NAME, made="is cut", smallest=8, largest=64, colours="is in colour")
_EVERY = 10  # one patch in ten for validation, one for test
_DIAGONAL = 3

Patches = UInt8[np.ndarray, "n resolution resolution 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class PatchReader:
    """The patch at an index, and which picture it is of."""

    patches: Patches
    labels: np.ndarray

    def __call__(self, index: int) -> Example:
        return {"image": bytes_to_pixels(self.patches[index]), "label": int(self.labels[index])}


def load_photos(*, split: str, resolution: int | None = None, channels: int | None = None) -> Dataset:
    """Square patches of both pictures, side by side from the upper left corner: none overlaps another.

    Of ten patches in a row one is validation and one is test, each row three further than the one above it.

    Args:
        split: train, validation, test or all.
        resolution: side of the patches; by default 32.
        channels: 3; by default 3.

    Raises:
        InputError: a resolution that leaves too few patches, or grey images.
    """
    resolution = SIZES.resolution(resolution, channels)
    cut = [_cut(picture, resolution) for picture in PICTURES]
    patches, turns = (np.concatenate(parts) for parts in zip(*cut, strict=True))
    labels = np.repeat(np.arange(len(PICTURES)), [len(part) for part, _ in cut])
    rows = {"train": turns > 1, "validation": turns == 0, "test": turns == 1}
    chosen = np.ones(len(patches), bool) if split == ALL else rows[split]
    info = DatasetInfo(
        name=PHOTOS_NAME,
        kind="generated",
        split=split,
        num_examples=int(chosen.sum()),
        split_sizes={name: int(rows[name].sum()) for name in SPLITS},
        image_shape=(resolution, resolution, 3),
        location="memory",
        num_classes=len(PICTURES),
        label_names=PICTURES,
    )
    return Dataset(info=info, read=PatchReader(patches[chosen], labels[chosen]), origin=RecordOrigin(PHOTOS_NAME, split))


def _cut(picture: str, side: int) -> tuple[Patches, np.ndarray]:
    """All patches of a picture, and for each its turn: 0 is validation, 1 is test, the others are train."""
    from sklearn.datasets import load_sample_image

    pixels = np.asarray(load_sample_image(f"{picture}.jpg"))
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    tiles = pixels[: rows * side, : columns * side].reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    turns = (_DIAGONAL * np.arange(rows)[:, None] + np.arange(columns)) % _EVERY
    # Half a round on, the other of the two: neighbours are not both held out.
    turns = np.select([turns == 0, turns == _EVERY // 2], [0, 1], 2)
    return tiles.reshape(-1, side, side, 3), turns.reshape(-1)
