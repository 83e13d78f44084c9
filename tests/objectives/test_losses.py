"""Denoising and distillation losses: zero for perfect networks, known values, pairing, gradients, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import EPS, X0, V, cosine_schedule, per_sample
from diffusion.parameterisation import PARAMETERISATIONS
from objectives.denoising import denoising_loss, mean_estimate, mid_band_times, min_snr_weight
from objectives.distillation import feature_distillation_loss, output_distillation_loss

SCHEDULE = cosine_schedule()
KEYS = jax.random.split(jax.random.key(0), 2)
X, NOISE = jax.random.normal(KEYS[0], (5, 4, 4, 2)), jax.random.normal(KEYS[1], (5, 4, 4, 2))
CONTEXT = jnp.zeros((5, 1, 3))
T = mid_band_times(5)


def loss(net, **changes):
    settings = {"eps": NOISE, "t": T, "context": CONTEXT, "schedule": SCHEDULE, "parameterisation": V}
    return denoising_loss(net, X, **(settings | changes))


@pytest.mark.parametrize("kind", PARAMETERISATIONS.values(), ids=lambda item: item.name)
@pytest.mark.parametrize("space", [None, EPS, X0, V], ids=lambda item: item.name if item else "own")
def test_a_perfect_network_has_no_loss(kind, space):
    perfect = kind.target(X, NOISE, per_sample(SCHEDULE.alpha(T), X), per_sample(SCHEDULE.sigma(T), X))
    found = loss(lambda x, timestep, context: perfect, parameterisation=kind, loss_space=space)
    assert found.shape == (5,)
    np.testing.assert_allclose(found, 0.0, atol=1e-10)


def test_a_silent_network_loses_the_mean_square_of_the_target():
    found = loss(lambda x, timestep, context: jnp.zeros_like(x), parameterisation=EPS)
    np.testing.assert_allclose(found, np.mean(np.square(NOISE), axis=(1, 2, 3)), rtol=1e-6)


def test_the_network_sees_the_noised_image_the_timestep_and_the_context():
    def net(x, timestep, context):
        np.testing.assert_allclose(timestep, 1000.0 * np.asarray(T), rtol=1e-6)
        np.testing.assert_allclose(x, per_sample(SCHEDULE.alpha(T), X) * X + per_sample(SCHEDULE.sigma(T), X) * NOISE)
        assert context is CONTEXT
        return x

    assert np.all(np.isfinite(loss(net)))


def test_the_spaces_differ_by_the_known_factors():
    """An error of the denoised image weighs 1 in x0, (alpha / sigma)^2 in eps, 1 / sigma^2 in v."""
    silent = {space: loss(lambda x, timestep, context: 0.1 * x, loss_space=space) for space in (EPS, X0, V)}
    alpha, sigma = np.asarray(SCHEDULE.alpha(T)), np.asarray(SCHEDULE.sigma(T))
    np.testing.assert_allclose(silent[EPS], silent[X0] * (alpha / sigma) ** 2, rtol=1e-4)
    np.testing.assert_allclose(silent[V], silent[X0] / sigma**2, rtol=1e-4)


@pytest.mark.parametrize("exponent", [0, 3, 8])
def test_mid_band_times_have_one_in_each_stratum_and_do_not_depend_on_n(exponent):
    n = 2**exponent
    times = np.asarray(mid_band_times(n))
    strata = np.floor((times - 0.45) / 0.15 * n + 1e-3)
    assert sorted(strata) == list(range(n))
    np.testing.assert_array_equal(mid_band_times(2 * n + 1)[:n], times)


def test_mean_estimate_covers_the_mean():
    """200 intervals of 95 %: between 180 and 198 cover, but for one seed in 500."""
    generator = np.random.default_rng(0)
    found = [mean_estimate(generator.normal(3.0, 2.0, 20)) for _ in range(200)]
    assert 180 <= sum(estimate.low <= 3.0 <= estimate.high for estimate in found) <= 198
    assert found[0].n == 20


def test_a_diverged_network_has_the_value_nan():
    estimate = mean_estimate(np.array([1.0, np.nan, 2.0]))
    assert np.isnan(estimate.value)
    assert estimate.low is None


def test_refuses_to_estimate_from_one_loss():
    with pytest.raises(ValueError, match="an interval needs at least 2 losses, got 1"):
        mean_estimate(np.array([1.0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "`n` must be at least 1, got 0"),
        ((4, 0.6, 0.45), r"the band must satisfy 0 <= low < high <= 1, got low=0\.6, high=0\.45"),
    ],
)
def test_refuses_a_band_without_times(arguments, message):
    with pytest.raises(ValueError, match=message):
        mid_band_times(*arguments)


FEATURES = [X, 100.0 * NOISE, X.reshape(5, 32)]


def test_distillation_is_zero_where_the_two_agree():
    np.testing.assert_array_equal(output_distillation_loss(X, X), 0.0)
    np.testing.assert_array_equal(feature_distillation_loss(FEATURES, teacher_features=FEATURES), 0.0)
    silent = [jnp.zeros((5, 3))]
    np.testing.assert_array_equal(feature_distillation_loss(silent, teacher_features=silent), 0.0)
    nothing_counts = feature_distillation_loss([X], teacher_features=[X + 1], mask_beyond=1e-9)
    np.testing.assert_array_equal(nothing_counts, 0.0)


def test_output_distillation_is_the_mean_square():
    np.testing.assert_allclose(output_distillation_loss(X + 2.0, X), 4.0, rtol=1e-5)


def test_feature_distillation_weighs_every_block_alike_whatever_its_scale():
    off_by_a_tenth = [0.9 * feature for feature in FEATURES]
    found = feature_distillation_loss(off_by_a_tenth, teacher_features=FEATURES)
    assert jnp.mean(found) == pytest.approx(0.01, rel=1e-5)
    silent = [jnp.zeros_like(feature) for feature in FEATURES]
    assert jnp.mean(feature_distillation_loss(silent, teacher_features=FEATURES)) == pytest.approx(1.0, rel=1e-5)


def numpy_feature_loss(student, teacher, beyond):
    """By loops over samples: the loss of one block, and the gradient of its mean over the batch to the student."""
    extreme = [np.abs(x) > beyond * np.sqrt(np.mean(x**2)) for x in (student, teacher)]
    counts = ~extreme[0] & ~extreme[1]
    scale = sum(value**2 for value in teacher[counts]) / counts.sum()
    losses, gradient = np.zeros(len(student)), np.zeros_like(student)
    for i, (ours, theirs, counted) in enumerate(zip(student, teacher, counts, strict=True)):
        if counted.any():
            losses[i] = np.mean((ours[counted] - theirs[counted]) ** 2) / scale
            gradient[i][counted] = 2 * (ours - theirs)[counted] / (counted.sum() * scale * len(student))
    return losses, gradient


@pytest.mark.parametrize("beyond", [1.2, 6.0, np.inf])
def test_feature_distillation_equals_numpy_with_its_gradient_through_a_projection(beyond):
    rng = np.random.default_rng(0)
    streams = [rng.normal(size=(3, 2, 2, channels)) for channels in (2, 4)]
    kernel = rng.normal(size=(2, 4))
    teachers = [rng.normal(size=(3, 2, 2, 4)), 30 * rng.normal(size=(3, 2, 2, 4))]
    teachers[0][1, 0, 1, 2], streams[1][2] = 1e3, 1e3  # an extreme activation, and a sample of nothing else

    def found(streams, kernel):
        projected = [streams[0] @ kernel, streams[1]]
        return feature_distillation_loss(projected, teacher_features=list(map(jnp.asarray, teachers)), mask_beyond=beyond)

    with jax.enable_x64(True):
        arrays = [list(map(jnp.asarray, streams)), jnp.asarray(kernel)]
        losses = found(*arrays)
        gradients = jax.jit(jax.grad(lambda *x: jnp.mean(found(*x)), argnums=(0, 1)))(*arrays)
    to_streams, to_kernel = jax.tree.map(np.asarray, gradients)
    one, other = (numpy_feature_loss(*pair, beyond) for pair in zip([streams[0] @ kernel, streams[1]], teachers, strict=True))
    np.testing.assert_allclose(losses, (one[0] + other[0]) / 2, rtol=1e-6)
    np.testing.assert_allclose(to_streams[0], one[1] @ kernel.T / 2, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(to_streams[1], other[1] / 2, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(to_kernel, np.einsum("bhwi,bhwo->io", streams[0], one[1]) / 2, rtol=1e-6)
    assert np.any(to_streams[1][2] != 0) == (beyond > 1.5)  # beyond 1.2 times its root mean square the sample does not count


@pytest.mark.parametrize("kind", PARAMETERISATIONS.values(), ids=lambda item: item.name)
def test_min_snr_weights_are_those_of_the_paper(kind):
    with jax.enable_x64(True):
        t = jnp.linspace(0.0, 1.0, 41)
        found = min_snr_weight(t, schedule=SCHEDULE, parameterisation=kind)
    snr = np.exp(-2 * np.log(np.tan(np.arctan(np.exp(-5)) + (np.arctan(np.exp(5)) - np.arctan(np.exp(-5))) * np.asarray(t))))
    of_denoised = np.minimum(snr, 5.0)
    wanted = {"x0": of_denoised, "eps": of_denoised / snr, "v": of_denoised / (snr + 1)}[kind.name]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_no_gradient_reaches_the_teacher():
    def total(student, teacher):
        both = output_distillation_loss(student, teacher) + feature_distillation_loss([student], teacher_features=[teacher])
        return jnp.mean(both)

    to_student, to_teacher = jax.grad(total, argnums=(0, 1))(X, X + 1.0)
    np.testing.assert_array_equal(to_teacher, 0.0)
    assert np.all(np.asarray(to_student) < 0)


def test_refuses_another_shape():
    with pytest.raises(ValueError, match=r"output: student and teacher must have one shape, got \(5, 4, 4, 1\)"):
        output_distillation_loss(X[..., :1], X)
    with pytest.raises(ValueError, match=r"block 1: student and teacher must have one shape"):
        feature_distillation_loss([X, X[..., :1]], teacher_features=[X, X])


def test_refuses_other_blocks():
    with pytest.raises(ValueError, match="must have the same blocks, at least one; got 1 and 2"):
        feature_distillation_loss([X], teacher_features=[X, X])
    with pytest.raises(ValueError, match="got 0 and 0"):
        feature_distillation_loss([], teacher_features=[])
