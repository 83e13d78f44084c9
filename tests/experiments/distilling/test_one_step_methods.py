"""ADD and UFOGen on digits: what a phase promises, who moves, that it can go on from a kept state, and that it learns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import diffuse, sample_noise, uniform_times
from experiments.bundle import Bundle, with_settings
from experiments.config import load_config
from experiments.denoising_task import load_examples, training_examples
from experiments.distilling import adversarial as adversarial_module
from experiments.distilling.adversarial import adversarial
from experiments.distilling.noised import denoised, drawn_times, starts
from experiments.distilling.settings import AdversarialSettings, UfogenSettings
from experiments.distilling.ufogen import ufogen
from experiments.errors import InputError
from experiments.fitting import Given, training_apply
from experiments.handoff import training_settings
from experiments.progress import silent_progress
from experiments.sampling import draw_images
from experiments.training import with_fresh_weights
from objectives.extractor import FeatureMaps
from objectives.frechet import frechet_distance, gaussian_statistics
from search_space import get_space

BATCH_SIZE, NUM_STEPS = 32, 80
FRESH = Bundle(
    get_space("digits-small").smallest(),
    training_settings(load_config("digits-small"), "fresh weights").model_copy(
        update={"batch_size": BATCH_SIZE, "learning_rate": 3e-3, "warmup_steps": 0, "ema_decay": 0.9}
    ),
    {},
)
STUDENT = with_fresh_weights(FRESH, 0)
TASK = STUDENT.task


def blurred_pixels(scale, images):
    """Maps of two resolutions and a vector, of no network."""
    half = images.reshape(len(images), 4, 2, 4, 2, 1).mean((2, 4))
    return [images * scale, half * scale, images.reshape(len(images), -1) * scale]


MAPS = FeatureMaps(blurred_pixels, jnp.float32(1.0))
# The teacher, an untrained network, has little to say.
ADD = AdversarialSettings(method="adversarial", updates=NUM_STEPS, distillation_weight=0.1, discriminator_rate=1.0)
UFOGEN = UfogenSettings(method="ufogen", updates=NUM_STEPS, num_times=2, discriminator_rate=1.0)
METHODS = {
    "adversarial": lambda given: adversarial(given, ADD, feature_maps=MAPS),
    "ufogen": lambda given: ufogen(given, UFOGEN),
}


@functools.cache
def examples(num):
    dataset = load_examples("digits", TASK.scale, split="train")
    drawn = training_examples(dataset, TASK.scale, batch_size=BATCH_SIZE, seed=0)
    return [next(drawn) for _ in range(num)]


def given(folder):
    return Given(STUDENT, STUDENT, 0, folder, silent_progress())


def run(fitting, state, numbers, *, seed=0):
    told = []
    for number in numbers:
        images, prompts = examples(NUM_STEPS)[number - 1]
        state, losses = fitting.step(state, jnp.uint32(seed), jnp.uint32(number), images, prompts, jnp.float32(1))
        told.append({name: float(value) for name, value in losses.items()})
    return state, told


@pytest.fixture(scope="module", params=METHODS)
def trained(request, tmp_path_factory):
    """A phase, its fitting, and the state and losses after all steps."""
    start = given(tmp_path_factory.mktemp(request.param))
    (phase,) = METHODS[request.param](start)
    fitting = phase.fitting(start.student)
    kept = jax.tree.map(np.array, fitting.state)
    state, told = run(fitting, fitting.state, range(1, NUM_STEPS + 1))
    return request.param, phase, fitting, kept, state, told


def test_a_phase_promises_one_step_without_guidance(trained):
    _, phase, *_ = trained
    assert phase.num_steps == NUM_STEPS
    assert phase.changes == {"sample_steps": 1, "sampler": "ddim", "guidance_scale": 1.0}


def test_the_state_is_arrays_and_training_goes_on_from_a_copy(trained):
    _, _, fitting, kept, _, told = trained
    assert all(isinstance(x, jax.Array | np.ndarray) for x in jax.tree.leaves(kept))
    middle, first = run(fitting, jax.tree.map(jnp.asarray, kept), [1, 2])
    _, last = run(fitting, jax.tree.map(jnp.array, jax.tree.map(np.array, middle)), [3, 4])
    assert first + last == told[:4]  # to the bit: noise and times follow from seed and number alone
    assert run(fitting, jax.tree.map(jnp.asarray, kept), [1], seed=1)[1] != told[:1]


def test_losses_are_finite_and_have_names(trained):
    method, *_, told = trained
    second = {"adversarial": "distillation", "ufogen": "reconstruction"}[method]
    assert all(set(losses) == {"loss", "adversarial", "discriminator", second} for losses in told)
    assert np.isfinite([list(losses.values()) for losses in told]).all()


def test_both_players_have_moved_and_the_network_is_handed_on(trained):
    _, _, fitting, kept, state, _ = trained
    for player in ("generator", "discriminator"):
        before, after = (getattr(x, player).parameters for x in (kept, state))
        moved = [np.any(np.asarray(a) != b) for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True)]
        assert np.mean(moved) > 0.9
    assert jax.tree.structure(fitting.trained(state)) == jax.tree.structure(STUDENT.parameters)


def test_images_of_one_step_come_nearer_to_the_data(trained):
    _, phase, fitting, _, state, _ = trained
    pixels = np.concatenate([images for images, _ in examples(NUM_STEPS)[:10]]).reshape(-1, 64)
    prompts = np.concatenate([prompts for _, prompts in examples(NUM_STEPS)[:10]])

    def distance(parameters):
        settings = STUDENT.settings.model_copy(update=phase.changes)
        images = draw_images(Bundle(STUDENT.architecture, settings, parameters), prompts, num=320, seed=1)
        return frechet_distance(gaussian_statistics(images.reshape(-1, 64)), gaussian_statistics(pixels))

    assert distance(fitting.trained(state)) < 0.75 * distance(STUDENT.parameters)


def test_a_discriminator_alone_learns_to_tell_images_apart(trained):
    """The generator is put back after each step."""
    _, _, fitting, kept, _, _ = trained
    state, losses = jax.tree.map(jnp.asarray, kept), []
    for number in range(1, 81):
        state, told = run(fitting, state, [number])
        state = dataclasses.replace(state, generator=jax.tree.map(jnp.array, kept.generator))
        losses += [told[0]["discriminator"]]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_a_student_of_one_step_starts_from_noise_alone():
    images, eps = jax.random.normal(jax.random.key(0), (2, 4, 8, 8, 1))
    t = jnp.array([1.0, 0.75, 0.5, 0.25])
    found = starts(TASK, images, eps=eps, t=t)
    np.testing.assert_array_equal(found[0], eps[0])
    np.testing.assert_array_equal(found[1:], diffuse(TASK.schedule, images, eps=eps, t=t)[1:])


def test_what_training_judges_is_what_a_step_of_the_sampler_gives():
    bundle = dataclasses.replace(STUDENT, settings=STUDENT.settings.model_copy(update={"sample_steps": 1}))
    bumped = {path: x + 0.1 for path, x in STUDENT.parameters["network"].items()}  # a fresh network says 0
    bundle = dataclasses.replace(bundle, parameters={**STUDENT.parameters, "network": bumped})
    prompts = np.arange(4)[:, None] + 1
    noise = sample_noise(3, jnp.arange(4), (8, 8, 1))
    found = denoised(TASK, training_apply(bundle), bundle.parameters, noise, t=jnp.ones(4), prompts=jnp.asarray(prompts))
    np.testing.assert_allclose(found, draw_images(bundle, prompts, num=4, seed=3), rtol=1e-4, atol=1e-4)


def test_each_time_has_its_share_of_a_batch():
    times = uniform_times(4)
    for uniform in (jnp.zeros(8), jnp.full(8, 0.9999999)):
        found, counts = np.unique(drawn_times(times, uniform), return_counts=True)
        np.testing.assert_array_equal(found, [0.25, 0.5, 0.75, 1.0])
        np.testing.assert_array_equal(counts, [2, 2, 2, 2])


def test_the_classifier_is_trained_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(adversarial_module, "_CLASSIFIER_STEPS", 2)
    adversarial(given(tmp_path), ADD)
    (kept,) = (tmp_path / "features").glob("*.safetensors")
    before = kept.stat().st_mtime_ns
    (phase,) = adversarial(given(tmp_path), ADD)
    assert kept.stat().st_mtime_ns == before
    assert phase.title == "Adversarial distillation to 1 step"


def test_data_without_labels_need_features_from_python(tmp_path, monkeypatch):
    digits = load_examples("digits", TASK.scale, split="train")
    unlabelled = dataclasses.replace(digits, info=dataclasses.replace(digits.info, num_classes=None))
    monkeypatch.setattr(adversarial_module, "open_examples", lambda *_, **__: unlabelled)
    with pytest.raises(InputError, match=r"'digits' has no labels, and the discriminator .* from Python with `feature_maps`"):
        adversarial(given(tmp_path), ADD)
    assert len(adversarial(given(tmp_path), ADD, feature_maps=MAPS)) == 1


def test_a_teacher_that_always_had_a_prompt_gives_no_guided_scores(tmp_path):
    guided = dataclasses.replace(given(tmp_path), teacher=with_settings(STUDENT, guidance_scale=3.0, prompt_dropout=0.0))
    with pytest.raises(InputError, match=r"cannot be guided; use one .* or guidance_scale: 1 in its training.yaml"):
        adversarial(guided, ADD, feature_maps=MAPS)
    without = ADD.model_copy(update={"distillation_weight": 0.0})
    assert len(adversarial(guided, without, feature_maps=MAPS)) == 1


def test_a_student_starts_from_the_levels_that_it_samples_at():
    assert UfogenSettings(method="ufogen", steps=2).times == 2
    assert UfogenSettings(method="ufogen", steps=2, num_times=4).times == 4
    with pytest.raises(ValueError, match="num_times must be a multiple of steps=2, got 3; use 2, or leave it out"):
        UfogenSettings(method="ufogen", steps=2, num_times=3)
