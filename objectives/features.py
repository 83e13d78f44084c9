"""A small image classifier whose penultimate layer is the space in which sample quality is measured.

It is trained on the data set at hand (see `experiments.feature_training`), so distances in its features are comparable
between networks judged with the same weights only; `weights_digest` names them.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from objectives.extractor import CLASSIFIER, FeatureExtractor, FeatureMaps, array_digest, split_module

NUM_FEATURES = 48
MIN_SIZE = 8
BATCH_SIZE = 256  # images whose features are computed at a time
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
        return self.maps(images)[-1]

    def maps(self, images: Float[Array, "batch height width channels"]) -> list[Float[Array, "batch ..."]]:
        """What is behind each layer: behind every convolution [batch, height, width, channels], then the features."""
        maps = [nnx.gelu(self.stem(images))]
        for down in self.downs:
            maps.append(nnx.gelu(down(maps[-1])))
        return [*maps, self.to_features(maps[-1].reshape(len(images), -1))]


def logits(classifier: Classifier, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch classes"]:
    """The unnormalised log-probabilities of the classes."""
    return classifier.to_logits(nnx.gelu(classifier(images)))


def cross_entropy(scores: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Float[Array, " batch"]:
    """Of each image, in nats, from unnormalised log-probabilities."""
    log_probability = jax.nn.log_softmax(scores)
    return -jnp.take_along_axis(log_probability, labels[:, None], axis=1)[:, 0]


def classifier_extractor(classifier: Classifier) -> FeatureExtractor:
    """The extractor of a trained classifier's features."""
    apply, parameters = split_module(classifier)
    return FeatureExtractor(
        CLASSIFIER, weights_digest(classifier), apply, parameters, image_shape=classifier.image_shape, batch_size=BATCH_SIZE
    )


def classifier_maps(classifier: Classifier) -> FeatureMaps:
    """The maps of a trained classifier."""
    graph, state = nnx.split(classifier)
    return FeatureMaps(lambda parameters, images: nnx.merge(graph, parameters).maps(images), state)


def weights(classifier: Classifier) -> dict[str, Float[np.ndarray, "..."]]:
    """The parameters by dotted path, for instance `downs.0.kernel`."""
    flat = nnx.to_flat_state(nnx.state(classifier, nnx.Param))
    return {".".join(map(str, path)): np.asarray(variable.get_value()) for path, variable in flat}


def weights_digest(classifier: Classifier) -> str:
    """16 hexadecimal digits that name the weights and their shapes; part of every fingerprint made with them."""
    return array_digest(weights(classifier))


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
