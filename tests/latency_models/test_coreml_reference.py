"""What operations of Core ML mean, where it is written here: held to JAX's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latency_models.coreml_reference import _attend, _convolve


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("stride", "padding"), [((1, 1), (1, 1, 1, 1)), ((2, 2), (1, 0, 2, 1)), ((1, 2), (0, 0, 0, 0))])
def test_a_convolution_is_that_of_jax(groups, stride, padding):
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal((2, 4, 7, 8)), rng.standard_normal((8, 4 // groups, 3, 3)), rng.standard_normal(8)
    top, bottom, left, right = padding
    expected = np.asarray(
        jax.lax.conv_general_dilated(
            jnp.asarray(x), jnp.asarray(weight), stride, ((top, bottom), (left, right)), feature_group_count=groups
        )
    )
    more = {"pad_type": "custom", "pad": padding, "strides": stride, "dilations": [1, 1], "groups": groups}
    np.testing.assert_allclose(_convolve(x, weight, bias=bias, **more), expected + bias[:, None, None], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(_convolve(x, weight, **more), expected, rtol=2e-5, atol=2e-5)


def test_an_attention_is_that_of_jax_whatever_the_kind_of_mask():
    rng = np.random.default_rng(0)
    query, key, value = (rng.standard_normal((2, 3, n, 4)).astype(np.float32) for n in (5, 6, 6))
    is_seen = rng.random((2, 1, 1, 6)) < 0.7
    is_seen[..., 0] = True

    def expected(mask):
        channels_last = [jnp.asarray(x).swapaxes(1, 2) for x in (query, key, value)]
        return jax.nn.dot_product_attention(*channels_last, mask=mask).swapaxes(1, 2)

    np.testing.assert_allclose(_attend(query, key, value), expected(None), rtol=1e-5, atol=1e-6)
    for mask in (is_seen, np.where(is_seen, 0, -np.inf).astype(np.float32)):
        np.testing.assert_allclose(_attend(query, key, value, mask), expected(jnp.asarray(is_seen)), rtol=1e-5, atol=1e-6)
