"""Sample i depends on i alone: on no batch, on no number of samples or devices."""

import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))

from drawn_samples import SETTINGS, TASK, digest, drawn, parameters, predict

from diffusion import sample_noise
from experiments import quality
from experiments.quality import SampleSettings, loss_program, sample_program
from objectives.extractor import features
from objectives.features import Classifier, classifier_extractor

PROMPTS = np.arange(1, 11, dtype=np.int32)[:, None]


@pytest.mark.parametrize("chunk", [1, 7])
def test_samples_and_features_do_not_depend_on_the_batch(chunk):
    from flax import nnx

    (samples, losses), (others, other_losses) = drawn(), drawn(chunk=chunk)
    np.testing.assert_allclose(others, samples, atol=1e-5 * np.abs(samples).max())
    np.testing.assert_allclose(other_losses, losses, rtol=1e-5)
    extractor = classifier_extractor(Classifier((8, 8, 1), num_classes=10, rngs=nnx.Rngs(0)))
    expected, found = features(extractor, samples), features(extractor, others)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_more_samples_begin_with_the_same_to_the_bit():
    more = SampleSettings(**{**vars(SETTINGS), "num_samples": 333})
    few, many = (sample_program(TASK, predict, PROMPTS, settings)(parameters()) for settings in (SETTINGS, more))
    assert digest(many[: len(few)]) == digest(few)


def test_losses_of_a_part_are_those_of_the_whole_to_the_bit():
    images = np.random.default_rng(0).normal(size=(50, 8, 8, 1)).astype(np.float32)
    prompts, times = np.resize(PROMPTS, (50, 1)), np.linspace(0.01, 0.99, 192, dtype=np.float32)
    whole = loss_program(TASK, predict, images, prompts, times=times)(parameters())
    part = loss_program(TASK, predict, images, prompts, times=times[64:128], first_sample=64)(parameters())
    assert digest(part) == digest(whole[64:128])


def test_noise_and_prompts_are_those_of_the_sample_to_the_bit(monkeypatch):
    """What samplers are given, whatever the batch: a sampler hands the noise on, with the prompt's context below it."""

    def sampler(denoiser, noise, **settings):
        context = denoiser(noise)
        return jnp.concatenate([noise, context[:, :, :8, None]], axis=1)

    monkeypatch.setattr(quality, "get_sampler", lambda name: sampler)
    monkeypatch.setattr(quality, "guided_denoiser", lambda network, context, **settings: lambda x: context)
    seen = {chunk: sample_program(TASK, predict, PROMPTS, SETTINGS, chunk=chunk)(parameters()) for chunk in (1, 7, 64)}
    noise = sample_noise(quality._SAMPLE_SEED, jnp.arange(SETTINGS.num_samples), (8, 8, 1))
    np.testing.assert_array_equal(seen[64][:, :8], noise)
    assert digest(seen[64][:10]) != digest(seen[64][10:20])
    np.testing.assert_array_equal(seen[64][:10, 8:], seen[64][10:20, 8:])  # prompts are counted round
    assert digest(seen[1]) == digest(seen[7]) == digest(seen[64])


def test_two_devices_draw_the_same_to_the_bit():
    program = Path(__file__).parent / "drawn_samples.py"
    said = []
    for num in (1, 2):
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={num}"
        run = subprocess.run(
            [sys.executable, str(program), str(num)],
            env={**os.environ, "XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(run.stdout.split())
    assert len(said[0]) == 2
    assert said[0] == said[1]
