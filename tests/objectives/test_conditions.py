"""Condition images: what they say of an image, that gradients flow, and how far two agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives.conditions import CONDITIONS, blurred, correlation, edges


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_has_the_images_resolution_and_a_finite_gradient_where_they_are_flat(name):
    images = jnp.zeros((2, 8, 6, 3))
    assert CONDITIONS[name](images).shape[:3] == (2, 8, 6)
    gradient = jax.grad(lambda x: jnp.sum(CONDITIONS[name](x) ** 2))(images)
    assert np.isfinite(gradient).all()


def test_edges_are_where_the_image_changes_and_turn_with_it():
    image = jnp.where(jnp.arange(8) < 4, -1.0, 1.0)[None, None, :, None] * jnp.ones((1, 8, 8, 1))
    found = edges(image)
    np.testing.assert_allclose(found[0, :, :, 0], np.tile([0, 0, 0, 1, 1, 0, 0, 0], (8, 1)), atol=2e-3)
    np.testing.assert_allclose(edges(image.swapaxes(1, 2)), found.swapaxes(1, 2), atol=1e-6)
    np.testing.assert_allclose(edges(-image), found, atol=1e-6)


def test_blurring_keeps_the_mean_of_what_is_far_from_the_edge_and_takes_details_away():
    np.testing.assert_allclose(blurred(jnp.full((1, 5, 5, 2), 0.3)), 0.3, atol=1e-6)
    point = jnp.zeros((1, 17, 17, 1)).at[0, 8, 8, 0].set(1.0)
    assert float(blurred(point).sum()) == pytest.approx(1.0, abs=1e-6)
    checkers = jnp.asarray(np.indices((16, 16)).sum(axis=0) % 2 * 2.0 - 1.0)[None, :, :, None]
    assert np.abs(blurred(checkers)[0, 4:-4, 4:-4]).max() < 1e-6


def test_correlation_is_that_of_pearson_and_0_of_what_is_flat():
    rng = np.random.default_rng(0)
    found, wanted = rng.standard_normal((2, 5, 4, 4, 1))
    wanted_by_numpy = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(found, wanted, strict=True)]
    np.testing.assert_allclose(correlation(found, wanted), wanted_by_numpy, rtol=1e-10)
    np.testing.assert_array_equal(correlation(np.ones((1, 2, 2, 1)), wanted[:1, :2, :2]), [0.0])
