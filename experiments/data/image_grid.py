"""A grid of pictures, for data and for what a model drew."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.data.pixels import pixels_to_bytes
from experiments.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

GAP = 1  # pixels between pictures, before scaling
PAPER = 255


def check_picture(path: Path) -> None:
    """Raises InputError where a file's name ends as no picture that can be written."""
    from PIL import Image

    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise InputError(f"{path}: no kind of picture that can be written ends so; use for example {path.with_suffix('.png')}")


def image_grid(images: np.ndarray, *, columns: int, scale: int = 1) -> "Image.Image":
    """Pictures side by side on white, row by row, each pixel drawn as `scale` x `scale`.

    Args:
        images: pixels in [-1, 1], float32 [n, height, width, 1 or 3]; beyond it they are clipped, and NaN is black.
        columns: pictures in a row; fewer pictures make a narrower grid.
        scale: how many times larger, a whole number.

    Returns:
        A Pillow image, grey for one channel, else RGB.

    Raises:
        InputError: no pictures, or other than 1 or 3 channels, or a number below 1.
    """
    from PIL import Image

    images = np.asarray(images)
    if images.ndim != 4 or not len(images) or images.shape[3] not in (1, 3):
        raise InputError(f"a grid takes images [n, height, width, 1 or 3] with n at least 1, got {list(images.shape)}")
    for key, number in (("columns", columns), ("scale", scale)):
        if number < 1:
            raise InputError(f"`{key}` must be at least 1, got {number}")
    tiled = _tile(pixels_to_bytes(images), min(columns, len(images)))
    enlarged = tiled.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(enlarged[..., 0] if images.shape[3] == 1 else enlarged)


def _tile(pixels: np.ndarray, columns: int) -> np.ndarray:
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    paper = np.full((rows, height + GAP, columns, width + GAP, channels), PAPER, np.uint8)
    for number, picture in enumerate(pixels):
        paper[number // columns, :height, number % columns, :width] = picture
    flat = paper.reshape(rows * (height + GAP), columns * (width + GAP), channels)
    return flat[:-GAP, :-GAP]
