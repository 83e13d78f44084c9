"""From softmax to ReLU attention: what changes, what stays, that it learns, and what is refused."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bundle import Bundle, TrainingSettings
from experiments.denoising_task import load_examples, training_examples
from experiments.distilling.knowledge import PROJECTIONS
from experiments.distilling.relu_attention import relu_attention, with_relu_attention
from experiments.distilling.settings import ReluAttentionSettings
from experiments.errors import InputError
from experiments.fitting import Given
from experiments.progress import silent_progress
from experiments.training import with_fresh_weights
from search_space import Architecture, get_scale
from search_space.architecture import Level, Stage
from supernet import unet_parameters

SCALE = get_scale("digits-proxy")
CONVOLUTIONS = Architecture((Level(1, Stage(1), Stage(1)),)).canonical()
SOFTMAX = Architecture(
    (Level(1, Stage(1, transformer_depth=1), Stage(1)),), mid=Stage(2, transformer_depth=1, attention="self")
).canonical()
SETTINGS = ReluAttentionSettings(method="relu-attention", output_weight=1.0, feature_weight=1.0)


def bundle_of(architecture):
    settings = {"origin": "fresh", "scale": dataclasses.asdict(SCALE), "data": "digits", "num_steps": 30, "batch_size": 32}
    settings |= {"learning_rate": 3e-3, "warmup_steps": 2, "ema_decay": 0.5}
    return with_fresh_weights(Bundle(architecture, TrainingSettings.model_validate(settings), {}), 0)


def with_strong_attention(bundle):
    """In a fresh network attention adds nothing yet, and its scores are near 0."""
    rng = np.random.default_rng(1)
    noise = {
        path: x.shape[0] ** -0.5 * rng.standard_normal(x.shape, np.float32) for path, x in bundle.parameters["network"].items()
    }
    network = {path: x + 2 * noise[path] * ("attention" in path) for path, x in bundle.parameters["network"].items()}
    return dataclasses.replace(bundle, parameters={**bundle.parameters, "network": network})


def given(student, teacher):
    return Given(student, teacher, 0, Path(), silent_progress())


def test_every_stage_with_softmax_has_relu_and_the_weights_keep_their_shapes():
    relu = with_relu_attention(SOFTMAX)
    assert {relu.levels[0].down.attention_function, relu.mid.attention_function} == {"relu"}
    assert relu.levels[0].up == SOFTMAX.levels[0].up  # it has no attention
    back = [dataclasses.replace(x, attention_function="softmax") for x in (relu.levels[0].down, relu.mid)]
    assert back == [SOFTMAX.levels[0].down, SOFTMAX.mid]
    shapes = [{path: x.shape for path, x in unet_parameters(bundle_of(x).network()).items()} for x in (SOFTMAX, relu)]
    assert shapes[0] == shapes[1]
    assert relu.digest != SOFTMAX.digest


def test_the_network_with_relu_learns_what_it_did_with_softmax():
    softmax = with_strong_attention(bundle_of(SOFTMAX))
    [phase] = relu_attention(given(softmax, softmax), SETTINGS)
    assert (phase.architecture, phase.num_steps) == (with_relu_attention(SOFTMAX), 30)
    fitting = phase.fitting(dataclasses.replace(softmax, architecture=phase.architecture))
    assert not fitting.state.parameters[PROJECTIONS]
    dataset = load_examples("digits", SCALE, split="train")
    examples = training_examples(dataset, SCALE, batch_size=32, seed=1)
    state, found = fitting.state, []
    for number, (images, prompts) in zip(range(1, 31), examples, strict=False):
        state, losses = fitting.step(state, jnp.uint32(0), jnp.uint32(number), images, prompts, jnp.float32(1))
        found.append({name: float(x) for name, x in losses.items()})
    for name in ("loss", "features"):
        first, last = (np.mean([losses[name] for losses in span]) for span in (found[:3], found[-3:]))
        assert last < 0.5 * first, name
    assert set(fitting.trained(state)) == {"network", "prompt"}


@pytest.mark.parametrize("architecture", [CONVOLUTIONS, with_relu_attention(SOFTMAX)], ids=["no attention", "relu"])
def test_a_network_without_softmax_attention_is_refused(architecture):
    student = bundle_of(architecture)
    with pytest.raises(InputError, match=f"network {architecture.digest} has no softmax attention to change; leave relu-att"):
        relu_attention(given(student, student), SETTINGS)
