"""From a name or a path to a `Dataset`."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from experiments.data.dataset import Dataset, DatasetInfo
from experiments.data.folder import load_folder
from experiments.data.latents import load_latents
from experiments.data.photos import PHOTOS_NAME, load_photos
from experiments.data.shapes import SHAPES_NAME, load_shapes
from experiments.data.splits import validate_split
from experiments.data.tfds_folders import find_prepared
from experiments.errors import InputError

DIGITS = "digits"
DISTRIBUTIONS = {"tensorflow_datasets": "tensorflow-datasets", "sklearn": "scikit-learn", "PIL": "pillow"}
LATENT_SUFFIXES = (".npz", ".array_record")
PATH_STARTS = (".", "/", "~", "\\")
_MADE = {PHOTOS_NAME: load_photos, SHAPES_NAME: load_shapes}  # of these nothing lies on the disk


def data_home() -> pathlib.Path:
    """Where data sets that we prepare ourselves are kept: POCKETUNET_DATA_DIR, else the user's cache folder."""
    if chosen := os.environ.get("POCKETUNET_DATA_DIR"):
        return pathlib.Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(cache).expanduser() / "pocketunet" / "tfds"


def load_dataset(
    name_or_dir: str | os.PathLike[str],
    *,
    split: str,
    resolution: int | None = None,
    channels: int | None = None,
    image_key: str | None = None,
    prompt_key: str | None = None,
) -> Dataset:
    """Opens a data set; nothing is ever downloaded.

    Args:
        name_or_dir: "digits", "photos" or "shapes"; or a folder of images, an npz or array_record file of latents (or a
            folder of them), a prepared TFDS folder; or the name of a prepared TFDS set.
        split: "train", "validation", "test", or "all".
        resolution: side of the square images; by default their own size (32 for photos and shapes). Latents are never resized.
        channels: 1 (grey) or 3 (RGB); by default as stored.
        image_key: TFDS only: the image feature, where there are several.
        prompt_key: TFDS only: the label or text feature, where there are several.

    Raises:
        InputError: the set is not there, not readable, or ambiguous; the message says what to do.
    """
    validate_split(split)
    _validate_shape(resolution, channels)
    name = os.fspath(name_or_dir)
    with _missing_part_named(name):
        if (make := _MADE.get(name)) is not None:
            _refuse_keys(name, image_key=image_key, prompt_key=prompt_key)
            return make(split=split, resolution=resolution, channels=channels)
        path = _find(name)
        if (path / "dataset_info.json").exists():
            from experiments.data.tfds_source import load_prepared

            return load_prepared(
                path,
                name=name,
                split=split,
                resolution=resolution,
                channels=channels,
                image_key=image_key,
                prompt_key=prompt_key,
            )
    _refuse_keys(name, image_key=image_key, prompt_key=prompt_key)
    if _is_latents(path):
        dataset = load_latents(path, name=name, split=split)
        _refuse_resizing(dataset.info, resolution, channels)
        return dataset
    return load_folder(path, name=name, split=split, resolution=resolution, channels=channels)


def from_anywhere(name: str) -> str:
    """The name of a data set as it is, that of a folder or file as its whole path: bundles are used from other folders."""
    path = pathlib.Path(name).expanduser()
    return str(path.resolve()) if name != DIGITS and name not in _MADE and path.exists() else name


def _refuse_keys(name: str, **keys: str | None) -> None:
    for key, value in keys.items():
        if value is not None:
            raise InputError(f"`{key}` is for TFDS data sets, which {name!r} is not; leave it out")


def _find(name: str) -> pathlib.Path:
    if name == DIGITS:
        from experiments.data.digits_builder import prepared_digits

        return prepared_digits(data_home())
    path = pathlib.Path(name).expanduser()
    if name and path.exists():
        return path
    if not name or name.startswith(PATH_STARTS) or path.suffix in LATENT_SUFFIXES:
        raise InputError(f"{name!r}: there is no such file or folder; check the path (a TFDS set is given by its name)")
    return find_prepared(name)


def _is_latents(path: pathlib.Path) -> bool:
    files = path.iterdir() if path.is_dir() else [path]
    return any(file.suffix in LATENT_SUFFIXES and not file.name.startswith(".") for file in files if file.is_file())


def _refuse_resizing(info: DatasetInfo, resolution: int | None, channels: int | None) -> None:
    height, width, depth = info.image_shape
    for key, given, has in (("resolution", resolution, {height, width}), ("channels", channels, {depth})):
        if given is not None and has != {given}:
            raise InputError(
                f"`{key}`={given} does not fit the latents of {info.name!r}, which are {height}x{width}x{depth} "
                f"and are never resized; leave `{key}` out, or encode them again"
            )


def _validate_shape(resolution: int | None, channels: int | None) -> None:
    if resolution is not None and resolution < 1:
        raise InputError(f"`resolution` must be at least 1, got {resolution}; use for example 64")
    if channels is not None and channels < 1:
        raise InputError(f"`channels` must be at least 1, got {channels}; use 1 (grey) or 3 (RGB)")


@contextlib.contextmanager
def _missing_part_named(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        package = DISTRIBUTIONS.get(module, module)
        raise InputError(
            f"data set {name!r} needs the Python package {package}, which is not installed; `pip install {package}`, "
            "or use a folder of images, an npz file or an array_record file, which do without"
        ) from None
