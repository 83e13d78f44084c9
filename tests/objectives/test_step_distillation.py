"""Step distillation: one step of the student is two of the teacher's; losses and gradients against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian import gaussian_denoiser

from diffusion import EPS, X0, V, convert, cosine_schedule, ddim, guided_prediction, per_sample, scaled_linear_schedule
from objectives.step_distillation import WEIGHTINGS, Halving, cfg_aware_loss, progressive_loss, two_step_target, with_rescaled

KINDS = pytest.mark.parametrize("kind", [EPS, X0, V], ids=lambda item: item.name)
SCHEDULES = pytest.mark.parametrize("schedule", [cosine_schedule(), scaled_linear_schedule()], ids=lambda item: item.name)
NUM_STEPS = 5
SHAPE = (NUM_STEPS, 2, 2, 1)


def halving(kind, weighting="truncated_snr", schedule=None):
    return Halving(NUM_STEPS, schedule or cosine_schedule(), kind, WEIGHTINGS[weighting])


def all_times():
    """Every time at which the student is called, the last step first: sample i takes step i."""
    return (jnp.arange(NUM_STEPS) + 1) / NUM_STEPS


def draw(seed):
    return jax.random.normal(jax.random.key(seed), SHAPE)


def levels(schedule, t):
    """Alpha and sigma at each sample's time, in NumPy; the data itself at 0."""
    alpha, sigma = np.array(schedule.alpha(jnp.asarray(t))), np.array(schedule.sigma(jnp.asarray(t)))
    alpha[t == 0], sigma[t == 0] = 1.0, 0.0
    return (x.reshape(-1, 1, 1, 1) for x in (alpha, sigma))


def numpy_target(denoised_at, x, schedule):
    """Two DDIM steps through the noise that each estimate implies, and the x0 of the straight line between their ends."""
    times = [(np.arange(NUM_STEPS) + 1 - done) / NUM_STEPS for done in (0, 0.5, 1)]
    x_t, (alpha, sigma) = x, levels(schedule, times[0])
    for before, after in itertools.pairwise(times):
        (a, s), (next_a, next_s) = levels(schedule, before), levels(schedule, after)
        denoised = denoised_at(x, before)
        x = next_a * denoised + next_s * (x - a * denoised) / s
    end_alpha, end_sigma = levels(schedule, times[-1])
    return (sigma * x - end_sigma * x_t) / (sigma * end_alpha - end_sigma * alpha)


def numpy_denoised(kind, prediction, x, alpha, sigma):
    """The estimate of x0, and what it changes by where the prediction changes by 1."""
    if kind is EPS:
        return (x - sigma * prediction) / alpha, -sigma / alpha
    if kind is V:
        return alpha * x - sigma * prediction, -sigma
    return prediction, np.ones_like(sigma)


@KINDS
@SCHEDULES
def test_one_step_with_the_target_lands_where_two_teacher_steps_land(float64, kind, schedule):
    x_t, t = draw(0), all_times()
    found = two_step_target(gaussian_denoiser(schedule, kind), x_t, t=t, halving=halving(kind, schedule=schedule))
    teacher = gaussian_denoiser(schedule, X0)
    expected = numpy_target(lambda x, t: np.asarray(teacher(jnp.asarray(x), jnp.asarray(t))), np.asarray(x_t), schedule)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@KINDS
@pytest.mark.parametrize("num_steps", [1, 6])
def test_a_student_that_has_learned_samples_as_its_teacher_in_half_the_steps(float64, kind, num_steps):
    """The last step, to the data itself, included."""
    schedule = cosine_schedule()
    teacher = gaussian_denoiser(schedule, kind)
    shared = {"schedule": schedule, "parameterisation": kind}

    def student(x, t):
        target = two_step_target(teacher, x, t=t, halving=Halving(num_steps, **shared))
        alpha, sigma = per_sample(schedule.alpha(t), x), per_sample(schedule.sigma(t), x)
        return convert(target, x, source=X0, target=kind, alpha=alpha, sigma=sigma)

    found = ddim(student, draw(1), **shared, num_steps=num_steps)
    np.testing.assert_allclose(found, ddim(teacher, draw(1), **shared, num_steps=2 * num_steps), rtol=0, atol=1e-9)
    assert np.max(np.abs(found - ddim(teacher, draw(1), **shared, num_steps=num_steps))) > 1e-3


@KINDS
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_loss_and_gradient_are_those_of_numpy(float64, kind, weighting):
    schedule, x_t, t, prediction = cosine_schedule(), draw(2), all_times(), draw(3)

    def loss(prediction):
        return progressive_loss(prediction, x_t, t=t, teacher=lambda x, t: 0.3 * x + 0.1, halving=halving(kind, weighting))

    found, gradient = loss(prediction), jax.grad(lambda x: jnp.sum(loss(x)))(prediction)
    expected, expected_gradient = numpy_loss(
        kind, weighting, np.asarray(prediction), np.asarray(x_t), schedule, affine(0.3, 0.1)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6)


def affine(slope, offset):
    return lambda x, scale: slope * x + offset * np.ones_like(scale)


