"""What samples are judged by: a small classifier of a data set, trained when it is first needed, and the images themselves.

Where the training images are many, it is a random part of them.
"""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Int32

from experiments.config import SweepConfig
from experiments.data import Dataset, DatasetInfo
from experiments.denoising_task import open_examples
from experiments.errors import InputError
from experiments.feature_training import DESCRIPTION_FILE, load_classifier, save_classifier, train_classifier
from experiments.locks import lock_path, locked
from experiments.npz_file import read_npz, write_npz
from experiments.progress import Progress, reaching, silent_progress
from experiments.quality import SAMPLE_OBJECTIVES, FeatureDistances
from objectives.extractor import FeatureExtractor, features
from objectives.features import Classifier, classifier_extractor
from objectives.objective import PREDICTED
from search_space import Scale, get_scale

MAX_IMAGES = 20_000
MAX_BYTES = 2**30
_MOST_NAMED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledImages:
    """Training images with their labels: all of them, or some; `info` describes the data set that they are from."""

    images: Float[np.ndarray, "n height width channels"]
    labels: Int32[np.ndarray, " n"]
    info: DatasetInfo


def judged_objectives(config: SweepConfig) -> list[str]:
    """The objectives of a sweep and its rungs that need samples to be drawn and judged."""
    names = dict.fromkeys((*config.objectives, *(rung.objective for rung in config.rungs)))
    return [name for name in names if name in (*SAMPLE_OBJECTIVES, PREDICTED)]


def sweep_classifier(config: SweepConfig, run_dir: Path, progress: Progress) -> Classifier:
    """The classifier in `features/` of a run folder, trained before where it is not there yet.

    Raises:
        InputError: the data set has no labels, what lies in `features/` is damaged, or another process trains it.
    """
    return data_classifier(
        run_dir / "features", config.data, get_scale(config.proxy_scale), seed=config.seed,
        num_steps=config.features.num_steps, progress=progress,
    )  # fmt: skip


def data_classifier(folder: Path, data: str, scale: Scale, *, seed: int, num_steps: int, progress: Progress) -> Classifier:
    """The classifier of a data set that lies in a folder, trained before where it is not there yet.

    Args:
        folder: of this classifier.
        data: name of the data set, or a folder.
        scale: of its images.
        seed: of the training, and of the images that it sees.
        num_steps: of the training.
        progress: is told of every step.

    Raises:
        InputError: the data set has no labels, what lies in the folder is damaged, or another process trains it.
    """
    if not (folder / DESCRIPTION_FILE).is_file():
        images = labelled_images(data, scale, seed=seed)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder, what="classifier"):
            if not (folder / DESCRIPTION_FILE).is_file():  # another process may have trained it meanwhile
                _train(folder, images, seed=seed, num_steps=num_steps, progress=progress)
            lock_path(folder).unlink(missing_ok=True)
    return load_classifier(folder)


def sweep_distances(
    config: SweepConfig, extractor: FeatureExtractor, *, kept: Path | None = None, progress: Progress | None = None
) -> FeatureDistances:
    """Distances of samples to the sweep's training images; it needs no labels.

    Args:
        config: of the sweep.
        extractor: in whose features.
        kept: a file that has the features of these images, or gets them.
        progress: is told of every image.

    Raises:
        ValueError: the extractor takes images of another shape.
        InputError: `kept` is damaged.
    """
    dataset, rows = _chosen(config.data, get_scale(config.proxy_scale), config.seed)
    if kept is not None and kept.is_file():
        return FeatureDistances(extractor, read_npz(kept, wants="features".__eq__)["features"], dataset.info.is_latent)
    found, size = [], extractor.batch_size
    with (progress or silent_progress()).stage("Features of the training images", len(rows)) as stage:
        for start in range(0, len(rows), size):
            chosen = dataset.at(rows[start : start + size])
            found.append(features(extractor, np.stack([example["image"] for example in chosen])))
            stage.advance(len(chosen))
    reference = np.concatenate(found)
    if kept is not None:
        write_npz(kept, features=reference)
    return FeatureDistances(extractor, reference, dataset.info.is_latent)


