"""A small convolutional network's samples and losses, by how they are batched; run as a program, it prints their digests."""

import hashlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from experiments.denoising_task import DenoisingTask
from experiments.quality import SampleSettings, loss_program, sample_program
from objectives.denoising import mid_band_times
from search_space import get_scale

TASK = DenoisingTask(get_scale("digits-proxy"))
SETTINGS = SampleSettings(num_samples=150, num_steps=3, sampler="ddim", guidance_scale=2.0)
NUM_IMAGES = 70


def predict(network, x, timestep, context):
    """Two convolutions, with the time and the prompt between them."""
    added = (timestep / 1000)[:, None] * network["time"][None] + context.mean(axis=1) @ network["prompt"]
    hidden = jnp.tanh(_convolution(x, network["first"]) + added[:, None, None])
    return _convolution(hidden, network["second"])


def _convolution(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def parameters():
    """Seeded weights."""
    rng = np.random.default_rng(0)
    shapes = {"first": (3, 3, 1, 24), "second": (3, 3, 24, 1), "time": (24,), "prompt": (32, 24)}
    network = {name: jnp.asarray(0.3 * rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    return {"network": network, "prompt": TASK.prompt_parameters(0)}


def drawn(**how):
    """Samples, and losses of made-up images."""
    rng = np.random.default_rng(1)
    images = np.clip(rng.normal(size=(NUM_IMAGES, 8, 8, 1)), -1, 1).astype(np.float32)
    prompts = rng.integers(1, 11, (NUM_IMAGES, 1)).astype(np.int32)
    samples = sample_program(TASK, predict, prompts, SETTINGS, **how)(parameters())
    return samples, loss_program(TASK, predict, images, prompts, times=mid_band_times(150), **how)(parameters())


def digest(array):
    """Of the bits of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


if __name__ == "__main__":
    held = jax.device_put(parameters(), jax.devices()[0])  # as what was restored from a checkpoint is
    parameters = lambda: held  # noqa: E731
    assert len(jax.devices()) == int(sys.argv[1])
    print(*map(digest, drawn()))