def numpy_loss(kind, weighting, prediction, x_t, schedule, teacher, scale=None):
    """Weighted mean squares per sample, and the gradient of their sum with respect to the prediction."""
    scale = np.ones((NUM_STEPS, 1, 1, 1)) if scale is None else scale

    def denoised_at(x, t):
        return numpy_denoised(kind, teacher(x, scale), x, *levels(schedule, t))[0]

    alpha, sigma = levels(schedule, (np.arange(NUM_STEPS) + 1) / NUM_STEPS)
    snr = alpha**2 / sigma**2
    weight = {"truncated_snr": np.maximum(snr, 1), "constant": np.ones_like(snr), "snr": snr}[weighting]
    denoised, slope = numpy_denoised(kind, prediction, x_t, alpha, sigma)
    error = denoised - numpy_target(denoised_at, x_t, schedule)
    num_values = error[0].size
    return np.mean(weight * error**2, axis=(1, 2, 3)), 2 * weight * error * slope / num_values


@pytest.mark.parametrize("is_guided", [False, True])
def test_cfg_aware_loss_and_gradients_are_those_of_numpy(float64, is_guided):
    """The teacher's guided prediction is that of two affine networks; student and teacher share the scale of a sample."""
    x_t, t, conditioned, null = draw(2), all_times(), draw(3), draw(4)
    scale = jnp.linspace(2.0, 14.0, NUM_STEPS)

    def loss(conditioned, null):
        return cfg_aware_loss(
            conditioned, x_t, t=t, null=lambda: null, guidance_scale=scale, is_guided=jnp.array(is_guided), halving=halving(V),
            teacher=lambda x, t: 0.3 * x + 0.1,
            guided_teacher=lambda x, t: guided_prediction(0.2 * x, 0.3 * x + 0.1, guidance_scale=scale),
        )  # fmt: skip

    found = loss(conditioned, null)
    gradients = jax.grad(lambda *x: jnp.sum(loss(*x)), argnums=(0, 1))(conditioned, null)
    w = np.asarray(scale).reshape(-1, 1, 1, 1) if is_guided else np.ones((NUM_STEPS, 1, 1, 1))
    student = w * np.asarray(conditioned) - (w - 1) * np.asarray(null)
    expected, gradient = numpy_loss(
        V, "truncated_snr", student, np.asarray(x_t), cosine_schedule(),
        lambda x, w: w * (0.3 * x + 0.1) - (w - 1) * 0.2 * x, w,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradients[0], w * gradient, rtol=1e-6)
    np.testing.assert_allclose(gradients[1], (1 - w) * gradient, rtol=1e-6)


def test_truncated_snr_takes_the_larger_of_the_errors_of_x0_and_eps(float64):
    x_t, t, prediction = draw(2), all_times(), draw(3)
    how = {"t": t, "teacher": lambda x, t: 0.5 * x}
    losses = {name: progressive_loss(prediction, x_t, **how, halving=halving(V, name)) for name in WEIGHTINGS}
    target = two_step_target(how["teacher"], x_t, t=t, halving=halving(V))
    alpha, sigma = per_sample(cosine_schedule().alpha(t), x_t), per_sample(cosine_schedule().sigma(t), x_t)
    denoised, eps = (V.to_denoised(prediction, x_t, alpha, sigma), V.to_eps(prediction, x_t, alpha, sigma))
    of_x0 = jnp.mean((denoised - target) ** 2, axis=(1, 2, 3))
    of_eps = jnp.mean((eps - (x_t - alpha * target) / sigma) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(losses["constant"], of_x0, rtol=1e-9)
    np.testing.assert_allclose(losses["snr"], of_eps, rtol=1e-9)
    np.testing.assert_allclose(losses["truncated_snr"], jnp.maximum(of_x0, of_eps), rtol=1e-9)
    assert jnp.any(of_x0 > of_eps)
    assert jnp.any(of_x0 < of_eps)


def test_no_gradient_reaches_the_teacher():
    def total(slope):
        return jnp.sum(progressive_loss(draw(3), draw(2), t=all_times(), teacher=lambda x, t: slope * x, halving=halving(V)))

    assert jax.grad(total)(0.5) == 0.0


def test_the_original_loss_comes_at_the_size_of_the_other_whatever_its_own(float64):
    """Its gradient is brought to that size too, and none flows through the factor."""
    for size in (1e-3, 1.0, 1e4):

        def total(x, size=size):
            return with_rescaled(x**2, size * jnp.exp(x), weight=0.2)

        value, gradient = jax.value_and_grad(total)(3.0)
        assert value == pytest.approx(1.2 * 9.0, rel=1e-12)
        assert gradient == pytest.approx(6.0 + 0.2 * 9.0, rel=1e-12)


def test_an_original_loss_of_zero_leaves_the_other():
    for loss in (2.0, 10.0, 1e30):
        assert with_rescaled(jnp.array(loss), jnp.array(0.0), weight=0.2) == jnp.float32(loss)


def test_the_teacher_is_called_twice_and_nothing_else_is_asked_of_it():
    seen = []

    def teacher(x, t):
        seen.append(np.asarray(t))
        return x

    two_step_target(teacher, draw(0), t=all_times(), halving=halving(V))
    np.testing.assert_allclose(
        seen, [(np.arange(NUM_STEPS) + 1) / NUM_STEPS, (np.arange(NUM_STEPS) + 0.5) / NUM_STEPS], rtol=1e-6
    )
