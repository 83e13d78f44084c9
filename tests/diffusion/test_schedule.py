"""Schedules: unit variance, monotone log-SNR, Stable Diffusion's published values, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import cosine_schedule, diffuse, get_schedule, scaled_linear_schedule
from diffusion.schedule import SCHEDULES


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_variance_is_preserved_and_log_snr_falls(name):
    schedule = get_schedule(name)
    t = jnp.linspace(0.0, 1.0, 1001)
    alpha, sigma, log_snr = schedule.alpha(t), schedule.sigma(t), schedule.log_snr(t)
    assert alpha.dtype == t.dtype
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, atol=1e-6)
    np.testing.assert_allclose(2 * (jnp.log(alpha) - jnp.log(sigma)), log_snr, atol=1e-4)
    assert np.all(np.diff(log_snr) < 0)


def test_scaled_linear_takes_times_of_few_digits():
    t = jnp.linspace(0.0, 1.0, 11).astype(jnp.bfloat16)
    found = scaled_linear_schedule().log_snr(t)
    assert found.dtype == jnp.bfloat16
    exact = scaled_linear_schedule().log_snr(t.astype(jnp.float32))
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=4e-3)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_the_same_name_is_the_same_object(name):
    assert get_schedule(name) is get_schedule(name)


def test_cosine_is_a_cosine_between_its_limits():
    schedule = cosine_schedule()
    t = jnp.array([0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(schedule.log_snr(t)[jnp.array([0, 4])], [10.0, -10.0], atol=2e-5)
    np.testing.assert_allclose(schedule.alpha(t), np.cos(np.pi * np.asarray(t) / 2), atol=0.007)
    with jax.enable_x64(True):
        wide = cosine_schedule(log_snr_max=60.0, log_snr_min=-60.0)
        t = jnp.linspace(0.1, 0.9, 9)
        np.testing.assert_allclose(wide.alpha(t), jnp.cos(jnp.pi * t / 2), atol=1e-12)


def test_scaled_linear_has_stable_diffusions_values():
    """Against the discrete definition: cumulative products of 1 - beta in float64."""
    beta = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    expected = np.sqrt(np.cumprod(1.0 - beta))
    with jax.enable_x64(True):
        t = jnp.arange(1000) / 1000
        np.testing.assert_allclose(scaled_linear_schedule().alpha(t), expected, rtol=1e-10)
    # The first and last entries as they are published with the model (alphas_cumprod).
    assert expected[0] ** 2 == pytest.approx(0.99915, abs=1e-8)
    assert expected[-1] ** 2 == pytest.approx(0.00466, abs=1e-5)


def test_diffuse_mixes_each_sample_at_its_own_time():
    schedule = cosine_schedule()
    x0, eps = jnp.ones((3, 2, 2, 1)), jnp.full((3, 2, 2, 1), -2.0)
    t = jnp.array([0.0, 0.5, 1.0])
    found = diffuse(schedule, x0, eps=eps, t=t)
    expected = np.asarray(schedule.alpha(t)) - 2.0 * np.asarray(schedule.sigma(t))
    np.testing.assert_allclose(found[:, 1, 1, 0], expected, rtol=1e-6)


def test_diffused_unit_data_has_unit_variance():
    """False-failure rate: the variance of 40000 normals has a standard deviation of 0.007; 0.04 is 5.6 of them."""
    keys = jax.random.split(jax.random.key(1), 2)
    x0, eps = jax.random.normal(keys[0], (4, 40000)), jax.random.normal(keys[1], (4, 40000))
    found = diffuse(scaled_linear_schedule(), x0, eps=eps, t=jnp.array([0.1, 0.4, 0.7, 1.0]))
    np.testing.assert_allclose(np.var(np.asarray(found), axis=1), 1.0, atol=0.04)


def test_refuses_an_unknown_name():
    with pytest.raises(ValueError, match=r"no schedule is called 'linear'; use one of cosine, scaled_linear"):
        get_schedule("linear")


def test_refuses_limits_the_wrong_way_round():
    with pytest.raises(ValueError, match=r"`log_snr_max` must be finite and above `log_snr_min`, got -1\.0 and 1\.0"):
        cosine_schedule(log_snr_max=-1.0, log_snr_min=1.0)
