"""Losses of both players against NumPy, their gradients against formulas, R1 against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives.adversarial import (
    gradient_penalty,
    hinge_discriminator_loss,
    hinge_generator_loss,
    logistic_discriminator_loss,
    logistic_generator_loss,
    reconstruction_loss,
    score_distillation_loss,
)

RNG = np.random.default_rng(0)
# Two heads, of 5 positions and of one; on both sides of the hinges.
REAL, FAKE = ([2 * RNG.standard_normal((4, 5)), 2 * RNG.standard_normal((4, 1))] for _ in range(2))
IMAGES, OTHERS = RNG.standard_normal((2, 4, 3, 3, 2))


@pytest.fixture(autouse=True)
def in_double_precision():
    with jax.enable_x64(True):
        yield


def arrays(*trees):
    """In float64, now that it is there."""
    return jax.tree.map(jnp.asarray, trees)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_hinge_losses_are_those_of_numpy():
    expected = [
        sum(np.mean([max(0, 1 - r) + max(0, 1 + f) for r, f in zip(real[i], fake[i], strict=True)])
            for real, fake in zip(REAL, FAKE, strict=True))
        for i in range(4)
    ]  # fmt: skip
    real, fake = arrays(REAL, FAKE)
    equal(hinge_discriminator_loss(real, fake), expected)
    equal(hinge_generator_loss(fake), [-sum(fake[i].mean() for fake in FAKE) for i in range(4)])


def test_hinge_gradients_stop_where_the_discriminator_is_sure():
    to_real, to_fake = jax.grad(lambda *x: jnp.sum(hinge_discriminator_loss(*x)), argnums=(0, 1))(*arrays(REAL, FAKE))
    for real, fake, of_real, of_fake in zip(REAL, FAKE, to_real, to_fake, strict=True):
        equal(of_real, np.where(real < 1, -1 / real.shape[1], 0))
        equal(of_fake, np.where(fake > -1, 1 / fake.shape[1], 0))
    for fake, found in zip(FAKE, jax.grad(lambda x: jnp.sum(hinge_generator_loss(x)))(*arrays(FAKE)), strict=True):
        equal(found, np.full_like(fake, -1 / fake.shape[1]))


def test_logistic_losses_and_gradients_are_those_of_numpy():
    real, fake = arrays(REAL[0], FAKE[0])
    equal(logistic_discriminator_loss(real, fake), np.mean(-np.log(sigmoid(real)) - np.log(1 - sigmoid(fake)), axis=1))
    equal(logistic_generator_loss(fake), np.mean(-np.log(sigmoid(fake)), axis=1))
    to_real, to_fake = jax.grad(lambda *x: jnp.sum(logistic_discriminator_loss(*x)), argnums=(0, 1))(real, fake)
    equal(to_real, (sigmoid(real) - 1) / 5)
    equal(to_fake, sigmoid(fake) / 5)
    equal(jax.grad(lambda x: jnp.sum(logistic_generator_loss(x)))(fake), (sigmoid(fake) - 1) / 5)


def test_logistic_losses_of_a_sure_discriminator_are_finite():
    sure = jnp.full((1, 1), 1e4)
    equal(logistic_discriminator_loss(sure, -sure), [0.0])
    equal(logistic_generator_loss(-sure), [1e4])


def test_the_gradient_penalty_is_the_squared_slope_by_finite_differences():
    weights, step = RNG.standard_normal((18, 3)), 1e-5
    maps = [IMAGES, RNG.standard_normal((4, 3))]

    def logits(maps):
        hidden = jnp.tanh(maps[0].reshape(4, -1) @ weights)
        return [hidden, jnp.sin(hidden[:, :1] + maps[1][:, :1] * maps[1][:, 1:2])]

    def total(maps):
        return sum(np.asarray(head).mean(axis=1) for head in logits(*arrays(maps)))

    expected = np.zeros(4)
    for index, values in enumerate(maps):
        for place in np.ndindex(values.shape[1:]):
            moved = [np.array(x) for x in maps]
            moved[index][(slice(None), *place)] += step
            back = [np.array(x) for x in maps]
            back[index][(slice(None), *place)] -= step
            expected += ((total(moved) - total(back)) / (2 * step)) ** 2
    assert expected.min() > 0.01
    equal(gradient_penalty(logits, *arrays(maps)), expected)


def test_the_gradient_penalty_of_a_linear_head_is_its_squared_weights():
    weights = RNG.standard_normal(3)
    found = gradient_penalty(
        lambda x: [jnp.full((4, 7), 2.0), (x @ weights)[:, None]], jnp.asarray(RNG.standard_normal((4, 3)))
    )
    equal(found, np.full(4, np.sum(weights**2)))


def test_score_distillation_and_its_gradient():
    alpha = np.array([1.0, 0.5, 0.25, 0.0])
    images, others, factors = arrays(IMAGES, OTHERS, alpha)
    equal(score_distillation_loss(images, others, alpha=factors), alpha * np.mean((IMAGES - OTHERS) ** 2, axis=(1, 2, 3)))
    to_student, to_teacher = jax.grad(lambda x, y: jnp.sum(score_distillation_loss(x, y, alpha=factors)), argnums=(0, 1))(
        images, others
    )
    equal(to_student, 2 * alpha[:, None, None, None] * (IMAGES - OTHERS) / 18)
    equal(to_teacher, np.zeros_like(OTHERS))


def test_reconstruction_weighs_by_what_can_be_seen():
    snr = np.array([0.0, 0.5, 1.0, 9.0])
    images, others, ratios = arrays(IMAGES, OTHERS, snr)
    found = reconstruction_loss(images, others, snr=ratios)
    equal(found, np.array([0.0, 0.5, 1.0, 1.0]) * np.mean((IMAGES - OTHERS) ** 2, axis=(1, 2, 3)))
