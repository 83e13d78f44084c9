"""Prepared TFDS data sets as examples, read without TensorFlow."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.data.dataset import Dataset, DatasetInfo, Example, RecordOrigin
from experiments.data.pixels import read_pixels, validate_pixel_channels
from experiments.data.splits import ALL, SPLITS
from experiments.data.tfds_folders import refuse_format
from experiments.errors import InputError

STORED_SPLITS = {"train": "train", "dev": "validation", "val": "validation", "valid": "validation"}
STORED_SPLITS |= {"validation": "validation", "test": "test"}  # later ones win


@dataclasses.dataclass(frozen=True)
class FeatureKeys:
    """Which features of a TFDS set are the image and its prompt; `prompt` None is an unconditional set."""

    image: str
    prompt: str | None
    is_caption: bool


@dataclasses.dataclass(frozen=True, eq=False)
class TfdsReader:
    """Reads one example of a TFDS data source whose images are still encoded."""

    source: Any
    keys: FeatureKeys
    shape: tuple[int, int, int]
    origin: Any

    def __call__(self, index: int) -> Example:
        try:
            row = self.source[index]
            if any(row[key] is None for key in (self.keys.image, self.keys.prompt) if key is not None):
                raise ValueError("the record is empty")  # as a file that was cut short gives it
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(f"{self.origin(index)} cannot be read ({_first_line(error)}); {_REMEDY}") from None
        example: Example = {"image": read_pixels(row[self.keys.image], shape=self.shape, origin=self.origin(index))}
        if self.keys.prompt is not None:
            value = row[self.keys.prompt]
            if self.keys.is_caption:
                example["caption"] = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
            else:
                example["label"] = int(value)
        return example


def load_prepared(
    folder: pathlib.Path,
    *,
    name: str,
    split: str,
    resolution: int | None = None,
    channels: int | None = None,
    image_key: str | None = None,
    prompt_key: str | None = None,
) -> Dataset:
    """A prepared TFDS set as a `Dataset`.

    A set without a validation split gives the last tenth of its train split as validation; one without a test split
    gives the tenth before that as test. Train is then what is left.

    Args:
        folder: the version folder, with `dataset_info.json` and `features.json`.
        name: what the person called it.
        split: train, validation, test or all.
        resolution: side of the square images; by default the size in the features.
        channels: 1 or 3; by default as in the features.
        image_key: the image feature; by default the only one there is.
        prompt_key: the label or text feature; by default the only label, else the only text.

    Raises:
        InputError: another file format than array_record or parquet, ambiguous features, an empty split.
    """
    validate_pixel_channels(channels)
    refuse_format(folder, name)
    builder = _builder(folder)
    import tensorflow_datasets as tfds

    features = dict(builder.info.features)  # a FeaturesDict is a mapping
    keys = choose_features(features, name=name, image_key=image_key, prompt_key=prompt_key)
    shape = _image_shape(features[keys.image], name=name, resolution=resolution, channels=channels)
    expressions = split_expressions({key: value.num_examples for key, value in builder.info.splits.items()})
    if not expressions.get(split):
        raise InputError(f"data set {name!r} has no split {split!r}; it has {', '.join(sorted(expressions))}")
    decoders = {keys.image: tfds.decode.SkipDecoding()}
    sizes = {key: builder.info.splits[value].num_examples for key, value in expressions.items() if key != ALL}
    try:
        source = builder.as_data_source(split=expressions[split], decoders=decoders)
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(f"{folder}: split {split!r} cannot be opened ({_first_line(error)}); {_REMEDY}") from None
    label = features[keys.prompt] if keys.prompt is not None and not keys.is_caption else None
    info = DatasetInfo(
        name=name,
        kind="tfds",
        split=split,
        num_examples=len(source),
        split_sizes=sizes,
        image_shape=shape,
        location=str(folder),
        num_classes=None if label is None else label.num_classes,
        label_names=None if label is None else tuple(label.names),
        has_captions=keys.is_caption,
        notes=tuple(f"{key} is {value} of the prepared set" for key, value in expressions.items() if "[" in value),
    )
    origin = RecordOrigin(name, split)
    return Dataset(info=info, read=TfdsReader(source, keys, shape, origin), origin=origin)


_REMEDY = "copy the prepared set again, or prepare it again"
_FEATURES = "tensorflow_datasets.core.features."  # of the classes that a description may name: TFDS imports what it names


def _builder(folder: pathlib.Path) -> Any:
    """The TFDS builder of a prepared folder, whose files are data: no class but TFDS's own is imported for it."""
    path = folder / "features.json"
    try:
        described = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({_first_line(error)}); {_REMEDY}") from None
    for name in _class_names(described):
        if not name.startswith(_FEATURES):
            raise InputError(f"{path}: class {name!r} is none of TFDS's own features ({_FEATURES}...), and is not imported")
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # whatever TFDS and the parsers below it raise
        raise InputError(f"{folder}: this prepared set cannot be opened ({_first_line(error)}); {_REMEDY}") from None


