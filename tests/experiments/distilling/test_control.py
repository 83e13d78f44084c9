"""A plug-in on digits: nothing at first, it learns to follow, the network stays, and what a bundle with one can do."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments_fixtures.networks import TINY
from PIL import Image

from experiments import cli
from experiments.bundle import Bundle, apply_network, read_bundle, with_settings, write_bundle
from experiments.bundle_quality import verify_bundle
from experiments.config import load_config
from experiments.control_file import condition_of, following, read_control, write_control
from experiments.distilling.control import control
from experiments.distilling.distill import distill_as_asked
from experiments.distilling.settings import ControlSettings
from experiments.errors import InputError
from experiments.fitting import Given
from experiments.handoff import training_settings
from experiments.progress import silent_progress
from experiments.sampling import sampler_of
from experiments.training import with_fresh_weights
from search_space import Architecture, Level, Stage

SETTINGS = training_settings(load_config("digits-small"), "fresh weights").model_copy(
    update={"batch_size": 16, "warmup_steps": 0, "ema_decay": 0.5, "sample_steps": 1}
)


def started(architecture):
    """A bundle none of whose kernels is zero."""
    bundle = with_fresh_weights(Bundle(architecture, SETTINGS, {}), 0)
    network = {path: x + 0.05 for path, x in bundle.parameters["network"].items()}
    return dataclasses.replace(bundle, parameters={**bundle.parameters, "network": network})


STUDENT = started(TINY)


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("control")
    write_bundle(folder / "bundle", STUDENT, expected={}, card="")
    keys = ("updates=60", "learning_rate=1e-2", "condition=edges", "reconstruction_weight=100")
    [made] = distill_as_asked(folder / "bundle", keys, method="control")
    return made


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """Of another size and in colours."""
    path = tmp_path_factory.mktemp("picture") / "seven.png"
    image = np.zeros((20, 30, 3), np.uint8)
    image[4:8, 8:24] = image[4:16, 18:22] = 255
    Image.fromarray(image).save(path)
    return path


def test_a_bundle_with_a_plug_in_is_the_bundle_as_it_was_and_a_file(made):
    for part, parameters in read_bundle(made).parameters.items():
        for path, x in parameters.items():
            np.testing.assert_array_equal(x, STUDENT.parameters[part][path])
    condition, parameters = read_control(made)
    assert condition == "edges"
    assert parameters["encoder/blocks/input_convolution/conv/kernel"].shape[2] == 2
    assert all(check.is_kept for check in verify_bundle(made))


def test_the_plug_in_has_learned(made):
    losses = [entry["reconstruction"] for entry in json.loads((made / "history.json").read_text())]
    assert losses[-1] < 0.8 * losses[0]
    first, *_, last = (np.asarray(Image.open(file), int) for file in sorted((made / "samples").glob("*.png")))
    assert np.abs(first - last).max() > 1


def test_sample_follows_a_picture_of_any_size(made, picture, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, extra in zip(files, ((), ("--condition", picture), ("--condition", picture, "--guidance", 2)), strict=True):
        assert run("sample", made, "--num", 4, "--out", file, *extra) == 0
    plain, followed, guided = (np.asarray(Image.open(file), int) for file in files)
    assert plain.shape == followed.shape == guided.shape
    assert np.abs(plain - followed).max() > 1
    assert np.abs(guided - followed).max() <= 1  # this network has no attention, and ignores prompts; another follows below


def test_a_fresh_plug_in_draws_what_the_network_draws(made, picture, tmp_path):
    bundle = read_bundle(made)
    [phase] = control(Given(bundle, bundle, 0, tmp_path, silent_progress()), ControlSettings(method="control", updates=1))
    fitting = phase.fitting(bundle)
    plug_in = fitting.trained(fitting.state)["control"]
    scale = bundle.task.scale
    inputs = (jax.random.normal(jax.random.key(0), (3, 8, 8, 1)), jnp.full(3, 1000.0))
    context = jnp.ones((3, scale.context_length, scale.context_width))
    follow = following(bundle, condition_of(bundle, picture, "edges"))
    found = follow(bundle.parameters["network"], *inputs, context, plug_in)
    plain = apply_network(bundle.network(), bundle.parameters["network"], *inputs, context)
    np.testing.assert_array_equal(found, plain)


def test_without_held_out_examples_a_training_image_is_followed(tmp_path):
    for label in range(10):
        path = tmp_path / "data" / "train" / str(label) / "0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.eye(8, k=label - 5, dtype=np.uint8) * 255).save(path)
    bundle = dataclasses.replace(STUDENT, settings=SETTINGS.model_copy(update={"data": str(tmp_path / "data")}))
    [phase] = control(Given(bundle, bundle, 0, tmp_path, silent_progress()), ControlSettings(method="control", updates=1))
    fitting = phase.fitting(bundle)
    parameters = {**bundle.parameters, **fitting.trained(fitting.state)}
    assert phase.drawer(bundle, 0)(parameters, tmp_path / "grid.png").is_file()


def test_guidance_is_heeded_beside_a_condition(picture, tmp_path):
    level = Level(1, Stage(1, transformer_depth=1, attention="cross"), Stage(1))
    bundle = started(Architecture((level,)).canonical())
    [phase] = control(Given(bundle, bundle, 0, tmp_path, silent_progress()), ControlSettings(method="control", updates=1))
    fitting = phase.fitting(bundle)
    follow, prompts = following(bundle, condition_of(bundle, picture, "edges")), np.array([[3]], np.int32)
    plain, guided = (
        sampler_of(with_settings(bundle, guidance_scale=scale), prompts, num=2, seed=0, apply=follow)(
            bundle.parameters, fitting.trained(fitting.state)["control"]
        )
        for scale in (1.0, 4.0)
    )
    assert np.abs(plain - guided).max() > 1e-3


def test_what_is_not_carried_on_is_said(made, tmp_path, capsys):
    assert run("train", made, "--steps", 1, "--out", tmp_path / "trained") == 0
    assert (
        run("distill", made, "--method", "progressive", "steps=1", "from_steps=2", "updates=1", "--out", tmp_path / "distilled")
        == 0
    )
    assert run("export", made, "--format", "stablehlo", "--out", tmp_path / "exported") == 0
    assert capsys.readouterr().err.count("control.safetensors is left out: it belongs to the network as it is here") == 3
    for name in ("trained", "distilled", "exported"):
        assert not (tmp_path / name / "control.safetensors").exists()


def test_a_picture_or_a_plug_in_that_does_not_go_is_refused(made, picture, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    for bundle, image, message in (
        (made.parent, picture, "has no plug-in to follow a condition; `pocketunet distill"),
        (made, tmp_path / "text.png", "text.png: the image does not decode"),
        (made, tmp_path / "none.png", "none.png' does not exist"),
    ):
        assert run("sample", bundle, "--condition", image) == 2
        assert message in capsys.readouterr().err


def test_a_file_of_another_bundle_or_condition_is_refused(made, tmp_path):
    _, parameters = read_control(made)
    write_bundle(tmp_path / "a", STUDENT, expected={}, card="")
    write_control(tmp_path / "a", parameters, condition="depth")
    with pytest.raises(InputError, match="key 'condition' must be one of edges, blurred, got 'depth'; train it anew"):
        read_control(tmp_path / "a")
    fresh = with_fresh_weights(STUDENT, 1)
    write_bundle(tmp_path / "a", fresh, expected={}, card="")
    with pytest.raises(InputError, match=r"control.safetensors: it is the plug-in of other weights than .*weights.safetensors"):
        read_control(tmp_path / "a")


def test_latents_have_no_picture(picture):
    scale = STUDENT.settings.scale.model_copy(update={"in_channels": 4, "out_channels": 4})
    latents = Bundle(STUDENT.architecture, SETTINGS.model_copy(update={"scale": scale}), {})
    with pytest.raises(InputError, match="--condition .*: the network draws latents of 4 channels, .* leave it out"):
        condition_of(latents, picture, "edges")


def test_low_rank_updates_are_of_nothing_here():
    with pytest.raises(ValueError, match="control trains a plug-in and no weights, so that lora_rank=4 is of nothing"):
        ControlSettings(method="control", lora_rank=4)
