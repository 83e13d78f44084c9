"""Feature extractors: what turns images into the vectors that distances of sample quality are taken between.

A distance says whose features it is in: `frechet_classifier` is in those of the small classifier of `objectives.features`,
`fid` in those of InceptionV3 (`objectives.inception`) and in no others, `frechet_NAME` in those of any function of JAX.
"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

CLASSIFIER, INCEPTION = "classifier", "inception"
# (parameters, images [batch, height, width, channels] in [-1, 1]) to features [batch, features]; pure, traced by JAX.
Apply = Callable[[Any, Array], Array]


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """A frozen network that gives features of images in [-1, 1].

    Attributes:
      name: Whose features they are; lower-case letters, digits and underscores.
      digest: 16 hexadecimal digits that name its parameters.
      apply: Parameters and a batch of images to features.
      parameters: What `apply` takes, arrays in any pytree of JAX.
      preprocessing: What it does to images first, in a word; empty where it takes them as they are.
      image_shape: (height, width, channels) of the images it takes; None where `apply` judges itself.
      batch_size: How many images one call takes.
    """

    name: str
    digest: str
    apply: Apply
    parameters: Any
    preprocessing: str = ""
    image_shape: tuple[int, int, int] | None = None
    batch_size: int = 256

    def settings(self) -> dict[str, str]:
        """Its part of a fingerprint; the classifier's is the digest alone, so that older fingerprints stay."""
        if self.name == CLASSIFIER:
            return {"extractor": self.digest}
        return {"extractor": self.digest, "extractor_name": self.name, "preprocessing": self.preprocessing}


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureMaps:
    """A frozen network that gives maps behind several of its layers: what a discriminator sees of images.

    Attributes:
      apply: Parameters and images [batch, height, width, channels] in [-1, 1] to a list of maps [batch, height, width,
        channels] or [batch, channels]; pure, traced and differentiated by JAX. What it wants other than such images, a larger
        picture or three channels, it makes of them itself.
      parameters: What `apply` takes, arrays in any pytree of JAX.
    """

    apply: Callable[[Any, Array], Sequence[Array]]
    parameters: Any

    def __call__(self, images: Float[Array, "batch height width channels"]) -> list[Float[Array, "batch ..."]]:
        """The maps of images."""
        return list(self.apply(self.parameters, images))


@dataclasses.dataclass(frozen=True)
class MeasureNames:
    """What the distances in one extractor's features are called.

    Attributes:
      frechet: The Fréchet distance.
      kid: The kernel distance with a cubic kernel.
      mmd: The kernel distance with a Gaussian kernel.
    """

    frechet: str
    kid: str
    mmd: str

    @staticmethod
    def of(extractor: str) -> "MeasureNames":
        """Of the extractor of that name; "FID" and "KID" are InceptionV3's and no other's.

        >>> MeasureNames.of("inception").frechet, MeasureNames.of("dinov2").frechet
        ('fid', 'frechet_dinov2')
        """
        if extractor == INCEPTION:
            return MeasureNames("fid", "kid", f"mmd_{extractor}")
        return MeasureNames(f"frechet_{extractor}", f"kid_{extractor}", f"mmd_{extractor}")


