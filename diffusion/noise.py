"""Common random numbers: sample i has its own seed, whatever the batch it is drawn in or the device that draws it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key


def sample_keys(seed: int, indices: Int[Array, " n"]) -> Key[Array, " n"]:
    """One random key per sample index, a function of seed and index only."""
    key = jax.random.key(seed)
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.asarray(indices))


def sample_noise(
    seed: int, indices: Int[Array, " n"], shape: Sequence[int], *, dtype: DTypeLike = jnp.float32
) -> Float[Array, "n *shape"]:
    """Standard normal noise for the samples named by `indices`.

    Args:
      seed: Which set of noises; the same for all networks that are compared.
      indices: Which samples, in any order and any number.
      shape: The shape of one sample.
      dtype: Floating type of the noise.
    """
    keys = sample_keys(seed, indices)
    return jax.vmap(lambda key: jax.random.normal(key, tuple(shape), dtype))(keys)