def trained_distances(config: SweepConfig, run_dir: Path, progress: Progress) -> FeatureDistances:
    """The same in the features of the classifier of a run folder, which is trained where it is not there yet.

    Raises:
        InputError: the data set has no labels, what lies in `features/` is damaged, or another process trains it.
    """
    return sweep_distances(config, classifier_extractor(sweep_classifier(config, run_dir, progress)), progress=progress)


def run_distances(config: SweepConfig, run_dir: Path) -> FeatureDistances:
    """The same in the features of the classifier of a run folder, which is trained.

    Raises:
        InputError: what lies in `features/` is damaged.
    """
    return sweep_distances(config, classifier_extractor(load_classifier(run_dir / "features")))


def labelled_images(data: str, scale: Scale, *, seed: int) -> LabelledImages:
    """All training images of a data set, or a seeded random part of at most 20,000 images and 1 GiB, in stored order.

    Raises:
        InputError: the data set has no labels, or its train split has no image of a class.
    """
    dataset, rows = _chosen(data, scale, seed)
    info = dataset.info
    if info.num_classes is None:
        raise InputError(
            f"data set {data!r} has no labels, and samples are judged by a classifier; give one that has "
            "(`pocketunet quality measure --features inception` needs none)"
        )
    images, labels = np.empty((len(rows), *info.image_shape), np.float32), np.empty(len(rows), np.int32)
    for place, row in enumerate(rows):
        example = dataset[int(row)]
        images[place], labels[place] = example["image"], example["label"]
    if len(rows) == len(dataset):  # a random part may lack a rare class; then nothing is wrong with the data
        check_classes(labels, info)
    return LabelledImages(images, labels, info)


def _chosen(data: str, scale: Scale, seed: int) -> tuple[Dataset, np.ndarray]:
    """The training split, and which of its rows are seen."""
    dataset = open_examples(data, scale, split="train")
    most = min(MAX_IMAGES, MAX_BYTES // (4 * int(np.prod(dataset.info.image_shape))))
    rows = np.arange(len(dataset))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return dataset, rows


def check_classes(labels: Int[np.ndarray, " n"], info: DatasetInfo) -> None:
    """Raises InputError where the labels of a whole split leave a class out; the message names it."""
    assert info.num_classes is not None
    missing = sorted(set(range(info.num_classes)) - set(labels.tolist()))
    if missing:
        names = [repr(info.label_names[label]) if info.label_names else str(label) for label in missing]
        shown = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
        raise InputError(
            f"data set {info.name!r}: split {info.split!r} has no image of {len(missing)} of {info.num_classes} classes "
            f"({shown}), and samples are judged by a classifier of all; add images of them, divide the data otherwise, or "
            "take these classes out"
        )


def _train(folder: Path, data: LabelledImages, *, seed: int, num_steps: int, progress: Progress) -> None:
    num_used, num_there = len(data.images), data.info.num_examples
    assert data.info.num_classes is not None
    with progress.stage("Training the feature classifier", num_steps) as stage:
        reach = reaching(stage, 0)
        classifier, accuracy = train_classifier(
            data.images, data.labels, num_classes=data.info.num_classes, num_steps=num_steps, seed=seed,
            attribute_sizes=tuple(len(attribute.values) for attribute in data.info.attributes),
            progress=lambda step, loss: reach(step, f"loss {loss:.3f}"),
        )  # fmt: skip
    save_classifier(classifier, folder, validation_accuracy=accuracy)
    part = "" if num_used == num_there else f"; it saw {num_used:,} of {num_there:,} training images, drawn at random"
    progress.say(f"feature classifier: {accuracy:.1%} of held-out images right{part}")