def function_extractor(
    name: str,
    apply: Apply,
    parameters: Any,
    *,
    preprocessing: str = "",
    image_shape: tuple[int, int, int] | None = None,
    batch_size: int = 64,
) -> FeatureExtractor:
    """An extractor of any pure function of JAX, for instance `module.apply` of a Flax Linen module and its variables.

    >>> pixels = function_extractor("pixels", lambda scale, x: scale * x.reshape(len(x), -1), np.float32(2.0))
    >>> features(pixels, np.ones((3, 2, 2, 1)))[0].tolist()
    [2.0, 2.0, 2.0, 2.0]

    Args:
      name: Whose features they are; `classifier` and `inception` are taken.
      apply: (parameters, images [batch, height, width, channels] in [-1, 1]) to [batch, features]; whatever it wants other
        than that, a larger picture or other numbers, it makes of it itself.
      parameters: All that its features depend on beside the images; the digest is of them.
      preprocessing: What it does to images, in a word; part of the fingerprint.
      image_shape: (height, width, channels) of the images it takes; None for any.
      batch_size: How many images one call takes.

    Raises:
      ValueError: The name is taken or no name, or there are no parameters.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"`name` must be lower-case letters, digits and underscores, got {name!r}; for instance 'dinov2'")
    if name in (CLASSIFIER, INCEPTION):
        raise ValueError(f"`name` must not be {name!r}, which says whose weights those are; name the network, as in 'dinov2'")
    leaves = jax.tree_util.tree_leaves_with_path(parameters)
    if not leaves:
        raise ValueError(f"`parameters` of {name} hold no array; give those that its features depend on, the digest is of them")
    digest = array_digest({jax.tree_util.keystr(path): _plain(value) for path, value in leaves})
    return FeatureExtractor(name, digest, apply, parameters, preprocessing, image_shape, batch_size)


def module_extractor(name: str, module: nnx.Module, **settings: Any) -> FeatureExtractor:
    """An extractor of any Flax NNX module that is called with images; more as for `function_extractor`.

    Args:
      name: Whose features they are.
      module: As it is used, in evaluation mode (`module.eval()`).
      settings: Keyword arguments of `function_extractor`.
    """
    return function_extractor(name, *split_module(module), **settings)


def split_module(module: nnx.Module) -> tuple[Apply, Any]:
    """A module as a function and its parameters; modules of one structure share the function, and what is compiled of it."""
    graph, state = nnx.split(module)
    return _CallOfModule(graph), state


@dataclasses.dataclass(frozen=True)
class _CallOfModule:
    graph: nnx.GraphDef

    def __call__(self, state: Any, images: Array) -> Array:
        return nnx.merge(self.graph, state)(images)


def _plain(value: Any) -> np.ndarray:
    is_key = jnp.issubdtype(jnp.asarray(value).dtype, jax.dtypes.prng_key)  # of a dropout, for instance
    return np.asarray(jax.random.key_data(value) if is_key else value)


@functools.partial(jax.jit, static_argnums=0)
def _batch_features(apply: Apply, parameters: Any, images: Array) -> Array:
    return apply(parameters, images)


def features(
    extractor: FeatureExtractor, images: Float[np.ndarray | Array, "n height width channels"]
) -> Float[np.ndarray, "n features"]:
    """The features of any number of images, in batches of one shape: nothing is compiled twice, and image i has the same
    features to the last bit, whatever n.

    Args:
      extractor: Whose features.
      images: In [-1, 1]; the last batch is filled up with zeros.

    Raises:
      ValueError: There are no images, they have another shape than the extractor takes, or it gives no features.
    """
    images = np.asarray(images, dtype=np.float32)
    wanted, size = extractor.image_shape, extractor.batch_size
    if images.ndim != 4 or not len(images) or (wanted is not None and images.shape[1:] != wanted):
        shape = "height, width, channels" if wanted is None else ", ".join(map(str, wanted))
        remedy = "use the classifier trained for this data set" if extractor.name == CLASSIFIER else "resize them first"
        raise ValueError(
            f"images for features of {extractor.name} must have shape [n, {shape}] with n >= 1, got {images.shape}; {remedy}"
        )
    found = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        filled = np.zeros((size, *images.shape[1:]), dtype=np.float32)
        filled[: len(batch)] = batch
        values = np.asarray(_batch_features(extractor.apply, extractor.parameters, jnp.asarray(filled)))
        if values.ndim != 2 or len(values) != size:
            raise ValueError(
                f"features of {extractor.name} must have shape [batch, features], got {values.shape} for {size} images; "
                "average over positions, or take one"
            )
        found.append(values[: len(batch)].astype(np.float32))
    return np.concatenate(found)


def array_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """16 hexadecimal digits that name arrays: their names, types, shapes and bytes, in whatever order they are given."""
    digest = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        digest.update(f"{name}:{value.dtype}:{value.shape};".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]
