"""Condition images: what a drawn image should agree with another one in. Pure functions, which gradients flow through."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Condition = Callable[[Float[Array, "batch height width channels"]], Float[Array, "batch height width _"]]
_SMALLEST = 1e-6  # keeps the gradient of a root finite where an image is flat


def edges(images: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width 1"]:
    """How steep the mean of the channels is at each pixel, by Sobel's operator: 0 where flat, 1 at a step of black to white.

    >>> step = jnp.repeat(jnp.array([[-1.0, -1.0, 1.0, 1.0]]), 3, axis=0)[None, :, :, None]
    >>> edges(step)[0, 1, :, 0].round(3).tolist()
    [0.0010000000474974513, 1.0, 1.0, 0.0010000000474974513]

    Args:
      images: Meant for [-1, 1].

    Source: Sobel and Feldman 1968, divided by 8 to be the gradient of images of range 2 at a step.
    """
    grey = jnp.mean(images, axis=-1, keepdims=True)
    rise = [_filtered(_filtered(grey, first, 1), second, 2) for first, second in ((_SMOOTH, _SLOPE), (_SLOPE, _SMOOTH))]
    return jnp.sqrt(rise[0] ** 2 + rise[1] ** 2 + _SMALLEST)


def blurred(images: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width channels"]:
    """The image without its details: twice smoothed by (1, 4, 6, 4, 1) / 16 along rows and columns."""
    for _ in range(2):
        images = _filtered(_filtered(images, _BINOMIAL, 1), _BINOMIAL, 2)
    return images


CONDITIONS: dict[str, Condition] = {"edges": edges, "blurred": blurred}


def correlation(found: Float[np.ndarray, "n *shape"], wanted: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, " n"]:
    """Pearson's correlation of each condition image with the one that was asked for; 0 where one of them is flat.

    >>> correlation(np.array([[1.0, 2.0, 3.0]]), np.array([[2.0, 4.0, 6.0]])).round(6).tolist()
    [1.0]
    """
    ours, theirs = (x.reshape(len(x), -1) - x.reshape(len(x), -1).mean(axis=1, keepdims=True) for x in (found, wanted))
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return np.divide((ours * theirs).sum(axis=1), norms, out=np.zeros(len(ours)), where=norms > 0)


_SMOOTH, _SLOPE = (np.array(taps, np.float32) for taps in ([0.25, 0.5, 0.25], [-0.5, 0.0, 0.5]))
_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16


def _filtered(x: Array, taps: np.ndarray, axis: int) -> Array:
    """Along one axis, with the edge pixels repeated."""
    half = len(taps) // 2
    padded = jnp.pad(x, [(half, half) if i == axis else (0, 0) for i in range(x.ndim)], mode="edge")
    length = x.shape[axis]
    parts = [float(tap) * jnp.take(padded, jnp.arange(i, i + length), axis=axis) for i, tap in enumerate(taps)]
    return sum(parts[1:], parts[0])
