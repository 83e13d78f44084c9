"""Noise: a sample's noise depends on its index and the seed alone, and is standard normal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffusion import sample_keys, sample_noise

SHAPE = (4, 4, 3)


def test_a_sample_does_not_depend_on_its_batch():
    whole = sample_noise(7, jnp.arange(32), SHAPE)
    for indices in ([31, 0, 5], list(range(16, 32))):
        np.testing.assert_array_equal(sample_noise(7, jnp.array(indices), SHAPE), whole[jnp.array(indices)])


def test_jit_changes_nothing():
    jitted = jax.jit(lambda indices: sample_noise(7, indices, SHAPE))(jnp.arange(8))
    np.testing.assert_array_equal(jitted, sample_noise(7, jnp.arange(8), SHAPE))


def test_indices_and_seeds_differ():
    first, second = sample_noise(0, jnp.arange(2), SHAPE), sample_noise(1, jnp.arange(2), SHAPE)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, second)
    assert len(np.unique(jax.random.key_data(sample_keys(0, jnp.arange(1000))), axis=0)) == 1000


def test_is_standard_normal():
    """False-failure rate 1e-4 over seeds; the seed is fixed."""
    noise = np.asarray(sample_noise(3, jnp.arange(200), SHAPE)).ravel()
    assert stats.kstest(noise, "norm").pvalue > 1e-4


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_keeps_the_dtype_asked_for(dtype):
    assert sample_noise(0, jnp.arange(2), (3,), dtype=dtype).dtype == dtype
