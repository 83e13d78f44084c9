"""Draws a few equal shapes of one colour on another, with soft edges, in whole numbers: the same bits on every machine."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int64, UInt8

SIDE = 1024  # of an image, in the units of centres and radii, whatever the resolution
SHAPES = ("circle", "square", "triangle", "cross")
_FINER = 4  # samples along each side of a pixel
_HALF = _FINER**2 // 2

Colour = tuple[int, ...]
Coordinates = Int64[np.ndarray, "rows columns"]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Shapes of one kind, size and colour.

    Attributes:
        shape: one of `SHAPES`.
        centres: (x, y) of each, from the upper left corner.
        radius: of the circle; the others are about as large.
        ink: red, green and blue of the shapes, 0 to 255.
        background: of everything else.
    """

    shape: str
    centres: tuple[tuple[int, int], ...]
    radius: int
    ink: Colour
    background: Colour


def draw(drawing: Drawing, resolution: int) -> UInt8[np.ndarray, "resolution resolution 3"]:
    """The picture: a pixel mixes both colours by how many of its 4x4 samples lie in a shape."""
    finer = _FINER * resolution
    # Sample j lies at (2 j + 1) SIDE / (2 finer); everything is multiplied by 2 finer, so that it stays whole.
    samples = (2 * np.arange(finer, dtype=np.int64) + 1) * SIDE
    is_inside = np.zeros((finer, finer), bool)
    for x, y in drawing.centres:
        dx, dy = np.broadcast_arrays(samples[None, :] - 2 * finer * x, samples[:, None] - 2 * finer * y)
        is_inside |= _inside(drawing.shape, dx, dy, 2 * finer * drawing.radius)
    covered = is_inside.reshape(resolution, _FINER, resolution, _FINER).sum((1, 3))[..., None]
    ink, background = (np.array(colour, np.int64) for colour in (drawing.ink, drawing.background))
    mixed = covered * ink + (_FINER**2 - covered) * background
    return ((mixed + _HALF) // _FINER**2).astype(np.uint8)


def _inside(shape: str, dx: Coordinates, dy: Coordinates, radius: int) -> Bool[np.ndarray, "rows columns"]:
    if shape == "circle":
        return dx * dx + dy * dy <= radius * radius
    if shape == "square":
        return 8 * np.maximum(abs(dx), abs(dy)) <= 7 * radius
    if shape == "triangle":  # from its tip at -radius to its base at 7/8 radius, which is two radii wide
        return (8 * dy <= 7 * radius) & (15 * abs(dx) <= 8 * (dy + radius))
    arm, length = np.minimum(abs(dx), abs(dy)), np.maximum(abs(dx), abs(dy))
    return (8 * arm <= 3 * radius) & (length <= radius)
