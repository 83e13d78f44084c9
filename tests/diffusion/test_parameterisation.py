"""Parameterisations: every one gives back the data and the noise it was made of, and each can be said as another."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import convert, diffuse, get_parameterisation, get_schedule, per_sample
from diffusion.parameterisation import PARAMETERISATIONS

T = jnp.array([0.05, 0.5, 0.95])


@pytest.fixture
def case():
    """Data, noise, the noised data and its factors, in the cosine schedule."""
    keys = jax.random.split(jax.random.key(0), 2)
    x0, eps = jax.random.normal(keys[0], (3, 4, 4, 2)), jax.random.normal(keys[1], (3, 4, 4, 2))
    schedule = get_schedule("cosine")
    x_t = diffuse(schedule, x0, eps=eps, t=T)
    return x0, eps, x_t, per_sample(schedule.alpha(T), x0), per_sample(schedule.sigma(T), x0)


@pytest.mark.parametrize("name", list(PARAMETERISATIONS))
def test_a_perfect_prediction_gives_back_data_and_noise(name, case):
    x0, eps, x_t, alpha, sigma = case
    kind = get_parameterisation(name)
    target = kind.target(x0, eps, alpha, sigma)
    np.testing.assert_allclose(kind.to_denoised(target, x_t, alpha, sigma), x0, atol=2e-5)
    np.testing.assert_allclose(kind.to_eps(target, x_t, alpha, sigma), eps, atol=2e-5)


@pytest.mark.parametrize("name", list(PARAMETERISATIONS))
def test_any_prediction_is_consistent_with_the_noised_data(name, case):
    _, _, x_t, alpha, sigma = case
    kind = get_parameterisation(name)
    prediction = jnp.sin(x_t)
    denoised, eps = (read(prediction, x_t, alpha, sigma) for read in (kind.to_denoised, kind.to_eps))
    np.testing.assert_allclose(alpha * denoised + sigma * eps, x_t, atol=2e-5)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(PARAMETERISATIONS.values(), repeat=2)))
def test_conversion_there_and_back_is_the_identity(source, target, case):
    _, _, x_t, alpha, sigma = case
    prediction = jnp.cos(x_t)
    there = convert(prediction, x_t, source=source, target=target, alpha=alpha, sigma=sigma)
    back = convert(there, x_t, source=target, target=source, alpha=alpha, sigma=sigma)
    np.testing.assert_allclose(back, prediction, rtol=1e-4, atol=2e-5)


def test_v_is_the_time_derivative_on_the_circle(case):
    x0, eps, _, alpha, sigma = case
    angle = jnp.arctan2(sigma, alpha)
    _, derivative = jax.jvp(lambda a: jnp.cos(a) * x0 + jnp.sin(a) * eps, (angle,), (jnp.ones_like(angle),))
    np.testing.assert_allclose(get_parameterisation("v").target(x0, eps, alpha, sigma), derivative, atol=1e-5)


def test_refuses_an_unknown_name():
    with pytest.raises(ValueError, match=r"no parameterisation is called 'score'; use one of eps, x0, v"):
        get_parameterisation("score")
