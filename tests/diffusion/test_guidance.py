"""Guidance: its identities, its cost, its refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import EPS, X0, convert, cosine_schedule, guided_denoiser, per_sample

X = jax.random.normal(jax.random.key(0), (3, 2, 2, 1))
T = jnp.array([0.2, 0.5, 0.9])
CONTEXT = jnp.arange(12.0).reshape(3, 2, 2)
NULL = jnp.zeros((3, 2, 2))


def make_net(calls):
    """A network whose output depends on all its inputs; notes the shape and time steps of each call."""

    def net(x, timestep, context):
        calls.append((x.shape, np.asarray(timestep)))
        return x * 0.5 + per_sample(timestep / 1000.0 + context.mean(axis=(1, 2)), x)

    return net


def test_scale_one_is_the_conditioned_network_at_no_extra_cost():
    calls = []
    found = guided_denoiser(make_net(calls), CONTEXT, null_context=NULL, guidance_scale=1.0)(X, T)
    np.testing.assert_array_equal(found, make_net([])(X, 1000.0 * T, CONTEXT))
    assert [shape for shape, _ in calls] == [X.shape]
    np.testing.assert_allclose(calls[0][1], [200.0, 500.0, 900.0])


def test_scale_zero_is_the_unconditioned_network():
    found = guided_denoiser(make_net([]), CONTEXT, null_context=NULL, guidance_scale=0.0)(X, T)
    np.testing.assert_array_equal(found, make_net([])(X, 1000.0 * T, NULL))


def test_guidance_is_linear_in_its_scale_and_one_call_of_twice_the_batch():
    calls = []
    found = guided_denoiser(make_net(calls), CONTEXT, null_context=NULL, guidance_scale=3.0)(X, T)
    null, conditioned = make_net([])(X, 1000.0 * T, NULL), make_net([])(X, 1000.0 * T, CONTEXT)
    np.testing.assert_allclose(found, null + 3.0 * (conditioned - null), rtol=1e-6)
    assert [shape for shape, _ in calls] == [(6, 2, 2, 1)]


def test_a_null_context_equal_to_the_context_changes_nothing():
    found = guided_denoiser(make_net([]), CONTEXT, null_context=CONTEXT, guidance_scale=7.5)(X, T)
    np.testing.assert_allclose(found, make_net([])(X, 1000.0 * T, CONTEXT), rtol=1e-6)


def test_guiding_eps_or_x0_is_the_same():
    schedule = cosine_schedule()
    alpha, sigma = per_sample(schedule.alpha(T), X), per_sample(schedule.sigma(T), X)
    net = make_net([])

    def x0_net(x, timestep, context):
        factors = [jnp.resize(factor, (len(x), 1, 1, 1)) for factor in (alpha, sigma)]
        return convert(net(x, timestep, context), x, source=EPS, target=X0, alpha=factors[0], sigma=factors[1])

    guided = guided_denoiser(net, CONTEXT, null_context=NULL, guidance_scale=2.0)(X, T)
    guided_x0 = guided_denoiser(x0_net, CONTEXT, null_context=NULL, guidance_scale=2.0)(X, T)
    expected = convert(guided, X, source=EPS, target=X0, alpha=alpha, sigma=sigma)
    np.testing.assert_allclose(guided_x0, expected, rtol=2e-4, atol=1e-4)


def test_each_sample_may_have_its_own_scale():
    scales = jnp.array([0.0, 1.0, 7.5])
    together = guided_denoiser(make_net([]), CONTEXT, null_context=NULL, guidance_scale=scales)(X, T)
    alone = [guided_denoiser(make_net([]), CONTEXT, null_context=NULL, guidance_scale=float(scale))(X, T) for scale in scales]
    np.testing.assert_allclose(together, [alone[i][i] for i in range(3)], rtol=1e-5, atol=1e-6)


def test_refuses_guidance_without_a_null_context():
    with pytest.raises(ValueError, match=r"guidance_scale=2\.0 needs a `null_context`"):
        guided_denoiser(make_net([]), CONTEXT, guidance_scale=2.0)


def test_refuses_a_null_context_of_another_shape():
    with pytest.raises(ValueError, match=r"`null_context` must have the shape of `context` \(3, 2, 2\), got \(1, 2, 2\)"):
        guided_denoiser(make_net([]), CONTEXT, null_context=NULL[:1], guidance_scale=2.0)
