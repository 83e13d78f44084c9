"""A small image classifier whose penultimate layer is the space in which sample quality is measured.

It is trained on the data set at hand (see `experiments.feature_training`), so distances in its features are comparable
between networks judged with the same weights only; `weights_digest` names them.
"""

import hashlib
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

NUM_FEATURES = 48
MIN_SIZE = 8
_STEM_WIDTH = 16
_MAX_WIDTH = 64
_LAST_SIZE = 4


class Classifier(nnx.Module):
    """Strided 3x3 convolutions down to 4x4 or less, a linear layer to the features, and a linear layer to the logits.

    The features are taken before their activation: nearly Gaussian, as the Fréchet distance supposes.

    Attributes:
      image_shape: (height, width, channels) of the images it was built for.
      num_classes: Number of logits.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, num_classes: int, rngs: nnx.Rngs) -> None:
        """Builds the layers; weights come from `rngs`.

        Raises:
          ValueError: An image side is below 8, there is no channel, or there are fewer than two classes.
        """
        height, width, channels = image_shape
        if min(height, width) < MIN_SIZE or channels < 1:
            raise ValueError(
                f"images must have sides of at least {MIN_SIZE} and at least one channel, got {tuple(image_shape)}; "
                "resize them first"
            )
        if num_classes < 2:
            raise ValueError(f"`num_classes` must be at least 2, got {num_classes}; one class teaches no features")
        self.image_shape = (height, width, channels)
        self.num_classes = num_classes
        self.stem = nnx.Conv(channels, _STEM_WIDTH, (3, 3), rngs=rngs)
        widths = [_STEM_WIDTH]
        while max(height, width) > _LAST_SIZE:
            widths.append(min(2 * widths[-1], _MAX_WIDTH))
            height, width = math.ceil(height / 2), math.ceil(width / 2)
        self.downs = nnx.List(
            [nnx.Conv(before, after, (3, 3), strides=2, rngs=rngs) for before, after in itertools.pairwise(widths)]
        )
        self.to_features = nnx.Linear(height * width * widths[-1], NUM_FEATURES, rngs=rngs)
        self.to_logits = nnx.Linear(NUM_FEATURES, num_classes, rngs=rngs)

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch features"]:
        """The features of images in [-1, 1]."""
        x = nnx.gelu(self.stem(images))
        for down in self.downs:
            x = nnx.gelu(down(x))
        return self.to_features(x.reshape(len(x), -1))


def logits(classifier: Classifier, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch classes"]:
    """The unnormalised log-probabilities of the classes."""
    return classifier.to_logits(nnx.gelu(classifier(images)))


def classification_loss(
    classifier: Classifier, images: Float[Array, "batch height width channels"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Cross-entropy of each image, in nats."""
    log_probability = jax.nn.log_softmax(logits(classifier, images))
    return -jnp.take_along_axis(log_probability, labels[:, None], axis=1)[:, 0]


@nnx.jit
def _batch_features(classifier: Classifier, images: Array) -> Array:
    return classifier(images)


def features(
    classifier: Classifier, images: Float[np.ndarray | Array, "n height width channels"], *, batch_size: int = 256
) -> Float[np.ndarray, "n features"]:
    """The features of any number of images, computed in batches of one shape so that nothing is compiled twice.

    Args:
      classifier: Trained.
      images: In [-1, 1], with the shape the classifier was built for.
      batch_size: How many images one call takes; the last batch is filled up with zeros.

    Raises:
      ValueError: The images have another shape.
    """
    images = np.asarray(images, dtype=np.float32)
    if images.ndim != 4 or images.shape[1:] != classifier.image_shape:
        raise ValueError(
            f"images must have shape [n, {', '.join(map(str, classifier.image_shape))}], got {images.shape}; "
            "use the classifier trained for this data set"
        )
    found = np.empty((len(images), NUM_FEATURES), dtype=np.float32)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        filled = np.zeros((batch_size, *images.shape[1:]), dtype=np.float32)
        filled[: len(batch)] = batch
        found[start : start + len(batch)] = np.asarray(_batch_features(classifier, jnp.asarray(filled)))[: len(batch)]
    return found


def weights(classifier: Classifier) -> dict[str, Float[np.ndarray, "..."]]:
    """The parameters by dotted path, for instance `downs.0.kernel`."""
    flat = nnx.to_flat_state(nnx.state(classifier, nnx.Param))
    return {".".join(map(str, path)): np.asarray(variable.get_value()) for path, variable in flat}


def weights_digest(classifier: Classifier) -> str:
    """16 hexadecimal digits that name the weights and their shapes; part of every fingerprint made with them."""
    digest = hashlib.sha256()
    for name, value in sorted(weights(classifier).items()):
        digest.update(f"{name}:{value.dtype}:{value.shape};".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]


def with_weights(classifier: Classifier, values: dict[str, Float[np.ndarray, "..."]]) -> Classifier:
    """A classifier of the same shape with other weights; the given one stays as it is.

    Raises:
      ValueError: A weight is missing, unknown, or of another shape.
    """
    graph, state = nnx.split(classifier)
    known = {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}
    if set(values) != set(known):
        wrong = sorted(set(values) ^ set(known))
        raise ValueError(f"the weights must be {sorted(known)}; missing or unknown: {wrong}")
    for name, variable in known.items():
        if values[name].shape != variable.get_value().shape:
            raise ValueError(
                f"weight {name!r} must have shape {variable.get_value().shape}, got {values[name].shape}; "
                "load it with the image shape and classes it was saved with"
            )
    paths = [path for path, _ in nnx.to_flat_state(state)]
    fresh = [known[".".join(map(str, path))].replace(jnp.asarray(values[".".join(map(str, path))])) for path in paths]
    return nnx.merge(graph, nnx.from_flat_state(zip(paths, fresh, strict=True)))
