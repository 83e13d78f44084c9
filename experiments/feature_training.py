"""Trains the small classifier whose features measure sample quality, and keeps it as safetensors and JSON.

A directory of a classifier holds `classifier.safetensors` (the weights) and `classifier.json` (image shape, classes,
validation accuracy, digest of the weights).
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from experiments.errors import InputError
from experiments.whole_files import write_whole
from objectives.agreement import attribute_values, attributes_loss, read_attributes
from objectives.features import Classifier, logits, weights, weights_digest, with_weights

SCHEMA = 1
BATCH_SIZE = 128
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 1e-2
VALIDATION_SHARE = 0.2
DESCRIPTION_FILE = "classifier.json"
_WEIGHTS_FILE = "classifier.safetensors"

Progress = Callable[[int, float], None]


def train_classifier(
    images: Float[np.ndarray | Array, "n height width channels"],
    labels: Int[np.ndarray | Array, " num_labels"],
    *,
    num_classes: int,
    num_steps: int,
    seed: int,
    attribute_sizes: tuple[int, ...] = (),
    progress: Progress | None = None,
) -> tuple[Classifier, float]:
    """Trains on four fifths of the images and tests on the rest.

    Labels that say several things are learned as such: a logit for each value of each attribute, side by side.

    Args:
      images: In [-1, 1].
      labels: In 0 .. num_classes - 1.
      num_classes: Number of classes.
      num_steps: Updates with a batch of 128 (or all images where there are fewer).
      seed: Decides the split, the initial weights and the batches.
      attribute_sizes: How many values each attribute has, where a label is the row-major number of their values.
      progress: Called as `progress(step, loss)` after every twentieth update and after the last.

    Returns:
      The classifier, and the share of the held-out images that it labels right in everything.

    Raises:
      InputError: Fewer than 10 images, as many labels as images are not given, or a label is out of range.
    """
    images, labels = np.asarray(images, np.float32), np.asarray(labels, np.int32)
    _check_data(images, labels, num_classes, num_steps)
    sizes = attribute_sizes or (num_classes,)
    values = attribute_values(labels, sizes).astype(np.int32)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(images))
    held_out, rest = np.split(order, [max(1, round(VALIDATION_SHARE * len(images)))])
    classifier = Classifier(images.shape[1:], num_classes=sum(sizes), rngs=nnx.Rngs(seed))
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, num_steps)
    optimizer = nnx.Optimizer(classifier, optax.adamw(schedule, weight_decay=WEIGHT_DECAY), wrt=nnx.Param)
    for step in range(1, num_steps + 1):
        batch = generator.choice(rest, min(BATCH_SIZE, len(rest)), replace=False)
        shifted = _shifted(images[batch], generator)
        loss = _update(classifier, optimizer, jnp.asarray(shifted), jnp.asarray(values[batch]), sizes=sizes)
        if progress is not None and (step % 20 == 0 or step == num_steps):
            progress(step, float(loss))
    is_right = (read_attributes(classifier, images[held_out], sizes) == values[held_out]).all(axis=1)
    return classifier, float(is_right.mean())


def save_classifier(classifier: Classifier, directory: str | Path, *, validation_accuracy: float) -> None:
    """Writes the weights and their description; the description last, so that a directory that has it is complete."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(directory / _WEIGHTS_FILE, save(weights(classifier)))
    description = {
        "schema": SCHEMA,
        "image_shape": list(classifier.image_shape),
        "num_classes": classifier.num_classes,
        "validation_accuracy": validation_accuracy,
        "digest": weights_digest(classifier),
    }
    write_whole(directory / DESCRIPTION_FILE, json.dumps(description, indent=2) + "\n")


def load_classifier(directory: str | Path) -> Classifier:
    """Reads what `save_classifier` wrote, and holds the weights to their digest.

    Raises:
      InputError: A file is missing or damaged, a key is missing, or the weights are not those described.
    """
    description = _read_description(Path(directory) / DESCRIPTION_FILE)
    path = Path(directory) / _WEIGHTS_FILE
    try:
        values = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}); train the classifier again") from error
    height, width, channels = description["image_shape"]
    empty = Classifier((height, width, channels), num_classes=description["num_classes"], rngs=nnx.Rngs(0))
    try:
        classifier = with_weights(empty, values)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    if weights_digest(classifier) != description["digest"]:
        raise InputError(
            f"{path}: the weights have digest {weights_digest(classifier)}, {DESCRIPTION_FILE} says "
            f"{description['digest']}; the two files do not belong together, train the classifier again"
        )
    return classifier


def _shifted(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Moves each image by up to a twelfth of its side, at least a pixel, repeating the edge."""
    height, width = images.shape[1:3]
    reach = max(1, min(height, width) // 12)
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    rows = generator.integers(0, 2 * reach + 1, len(images))[:, None] + np.arange(height)
    columns = generator.integers(0, 2 * reach + 1, len(images))[:, None] + np.arange(width)
    return padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


@functools.partial(nnx.jit, static_argnames="sizes")
def _update(classifier: Classifier, optimizer: nnx.Optimizer, images: Array, values: Array, *, sizes: tuple[int, ...]) -> Array:
    def loss_of(model: Classifier) -> Array:
        return jnp.mean(attributes_loss(logits(model, images), values, sizes))

    loss, gradients = nnx.value_and_grad(loss_of)(classifier)
    optimizer.update(classifier, gradients)
    return loss


def _check_data(images: np.ndarray, labels: np.ndarray, num_classes: int, num_steps: int) -> None:
    if images.ndim != 4 or len(images) < 10:
        raise InputError(f"images must have shape [n, height, width, channels] with n >= 10, got {images.shape}")
    if labels.shape != images.shape[:1]:
        raise InputError(f"every image needs one label, got {labels.shape} labels for {len(images)} images")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise InputError(
            f"labels must be in 0 .. {num_classes - 1} (num_classes={num_classes}), got {labels.min()} .. "
            f"{labels.max()}; count the classes again"
        )
    if num_steps < 1:
        raise InputError(f"`num_steps` must be at least 1, got {num_steps}; 400 is enough for 8x8 digits")


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); train the classifier again") from error
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        raise InputError(f"{path}: key 'schema' must be {SCHEMA}; train the classifier again with this version")
    for key in ("image_shape", "num_classes", "digest"):
        if key not in description:
            raise InputError(f"{path}: key {key!r} is missing; train the classifier again")
    shape = description["image_shape"]
    if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(side, int) for side in shape)):
        raise InputError(f"{path}: key 'image_shape' must be [height, width, channels], got {shape!r}")
    if not isinstance(description["num_classes"], int):
        raise InputError(f"{path}: key 'num_classes' must be a whole number, got {description['num_classes']!r}")
    return description
