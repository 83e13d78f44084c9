"""What a folder of images holds: its images, their sizes, its split folders, its captions or its classes."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from experiments.data.captions import Captions, find_captions
from experiments.data.pixels import image_size
from experiments.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a folder holds, paths relative to it with `/`, sorted.

    Attributes:
        images: the images.
        split_folders: the names of its split folders, or none.
        captions: their captions, or None.
        classes: names of the class folders, or none.
        sizes: int [n, 2], height and width.
        modes: the Pillow modes that occur.
    """

    images: tuple[str, ...]
    split_folders: tuple[str, ...]
    captions: Captions | None
    classes: tuple[str, ...]
    sizes: np.ndarray
    modes: frozenset[str]


def scan_folder(root: pathlib.Path) -> Contents:
    """What a folder holds: images (recursive; hidden ones are passed over), captions or classes, sizes.

    Raises:
        InputError: it is no folder, it has no images, some are none, or a caption is wrong.
    """
    if not root.is_dir():
        kinds = ", ".join((".npz", ".array_record"))
        raise InputError(f"{root}: a data set is a folder, or a file that ends in {kinds}; give the folder it lies in")
    images = _find_images(root)
    if not images:
        raise InputError(f"{root}: there is no image in this folder; it needs files {', '.join(IMAGE_SUFFIXES)}")
    tops = {image.partition("/")[0] if "/" in image else "" for image in images}
    split_folders = tuple(sorted(tops)) if "train" in tops and tops <= set(SPLIT_FOLDERS) else ()
    captions = find_captions(root, images, folders=("", *split_folders))
    classes = () if captions is not None else _find_classes(images, split_folders)
    headers = _read_headers(root, images)
    return Contents(
        images=images,
        split_folders=split_folders,
        captions=captions,
        classes=classes,
        sizes=np.array([(height, width) for height, width, _ in headers]),
        modes=frozenset(mode for _, _, mode in headers),
    )


def class_folder(image: str, contents: Contents) -> str:
    """The class folder that an image lies in."""
    return image.split("/")[1 if contents.split_folders else 0]


def _find_images(root: pathlib.Path) -> tuple[str, ...]:
    found, above = [], {str(root): {os.path.realpath(root)}}
    for folder, subfolders, files in os.walk(root, followlinks=True):
        places = {x: os.path.realpath(os.path.join(folder, x)) for x in subfolders if not x.startswith((".", "__"))}
        inside = above.pop(folder)
        subfolders[:] = [name for name, place in places.items() if place not in inside]  # a link may lead round in a circle
        above |= {os.path.join(folder, name): inside | {places[name]} for name in subfolders}
        below = pathlib.Path(folder).relative_to(root)
        found += [(below / name).as_posix() for name in files if _is_image(name)]
    return tuple(sorted(found))


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def _find_classes(images: Sequence[str], split_folders: Sequence[str]) -> tuple[str, ...]:
    depth = 1 if split_folders else 0
    parts = [image.split("/") for image in images]
    if any(len(part) <= depth + 1 for part in parts):
        return ()
    classes = sorted({part[depth] for part in parts})
    return tuple(classes) if len(classes) > 1 else ()


def _read_headers(root: pathlib.Path, images: Sequence[str]) -> list[tuple[int, int, str]]:
    headers, refusals = [], []
    for image in images:
        try:
            headers.append(image_size(root / image))
        except InputError as error:
            refusals.append((image, error))
    if not refusals:
        return headers
    more = f"; {len(refusals) - 1} more do not: {', '.join(name for name, _ in refusals[1:6])}"
    raise InputError(f"{refusals[0][1]}{more if len(refusals) > 1 else ''}")
