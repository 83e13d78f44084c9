"""Captioned shapes: one to three circles, squares, triangles or crosses of one colour somewhere on a plain background.

Nothing is stored. Example i of a split depends on (seed, split, i) alone and is drawn with whole numbers, so that it has the
same bits everywhere. Its caption says all of its scene: count, colour, shape and position.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from experiments.data.dataset import Attribute, Dataset, DatasetInfo, Example, RecordOrigin
from experiments.data.generated import GeneratedSizes
from experiments.data.pixels import bytes_to_pixels
from experiments.data.shape_drawing import SHAPES, SIDE, Drawing, draw
from experiments.data.splits import ALL, SPLITS

SHAPES_NAME = "shapes"
COUNTS = ("one", "two", "three")
COLOURS = {
    "red": (228, 44, 44),
    "green": (44, 176, 60),
    "blue": (56, 92, 240),
    "yellow": (240, 216, 48),
    "purple": (176, 64, 208),
    "white": (240, 240, 240),
}
POSITIONS = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
POSITIONS |= {"middle": "in the middle"}
ATTRIBUTES = (
    Attribute("count", COUNTS),
    Attribute("colour", tuple(COLOURS)),
    Attribute("shape", SHAPES),
    Attribute("position", tuple(POSITIONS)),
)
SIZES = tuple(len(attribute.values) for attribute in ATTRIBUTES)
NUM_SCENES = int(np.prod(SIZES))
ROUNDS = {"train": 20, "validation": 3, "test": 3}  # how often each scene comes in a split
RESOLUTIONS = GeneratedSizes(SHAPES_NAME, made="is drawn", smallest=16, largest=256, colours="has colours in its captions")
SEED = 0
_STRIDE = 217  # has no divisor in common with NUM_SCENES, and changes most attributes from one example to the next

# Whole numbers of a seeded example, one a call, between two bounds (both included).
Between = Callable[[int, int], int]


def caption_of(label: int) -> str:
    """What a scene's caption says.

    >>> caption_of(0), caption_of(NUM_SCENES - 1)
    ('one red circle on the left', 'three white crosses in the middle')
    """
    count, colour, shape, position = (
        attribute.values[value] for attribute, value in zip(ATTRIBUTES, np.unravel_index(label, SIZES), strict=True)
    )
    plural = "" if count == "one" else "es" if shape.endswith("s") else "s"
    return f"{count} {colour} {shape}{plural} {POSITIONS[position]}"


CAPTIONS = tuple(caption_of(label) for label in range(NUM_SCENES))
WORDS = tuple(sorted({word for caption in CAPTIONS for word in caption.split()}))


@dataclasses.dataclass(frozen=True)
class ShapesReader:
    """Draws the example at an index of some splits, one after the other."""

    splits: tuple[str, ...]
    resolution: int
    seed: int

    def __call__(self, index: int) -> Example:
        for split in self.splits:
            if index < (size := ROUNDS[split] * NUM_SCENES):
                break
            index -= size
        label = _STRIDE * index % NUM_SCENES
        pixels = draw_scene(label, self.resolution, between=seeded(f"{self.seed}/{split}/{index}"))
        return {"image": bytes_to_pixels(pixels), "caption": CAPTIONS[label], "label": label}


def load_shapes(*, split: str, resolution: int | None = None, channels: int | None = None, seed: int = SEED) -> Dataset:
    """The captioned shapes, drawn when they are asked for.

    Every scene (a combination of count, colour, shape and position) comes equally often in every split, each time in another
    place, size and tint.

    Args:
        split: train, validation, test or all.
        resolution: side of the images; by default 32. The same scenes are drawn at every resolution.
        channels: 3; by default 3.
        seed: of everything that a caption does not say.

    Raises:
        InputError: a resolution at which shapes cannot be told apart, or grey images.
    """
    resolution = RESOLUTIONS.resolution(resolution, channels)
    sizes = {name: ROUNDS[name] * NUM_SCENES for name in SPLITS}
    info = DatasetInfo(
        name=SHAPES_NAME,
        kind="generated",
        split=split,
        num_examples=sum(sizes.values()) if split == ALL else sizes[split],
        split_sizes=sizes,
        image_shape=(resolution, resolution, 3),
        location="memory",
        num_classes=NUM_SCENES,
        label_names=CAPTIONS,
        attributes=ATTRIBUTES,
        has_captions=True,
        words=WORDS,
    )
    reader = ShapesReader(SPLITS if split == ALL else (split,), resolution, seed)
    return Dataset(info=info, read=reader, origin=RecordOrigin(SHAPES_NAME, split))


def seeded(name: str) -> Between:
    """Whole numbers that follow from a name, sixteen at most: the SHA-256 of the name, two bytes for each."""
    values = iter(struct.unpack(">16H", hashlib.sha256(f"shapes 1/{name}".encode()).digest()))
    return lambda low, high: low + (next(values) * (high - low + 1) >> 16)


def draw_scene(label: int, resolution: int, *, between: Between) -> UInt8[np.ndarray, "resolution resolution 3"]:
    """A picture of a scene; `between` decides what its caption leaves open: size, tints, the place, which way a row runs."""
    count, colour, shape, position = (int(value) for value in np.unravel_index(label, SIZES))
    place = ATTRIBUTES[3].values[position]
    radius = between(*((150, 196), (140, 176), (130, 142))[count])
    step = 2 * radius + between(44, 56)
    room = SIDE // 2 - count * step // 2 - radius - 12
    along = SIDE // 2 + between(-min(room, 110), min(room, 110))
    middle = {"left": SIDE // 4, "top": SIDE // 4, "middle": SIDE // 2}.get(place, SIDE - SIDE // 4)
    across = middle + between(-36, 36)
    is_column = between(0, 1) if place == "middle" else place in ("left", "right")
    row = [along + number * step - count * step // 2 for number in range(count + 1)]
    centres = tuple((across, along) if is_column else (along, across) for along in row)
    grey = between(24, 72)
    background = tuple(grey + between(-8, 8) for _ in range(3))
    ink = tuple(channel + between(-14, 14) for channel in tuple(COLOURS.values())[colour])
    return draw(Drawing(SHAPES[shape], centres, radius, ink, background), resolution)
