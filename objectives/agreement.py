"""Whether images show what their prompts say, attribute by attribute, as a classifier of the attributes reads them.

It plays the part that the CLIP score plays for photographs (Hessel et al. 2021), where a prompt's meaning is known exactly:
the classifier has the logits of all attributes side by side, and what it reads is right or wrong. Its own errors bound the
score from above; agreement on real images says how far.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from objectives.features import Classifier, cross_entropy, logits
from objectives.jackknife import Jackknifed, jackknife

UNREADABLE = -1
_BATCH_SIZE = 1024
_NUM_BLOCKS = 20


def attribute_values(labels: Int[np.ndarray, " n"], sizes: Sequence[int]) -> Int[np.ndarray, "n attributes"]:
    """What labels say of each attribute: a label is the number of the values in row-major order.

    >>> attribute_values(np.array([0, 5]), (2, 3)).tolist()
    [[0, 0], [1, 2]]
    """
    return np.stack(np.unravel_index(labels, tuple(sizes)), axis=1)


def attributes_loss(
    scores: Float[Array, "batch logits"], values: Int[Array, "batch attributes"], sizes: Sequence[int]
) -> Float[Array, " batch"]:
    """The sum over the attributes of the cross-entropy of each image, in nats."""
    losses = [cross_entropy(part, values[:, i]) for i, part in enumerate(_parts(scores, sizes))]
    return sum(losses[1:], losses[0])


def read_attributes(
    classifier: Classifier, images: Float[np.ndarray, "n height width channels"], sizes: Sequence[int]
) -> Int[np.ndarray, "n attributes"]:
    """The likeliest value of each attribute of each image; `UNREADABLE` where a pixel is not finite.

    Args:
      classifier: With as many logits as there are values of all attributes.
      images: Meant for [-1, 1]; what lies beyond is clipped.
      sizes: How many values each attribute has.
    """
    found = np.full((len(images), len(sizes)), UNREADABLE)
    readable = np.flatnonzero(np.isfinite(images).all(axis=(1, 2, 3)))
    for start in range(0, len(readable), _BATCH_SIZE):
        rows = readable[start : start + _BATCH_SIZE]
        scores = logits(classifier, jnp.asarray(np.clip(images[rows], -1, 1)))
        found[rows] = np.stack([np.asarray(part).argmax(axis=1) for part in _parts(scores, sizes)], axis=1)
    return found


def agreement(
    found: Int[np.ndarray, "n attributes"], wanted: Int[np.ndarray, "n attributes"], names: Sequence[str]
) -> dict[str, Jackknifed]:
    """The share of images that are read as wanted: in all attributes (`agreement`), and in each (`agreement_NAME`).

    Where every image agrees, or none, the interval has no width; it is then too short by about 3 / n.

    Raises:
      ValueError: There are fewer images than blocks of the jackknife (20).
    """
    if len(found) < _NUM_BLOCKS:
        raise ValueError(f"an interval needs at least {_NUM_BLOCKS} images, got {len(found)}; draw more")
    is_right = found == wanted
    columns = {"agreement": is_right.all(axis=1)}
    columns |= {f"agreement_{name}": is_right[:, i] for i, name in enumerate(names)}
    return {name: _mean(np.asarray(column, np.float64)) for name, column in columns.items()}


def _mean(values: Float[np.ndarray, " n"]) -> Jackknifed:
    return jackknife(lambda keep: float(keep(values).mean()), n=len(values), num_blocks=_NUM_BLOCKS)


def _parts(scores: Float[Array, "n logits"], sizes: Sequence[int]) -> list[Array]:
    return jnp.split(scores, np.cumsum(sizes)[:-1].tolist(), axis=1)
