"""The samplers against the exact probability-flow solution of a Gaussian, and the contract that each must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian import MEAN, SCALE, gaussian_denoiser, posterior_mean

from diffusion import EPS, X0, V, cosine_schedule, get_sampler, scaled_linear_schedule, uniform_times
from diffusion.samplers import SAMPLERS

LAST_TIME = 0.1


def exact_flow(schedule, z, t):
    """The state at time t of the probability flow: the same quantile z of the Gaussian at every time."""
    alpha, sigma = schedule.alpha(jnp.asarray(t)), schedule.sigma(jnp.asarray(t))
    return alpha * MEAN + jnp.sqrt(alpha**2 * SCALE**2 + sigma**2) * z


def errors(sampler, schedule, parameterisation, step_counts):
    """Largest error where the last denoiser call is at LAST_TIME, whose estimate is known in closed form."""
    z = jnp.linspace(-2.0, 2.0, 8)[:, None]
    alpha, sigma = schedule.alpha(jnp.asarray(LAST_TIME)), schedule.sigma(jnp.asarray(LAST_TIME))
    expected = posterior_mean(exact_flow(schedule, z, LAST_TIME), alpha, sigma)
    found = [
        sampler(
            gaussian_denoiser(schedule, parameterisation),
            exact_flow(schedule, z, 1.0),
            schedule=schedule,
            parameterisation=parameterisation,
            num_steps=count,
            times=lambda n: jnp.linspace(1.0, LAST_TIME, n),
        )
        for count in step_counts
    ]
    return np.array([float(jnp.max(jnp.abs(x - expected))) for x in found])


@pytest.mark.parametrize(("name", "order"), [("ddim", 1.0), ("dpmpp_2m", 2.0)])
@pytest.mark.parametrize("parameterisation", [EPS, X0, V], ids=lambda item: item.name)
def test_order_of_convergence(float64, name, order, parameterisation):
    # A short range of log-SNR, so that steps of moderate number are already in the limit of short ones.
    schedule = cosine_schedule(log_snr_max=2.0, log_snr_min=-2.0)
    found = errors(get_sampler(name), schedule, parameterisation, (33, 65, 129))
    np.testing.assert_allclose(np.log2(found[:-1] / found[1:]), order, atol=0.05)


@pytest.mark.parametrize("schedule", [cosine_schedule(), scaled_linear_schedule()], ids=lambda item: item.name)
def test_second_order_is_closer_than_first_order_on_the_shipped_schedules(float64, schedule):
    first = errors(get_sampler("ddim"), schedule, V, (32,))[0]
    second = errors(get_sampler("dpmpp_2m"), schedule, V, (32,))[0]
    assert second < 0.25 * first


def quadratic_times(num_steps):
    """Times that crowd towards the data."""
    return uniform_times(num_steps) ** 2


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("schedule", [cosine_schedule(), scaled_linear_schedule()], ids=lambda item: item.name)
@pytest.mark.parametrize("grid", [uniform_times, quadratic_times], ids=lambda item: item.__name__)
def test_reaches_the_gaussian(name, schedule, grid):
    noise = jax.random.normal(jax.random.key(0), (4, 2, 2, 1))
    start = (
        schedule.alpha(jnp.ones(())) * MEAN
        + jnp.sqrt((schedule.alpha(jnp.ones(())) * SCALE) ** 2 + schedule.sigma(jnp.ones(())) ** 2) * noise
    )
    found = get_sampler(name)(
        gaussian_denoiser(schedule, V), start, schedule=schedule, parameterisation=V, num_steps=400, times=grid
    )
    assert found.dtype == noise.dtype
    np.testing.assert_allclose(found, MEAN + SCALE * noise, atol=0.02)


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_few_steps_call_the_denoiser_once_a_step_and_give_the_last_estimate(name, num_steps):
    seen = []

    def denoiser(x, t):
        jax.debug.callback(lambda t: seen.append(float(t[0])), t, ordered=True)
        return jnp.full_like(x, 0.25)

    found = get_sampler(name)(denoiser, jnp.ones((2, 3)), schedule=cosine_schedule(), parameterisation=X0, num_steps=num_steps)
    jax.effects_barrier()
    np.testing.assert_allclose(seen, np.asarray(uniform_times(num_steps)), rtol=1e-6)
    np.testing.assert_allclose(found, 0.25, rtol=1e-6)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_traces_the_denoiser_once_and_can_be_jitted(name):
    traces = []

    def denoiser(x, t):
        traces.append(t.shape)
        return 0.5 * x

    @jax.jit
    def run(noise):
        return get_sampler(name)(denoiser, noise, schedule=cosine_schedule(), parameterisation=V, num_steps=12)

    run(jnp.ones((2, 3)))
    run(jnp.zeros((2, 3)))
    assert traces == [(2,)]


def test_refuses_no_steps():
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got 0"):
        get_sampler("ddim")(lambda x, t: x, jnp.ones((1, 2)), schedule=cosine_schedule(), parameterisation=V, num_steps=0)


def test_refuses_an_unknown_name():
    with pytest.raises(ValueError, match=r"no sampler is called 'euler'; use one of ddim, dpmpp_2m"):
        get_sampler("euler")
