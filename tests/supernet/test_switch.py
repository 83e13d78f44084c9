"""The switch with the cheap backward pass has the value and the gradient of `lax.switch`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from supernet.switch import switch

BRANCHES = (lambda w, x: x, lambda w, x: jnp.sin(x @ w), lambda w, x: (x @ w) ** 2 + x)


@pytest.mark.parametrize("index", range(3))
def test_value_and_gradient_equal_those_of_lax_switch(index):
    w, x = (jnp.asarray(np.random.default_rng(i).standard_normal((4, 4)), jnp.float32) for i in range(2))
    results = []
    for choose in (switch, lax.switch):

        def loss(i, w, x, choose=choose):
            return jnp.sum(jnp.cos(choose(i, BRANCHES, w, x)))

        results.append(jax.jit(jax.value_and_grad(loss, (1, 2)))(jnp.int32(index), w, x))
    for found, expected in zip(jax.tree.leaves(results[0]), jax.tree.leaves(results[1]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("inner", range(2))
def test_a_switch_inside_a_branch_takes_its_index_as_a_choice(inner):
    def nested(choices, x):
        return switch(choices["inner"], (jnp.sin, jnp.cos), x) * 2

    x = jnp.linspace(0, 1, 5)

    def loss(x):
        return switch(jnp.int32(1), (lambda choices, x: x, nested), x, choices={"inner": jnp.int32(inner)}).sum()

    expected = (jnp.cos(x), -jnp.sin(x))[inner] * 2
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(x), expected, rtol=1e-6)


def test_a_switch_of_one_branch_is_that_branch():
    np.testing.assert_allclose(jax.grad(lambda x: switch(jnp.int32(0), (jnp.sin,), x))(0.5), np.cos(0.5), rtol=1e-6)