def _class_names(described: Any) -> Iterator[str]:
    """What a description of features names as classes, at any depth."""
    if isinstance(described, list):
        for each in described:
            yield from _class_names(each)
    elif isinstance(described, dict):
        for key, value in described.items():
            if key in ("pythonClassName", "python_class_name", "type") and isinstance(value, str):
                yield value
            yield from _class_names(value)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def split_expressions(sizes: dict[str, int]) -> dict[str, str]:
    """The TFDS expression of train, validation, test and all, given the splits (with sizes) that the set has.

    >>> split_expressions({"train": 100, "test": 10})["validation"]
    'train[90%:]'
    """
    named = {split: stored for stored, split in STORED_SPLITS.items() if sizes.get(stored)}
    if "train" not in named:
        return {**named, ALL: "+".join(named.values())} if named else {}
    if "validation" in named and "test" in named:
        return {**named, ALL: "+".join(named.values())}
    if "validation" in named or "test" in named:
        missing = "test" if "validation" in named else "validation"
        divided = {"train": "train[:90%]", missing: "train[90%:]"}
    else:
        divided = {"train": "train[:80%]", "validation": "train[90%:]", "test": "train[80%:90%]"}
    found = {**named, **divided}
    return {split: found[split] for split in SPLITS} | {ALL: "+".join(named.values())}


def choose_features(features: dict[str, Any], *, name: str, image_key: str | None, prompt_key: str | None) -> FeatureKeys:
    """Finds the image and its prompt among the features of a set.

    A label comes before a text, because sets with labels often carry file names as text.

    Raises:
        InputError: no image, more than one candidate, or a key that is not there; the message names the keys.
    """
    import tensorflow_datasets as tfds

    kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel, "text": tfds.features.Text}
    keys = {kind: [key for key, value in features.items() if type(value) is cls] for kind, cls in kinds.items()}
    image = _only(keys["image"], image_key, role="image", name=name, features=features)
    if image is None:
        raise InputError(f"data set {name!r} has no image feature; its features are {', '.join(sorted(features))}")
    candidates = keys["label"] + keys["text"] if prompt_key is not None else keys["label"] or keys["text"]
    prompt = _only(candidates, prompt_key, role="prompt", name=name, features=features)
    return FeatureKeys(image=image, prompt=prompt, is_caption=prompt in keys["text"])


def _only(candidates: list[str], chosen: str | None, *, role: str, name: str, features: dict[str, Any]) -> str | None:
    if chosen is not None and chosen not in candidates:
        raise InputError(
            f"`{role}_key` {chosen!r} is not a feature of data set {name!r} that can be its {role}; "
            f"use one of {', '.join(sorted(candidates)) or 'none'} (all features: {', '.join(sorted(features))})"
        )
    if chosen is None and len(candidates) > 1:
        raise InputError(
            f"data set {name!r} has several features that can be its {role}: {', '.join(sorted(candidates))}; "
            f"say which with `{role}_key` of `load_dataset`, or write out a folder of images with it"
        )
    return chosen or (candidates[0] if candidates else None)


def _image_shape(feature: Any, *, name: str, resolution: int | None, channels: int | None) -> tuple[int, int, int]:
    height, width, stored = feature.shape
    if feature.np_dtype != np.uint8:
        raise InputError(
            f"data set {name!r} has images of type {np.dtype(feature.np_dtype).name}; "
            "only uint8 images are read: encode it as latents (npz or array_record) instead"
        )
    wanted = channels or (1 if stored == 1 else 3)
    if resolution is not None:
        return (resolution, resolution, wanted)
    if height is None or width is None:
        raise InputError(f"data set {name!r} has images of several sizes; give `resolution`, for example resolution=64")
    return (height, width, wanted)
