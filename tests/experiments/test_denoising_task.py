"""A data set is held to its scale before anything is trained on it."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffusion import per_sample, uniform_times
from experiments.data import write_latents
from experiments.denoising_task import DenoisingTask, all_examples, open_examples
from experiments.errors import InputError
from search_space import get_scale

SCALE = get_scale("digits-proxy")
ENCODED = dataclasses.replace(SCALE, in_channels=4, context_length=7, context_width=3, vocabulary=0)


@pytest.fixture
def latents(tmp_path):
    """Twenty latents of 8x8x4 with encoded contexts of 7x3."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(20, 8, 8, 4)).astype(np.float32)
    return str(write_latents(tmp_path / "latents.npz", images, context=np.ones((20, 7, 3), np.float32)))


def test_what_fits_is_opened(latents):
    assert open_examples("digits", SCALE, split="train").info.num_examples == 1197
    assert open_examples(latents, ENCODED, split="train").info.context_shape == (7, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 16}, "`resolution`=16 does not fit the latents"),
        ({"vocabulary": 11}, "gives encoded contexts, scale 'digits-proxy' wants tokens; choose another scale"),
        ({"context_length": 77}, r"has contexts of shape \(7, 3\), scale 'digits-proxy' wants \(77, 3\); encode them again"),
    ],
)
def test_latents_that_do_not_fit_are_refused(latents, changes, message):
    with pytest.raises(InputError, match=message):
        open_examples(latents, dataclasses.replace(ENCODED, **changes), split="train")


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (0, "gives tokens, scale 'digits-proxy' wants encoded contexts"),
        (10, "needs a vocabulary of 11 tokens, scale 'digits-proxy' has 10; choose a scale with a larger one"),
    ],
)
def test_labels_that_do_not_fit_are_refused(vocabulary, message):
    with pytest.raises(InputError, match=f"data set 'digits' {message}"):
        open_examples("digits", dataclasses.replace(SCALE, vocabulary=vocabulary), split="train")


def test_captions_want_a_token_for_every_byte(tmp_path):
    for number in range(12):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a digit")
    with pytest.raises(InputError, match="needs a vocabulary of 257 tokens"):
        open_examples(str(tmp_path), SCALE, split="train")
    scale = get_scale("captions16-proxy")
    images, prompts = all_examples(open_examples(str(tmp_path), scale, split="train"), scale)
    assert images.shape[1:] == (16, 16, 3)
    assert [prompts[0][:8].tolist(), prompts.shape[1]] == [[byte + 1 for byte in b"a digit"] + [0], 96]


def test_encoded_contexts_pass_as_they_are():
    task, contexts = DenoisingTask(ENCODED), jnp.ones((2, 7, 3))
    assert task.prompt_parameters(0) == {}
    assert task.encode({}, contexts) is contexts


@pytest.mark.parametrize("num_steps", [1, 3, 8])
def test_times_of_a_sampler_are_each_drawn_as_often(num_steps):
    task, n = DenoisingTask(SCALE), 24
    images, prompts = jnp.ones((n, 8, 8, 1)), jnp.ones((n, 1), jnp.int32)
    (x_t, timestep, _), target = task.noisy_batch(jnp.uint32(0), jnp.uint32(1), images, prompts, num_steps=num_steps)
    expected = 1000 * np.sort(uniform_times(num_steps)).repeat(n // num_steps)
    np.testing.assert_allclose(timestep, expected, rtol=1e-6)
    alpha, sigma = (per_sample(of(timestep / 1000), x_t) for of in (task.schedule.alpha, task.schedule.sigma))
    np.testing.assert_allclose(alpha * x_t - sigma * target, images, atol=1e-5)
