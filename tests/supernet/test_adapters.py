"""Low-rank updates: they begin as nothing, are read off two networks, and of a convolution are a thin one and a mixing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from search_space import get_scale, get_space, layer_plan
from supernet import XLA, UNet, unet_parameters
from supernet.adapters import fresh_updates, updates_between, with_updates
from supernet.initializer import random_initializer

PLAN = layer_plan(get_space("digits").largest(), get_scale("digits-proxy"))
BEFORE = unet_parameters(UNet(PLAN, init=random_initializer(0)))
RANK = 3


def drawn_updates(rank=RANK):
    rng = np.random.default_rng(1)
    fresh = fresh_updates(BEFORE, rank=rank, init=random_initializer(1))
    return {path: jnp.asarray(0.1 * rng.standard_normal(x.shape), jnp.float32) for path, x in fresh.items()}


def test_fresh_updates_change_nothing_to_the_bit():
    after = with_updates(BEFORE, fresh_updates(BEFORE, rank=RANK, init=random_initializer(0)))
    assert after.keys() == BEFORE.keys()
    for path, x in BEFORE.items():
        np.testing.assert_array_equal(after[path], x)


def test_every_kernel_has_an_update_of_its_shape_and_nothing_else_has():
    updates = fresh_updates(BEFORE, rank=RANK, init=random_initializer(0))
    kernels = {path: x for path, x in BEFORE.items() if path.endswith("/kernel")}
    assert len(updates) == 2 * len(kernels)
    for path, kernel in kernels.items():
        rank = min(RANK, kernel.size // kernel.shape[-1], kernel.shape[-1])
        assert updates[f"{path}/down"].shape == (kernel.size // kernel.shape[-1], rank)
        assert updates[f"{path}/up"].shape == (rank, kernel.shape[-1])
    assert sum(x.size for x in updates.values()) < 0.25 * sum(x.size for x in BEFORE.values())


@pytest.mark.parametrize("rank", [RANK, 2 * RANK])
def test_updates_are_read_off_two_networks(rank):
    """Of two trainings one after the other, too, whose ranks add up."""
    after = with_updates(BEFORE, drawn_updates())
    if rank > RANK:
        after = with_updates(after, {path: -x[::-1, ::-1] for path, x in drawn_updates().items()})
    again = with_updates(BEFORE, updates_between(BEFORE, after, rank=rank))
    for path, x in after.items():
        np.testing.assert_allclose(again[path], x, atol=1e-6, err_msg=path)


def test_of_another_difference_the_nearest_is_taken():
    before = {"a/kernel": jnp.zeros((4, 3))}
    after = {"a/kernel": jnp.diag(jnp.array([1.0, 3.0, 2.0, 0.0]))[:, :3]}
    found = with_updates(before, updates_between(before, after, rank=2))["a/kernel"]
    np.testing.assert_allclose(found, after["a/kernel"].at[0, 0].set(0.0), atol=1e-6)


def test_the_update_of_a_convolution_is_a_thin_convolution_and_a_mixing_of_channels():
    keys = jax.random.split(jax.random.key(0), 3)
    kernel, x = jax.random.normal(keys[0], (3, 3, 5, 7)), jax.random.normal(keys[1], (2, 6, 6, 5))
    down, up = jax.random.normal(keys[2], (45, 2)), jnp.arange(14.0).reshape(2, 7)
    found = with_updates({"c/kernel": kernel}, {"c/kernel/down": down, "c/kernel/up": up})["c/kernel"]
    thin = XLA.conv3x3(x, down.reshape(3, 3, 5, 2), 1)
    np.testing.assert_allclose(XLA.conv3x3(x, found, 1), XLA.conv3x3(x, kernel, 1) + thin @ up, rtol=1e-4, atol=1e-3)
