"""Small networks to measure."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latency_models.timing import Timing

Network = tuple[Callable, tuple[np.ndarray, ...]]


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _group_norm(x: jax.Array) -> jax.Array:
    batch, height, width, channels = x.shape
    y = x.reshape(batch, height * width, 4, channels // 4)
    centred = y - y.mean((1, 3), keepdims=True)
    return (centred * jax.lax.rsqrt((centred**2).mean((1, 3), keepdims=True) + 1e-5)).reshape(x.shape)


def _attention(x: jax.Array, weights: jax.Array, heads: int = 2) -> jax.Array:
    batch, height, width, channels = x.shape
    tokens = x.reshape(batch, height * width, channels)
    q, k, v = ((tokens @ w).reshape(batch, height * width, heads, -1) for w in weights)
    scores = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) * (channels // heads) ** -0.5, axis=-1)
    return x + jnp.einsum("bhqk,bkhd->bqhd", scores, v).reshape(x.shape)


def tiny_network(width: int, resolution: int = 8) -> Network:
    """Convolution, group norm, SiLU, attention, a time shift, convolution; `context` is not used."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape, np.float32) / np.prod(shape[:-1]) ** 0.5)

    first, last, attention, time = draw(3, 3, 4, width), draw(3, 3, width, 4), draw(3, width, width), draw(1, width)

    def network(x: jax.Array, timestep: jax.Array, context: jax.Array) -> jax.Array:
        del context
        shift = jnp.sin(timestep.reshape(-1, 1)) @ time
        hidden = jax.nn.silu(_group_norm(_convolve(x, first))) + shift.reshape(-1, 1, 1, width)
        return _convolve(_attention(hidden, attention), last)

    x = rng.standard_normal((1, resolution, resolution, 4)).astype(np.float32)
    return network, (x, np.array([0.3], np.float32), np.zeros((1, 2, 3), np.float32))


def exact_timing(ms: float) -> Timing:
    """A measurement without noise."""
    return Timing(float(ms), float(ms), float(ms), 10, "thread_cpu", "p25", 0.0)


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Network]:
    """Makes a small network of a given width."""
    return tiny_network


@pytest.fixture(scope="session")
def make_timing() -> Callable[[float], Timing]:
    """Makes a measurement without noise of so many milliseconds."""
    return exact_timing
