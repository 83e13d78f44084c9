"""How fresh parameters are made: drawn from a seeded generator, or only described (shape and dtype, no memory).

Parameters are drawn with NumPy: a compiled draw per shape would take longer than building the network.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np


@runtime_checkable
class Initializer(Protocol):
    """Makes one parameter of the given shape, normally distributed with the given mean and standard deviation."""

    def __call__(self, shape: tuple[int, ...], *, std: float, mean: float = 0.0) -> Any:
        """Makes the parameter: an array, or a description of one."""
        ...


def random_initializer(seed: int) -> Initializer:
    """Draws parameters in the order in which they are asked for."""
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...], *, std: float, mean: float = 0.0) -> jax.Array:
        if not std:
            return jnp.asarray(np.full(shape, mean, np.float32))
        return jnp.asarray(mean + std * rng.standard_normal(shape, np.float32))

    return draw


def abstract_initializer(shape: tuple[int, ...], *, std: float, mean: float = 0.0) -> jax.ShapeDtypeStruct:
    """Describes a parameter without making it."""
    del std, mean
    return jax.ShapeDtypeStruct(shape, jnp.float32)
