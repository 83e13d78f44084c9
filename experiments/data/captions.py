"""Captions beside images: `metadata.jsonl` (lines with `file_name` and `text`), or `picture.txt` by `picture.png`.

Source: the first is the layout of Hugging Face's ImageFolder, the second that of the kohya trainers.
"""

import dataclasses
import difflib
import json
import pathlib
import posixpath
from collections.abc import Sequence
from typing import Any

from experiments.errors import InputError

METADATA = "metadata.jsonl"
SIDE_CAR = ".txt"


@dataclasses.dataclass(frozen=True)
class Captions:
    """Captions by image (its path relative to the root, with `/`), what they were read from, and what to mention."""

    by_image: dict[str, str]
    found_in: str
    notes: tuple[str, ...]


def find_captions(root: pathlib.Path, images: Sequence[str], *, folders: Sequence[str]) -> Captions | None:
    """Captions of a folder's images; None where there are none at all. Metadata wins over side-cars.

    Args:
        root: the folder.
        images: its images, relative to it, with `/`.
        folders: where `metadata.jsonl` may lie, relative to the root ("" is the root itself); the `file_name`s in it
            are relative to its own folder.

    Raises:
        InputError: a line that is no caption of an image that is there; the message begins with file and line number.
    """
    metadata = [folder for folder in folders if (root / folder / METADATA).is_file()]
    side_cars = {image: pathlib.PurePosixPath(image).with_suffix(SIDE_CAR) for image in images}
    side_cars = {image: path for image, path in side_cars.items() if (root / path).is_file()}
    if metadata:
        captions: dict[str, str] = {}
        for folder in metadata:
            captions |= _read_metadata(root, folder, images=frozenset(images), taken=captions)
        ignored = f"{len(side_cars)} side-car .txt files are ignored, because there is a {METADATA}"
        return Captions(captions, METADATA, (*_missing(captions, images), *([ignored] if side_cars else [])))
    if not side_cars:
        return None
    captions = {image: _read_text(root / path).strip() for image, path in side_cars.items()}
    return Captions(captions, "side-car .txt files", _missing(captions, images))


def _missing(captions: dict[str, str], images: Sequence[str]) -> tuple[str, ...]:
    without = [image for image in images if not captions.get(image)]
    if not without:
        return ()
    names = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
    return (f"{len(without)} of {len(images)} images have no caption and get the empty prompt: {names}",)


def _read_metadata(root: pathlib.Path, folder: str, *, images: frozenset[str], taken: dict[str, str]) -> dict[str, str]:
    file = root / folder / METADATA
    captions: dict[str, str] = {}
    for number, line in enumerate(_read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        file_name, text = _read_line(line, where)
        image = posixpath.normpath(posixpath.join(folder, file_name.replace("\\", "/")))
        if image not in images:
            raise InputError(f"{where}: there is no image {file_name!r} in this folder; {_nearest(image, images)}")
        if image in captions or image in taken:
            raise InputError(f"{where}: image {file_name!r} has a caption already; keep one of the lines")
        captions[image] = text.strip()
    return captions


def _read_line(line: str, where: str) -> tuple[str, str]:
    expected = 'a line looks like {"file_name": "0001.png", "text": "a red cup"}'
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}); {expected}") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: a JSON object is expected, got {type(row).__name__}; {expected}")
    for key in ("file_name", "text"):
        if not isinstance(row.get(key), str):
            has = ", ".join(repr(name) for name in row) or "none"
            raise InputError(f"{where}: key `{key}` must be there and be text; the keys are {has}; {expected}")
        if half := next((mark for mark in row[key] if "\ud800" <= mark <= "\udfff"), None):
            raise InputError(f"{where}: key `{key}` has {half!r}, half a character, which cannot be written; cut it out")
    return row["file_name"], row["text"]


def _nearest(image: str, images: frozenset[str]) -> str:
    nearest = difflib.get_close_matches(image, sorted(images), n=1, cutoff=0.6)
    return f"did you mean {nearest[0]!r}?" if nearest else "add the image, or remove the line"


def _read_text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
