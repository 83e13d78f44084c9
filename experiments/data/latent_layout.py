"""The shapes that all latents of a data set share, and the checks that arrays keep them."""

import dataclasses

import numpy as np

from experiments.data.dataset import Example
from experiments.errors import InputError


@dataclasses.dataclass(frozen=True)
class Layout:
    """Shapes of one example: the latent, its context, and the number of class labels; None where it has none."""

    image_shape: tuple[int, int, int]
    context_shape: tuple[int, int] | None
    num_classes: int | None


def require_floats(array: np.ndarray, ndim: int, *, where: str, axes: str) -> None:
    """Refuses an array that is not floating point with the wanted axes.

    Raises:
        InputError: names the array (`where`), its type and shape, and the axes wanted.
    """
    if array.ndim != ndim or not np.issubdtype(array.dtype, np.floating) or 0 in array.shape:
        raise InputError(
            f"{where} must be float16 or float32 [{axes}], not empty, got {array.dtype} {list(array.shape)}; "
            "encode it again in that form"
        )


def example_of(latent: np.ndarray, context: np.ndarray | None, label: int | None, *, layout: Layout, origin: str) -> Example:
    """One example in float32, its values and label checked.

    Raises:
        InputError: a value that is not finite, or a label outside its range.
    """
    example: Example = {"image": np.asarray(latent, np.float32)}
    if context is not None:
        example["context"] = np.asarray(context, np.float32)
    for key, array in example.items():
        if not np.isfinite(array).all():
            part = "latent" if key == "image" else key
            raise InputError(f"{origin}: its {part} has values that are not finite in float32; encode it again")
    if label is not None:
        if not 0 <= label < (layout.num_classes or 0):
            raise InputError(f"{origin}: label must lie in [0, {layout.num_classes}), got {label}; encode it again")
        example["label"] = int(label)
    return example
