"""Both lowerings of a 3x3 convolution compute the same values and gradients, at every size at which one takes another path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from supernet.convolution import MATMUL, XLA


def _normal(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(shape[-1]).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 1), (3, 1), (4, 1), (2, 2), (4, 2)])
def test_full_convolutions_agree(size, stride):
    x, kernel = _normal(2, size, size, 3), _normal(3, 3, 3, 5)
    _assert_equal(lambda lowering: lambda x, kernel: lowering.conv3x3(x, kernel, stride), x, kernel)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_depthwise_convolutions_agree(size):
    _assert_equal(lambda lowering: lowering.depthwise3x3, _normal(2, size, size, 6), _normal(3, 3, 6))


def _assert_equal(convolution, *operands) -> None:
    results = []
    for lowering in (MATMUL, XLA):
        apply = convolution(lowering)

        def loss(x, kernel, apply=apply):
            return jnp.sin(apply(x, kernel)).sum()

        results.append((apply(*operands), *jax.grad(loss, (0, 1))(*operands)))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)
