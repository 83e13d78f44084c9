"""The InceptionV3 that FID and KID are defined by, up to the 2,048 features of its last average pooling.

It is the network of TensorFlow's graph of 2015, not torchvision's: averages leave padding out, the last block pools by the
maximum, and the classes are 1,008 (whose logits are not needed here). pytorch-fid and torch-fidelity have it too, and their
weights files hold the same numbers under the same names. What differs is how they bring an image to 299 x 299, and a Fréchet
distance with it: `PREPROCESSING` has both ways. Here as there an image is rounded to 8 bits first, as if it had been saved as
a picture and read again.

Source: Szegedy et al. 2016, "Rethinking the Inception Architecture", for the network; Heusel et al. 2017 for its use.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from objectives.extractor import INCEPTION, FeatureExtractor, array_digest, split_module
from objectives.inception_layers import NETWORK, Layers, Parallel, Pool, Unit

SIZE = 299
_EPSILON = 1e-3
_BATCH_SIZE = 32

Images = Float[Array, "batch height width channels"]
Pictures = Float[Array, "batch 299 299 3"]


class ConvUnit(nnx.Module):
    """A `Unit` with its weights, normalising by the statistics that are stored with them."""

    def __init__(self, unit: Unit, weights: Mapping[str, Float[np.ndarray, "..."]]) -> None:
        """Takes its own of the network's arrays."""
        self.kernel, self.scale, self.offset, self.mean, self.variance = (
            nnx.Param(jnp.asarray(weights[f"{unit.name}.{part}"])) for part in unit.shapes()
        )
        self.strides, self.padding = (unit.stride, unit.stride), unit.padding

    def __call__(self, x: Images) -> Float[Array, "batch height2 width2 channels2"]:
        """The activations."""
        x = jax.lax.conv_general_dilated(
            x, self.kernel[...], self.strides, self.padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,  # accelerators would round to fewer bits
        )  # fmt: skip
        factor = self.scale[...] * jax.lax.rsqrt(self.variance[...] + _EPSILON)
        return nnx.relu((x - self.mean[...][None, None, None]) * factor[None, None, None] + self.offset[...][None, None, None])


class SideBySide(nnx.Module):
    """Branches whose channels are put side by side."""

    def __init__(self, branches: list[nnx.Sequential]) -> None:
        """Takes the branches."""
        self.branches = nnx.List(branches)

    def __call__(self, x: Images) -> Float[Array, "batch height2 width2 channels2"]:
        """The channels of all branches."""
        return jnp.concatenate([branch(x) for branch in self.branches], axis=-1)


class Inception(nnx.Module):
    """The network from an image as it was saved to its 2,048 features."""

    def __init__(self, weights: Mapping[str, Float[np.ndarray, "..."]], preprocess: Callable[[Images], Pictures]) -> None:
        """Builds the network around weights that `Layout.weights` gave."""
        self.network = _sequence(NETWORK, weights)
        self.preprocess = preprocess

    def __call__(self, images: Images) -> Float[Array, "batch 2048"]:
        """Features of images in [-1, 1] of any size, grey or in colour."""
        return self.network(self.preprocess(images)).mean(axis=(1, 2))


def _sequence(layers: Layers, weights: Mapping[str, np.ndarray]) -> nnx.Sequential:
    return nnx.Sequential(*(_layer(layer, weights) for layer in layers))


def _layer(layer: Unit | Parallel | Pool, weights: Mapping[str, np.ndarray]) -> Callable[[Array], Array]:
    if isinstance(layer, Unit):
        return ConvUnit(layer, weights)
    if isinstance(layer, Parallel):
        return SideBySide([_sequence(branch, weights) for branch in layer.branches])
    return layer


def inception_extractor(
    weights: Mapping[str, Float[np.ndarray, "..."]], *, preprocessing: str, batch_size: int = _BATCH_SIZE
) -> FeatureExtractor:
    """The extractor in whose features a Fréchet distance is called FID.

    Args:
      weights: The arrays by `UNIT.PART`, from `Layout.weights`; the digest is of them, whatever file they came in.
      preprocessing: A key of `PREPROCESSING`: whose numbers the distances are to be compared with.
      batch_size: How many images one call takes.

    Raises:
      ValueError: No preprocessing has that name.
    """
    if preprocessing not in PREPROCESSING:
        raise ValueError(f"`preprocessing` must be one of {', '.join(PREPROCESSING)}, got {preprocessing!r}")
    apply, parameters = split_module(Inception(weights, PREPROCESSING[preprocessing]))
    return FeatureExtractor(INCEPTION, array_digest(weights), apply, parameters, preprocessing, batch_size=batch_size)


def as_pytorch_fid(images: Images) -> Pictures:
    """What pytorch-fid's network is given: pixel centres in the middle of pixels, no antialiasing, then 2 x - 1."""
    return 2 * _resized(_bytes(images) / 255, offset=0.5) - 1


def as_tensorflow(images: Images) -> Pictures:
    """What the graph of 2015 and torch-fidelity compute: pixel centres at pixels' corners, then (x - 128) / 128."""
    return (_resized(_bytes(images), offset=0.0) - 128) / 128


PREPROCESSING: Mapping[str, Callable[[Images], Pictures]] = MappingProxyType(
    {"pytorch-fid": as_pytorch_fid, "tensorflow": as_tensorflow}
)


def _bytes(images: Images) -> Float[Array, "batch height width 3"]:
    """Whole numbers in 0 .. 255, rounded as pictures are when they are saved; grey becomes three equal channels."""
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"InceptionV3 takes images of 1 or 3 channels, got {images.shape[-1]}; of latents, decode images first"
        )
    levels = jnp.round((jnp.clip(images, -1, 1) + 1) * 127.5)
    return jnp.broadcast_to(levels, (*levels.shape[:-1], 3))


def _resized(images: Float[Array, "batch height width 3"], *, offset: float) -> Pictures:
    """Bilinear, to 299 x 299; `offset` is where a pixel's centre is, from its beginning."""
    _, height, width, _ = images.shape
    columns = _between(*_places(width, offset), lambda places: images[:, :, places], shape=(1, 1, SIZE, 1))
    return _between(*_places(height, offset), lambda places: columns[:, places], shape=(1, SIZE, 1, 1))


def _places(size: int, offset: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of 299 places: the pixel before it, the pixel after it, and how far it is from the first to the second."""
    scale = np.float32(size) / np.float32(SIZE)
    places = np.maximum((np.arange(SIZE, dtype=np.float32) + np.float32(offset)) * scale - np.float32(offset), np.float32(0))
    before = np.minimum(places.astype(np.int32), size - 1)
    return before, np.minimum(before + 1, size - 1), places - before.astype(np.float32)


def _between(
    before: np.ndarray, after: np.ndarray, share: np.ndarray, take: Callable[[np.ndarray], Array], *, shape: tuple[int, ...]
) -> Array:
    first = take(before)
    return first + (take(after) - first) * share.reshape(shape)
