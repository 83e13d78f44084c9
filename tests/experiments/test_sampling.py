"""What a bundle draws for which prompt: captions by their words, classes by their names."""

import dataclasses

import numpy as np
import pytest

from experiments import cli, sampling
from experiments.bundle import Bundle, TrainingSettings, write_bundle
from experiments.data import write_latents
from experiments.data.shapes import WORDS
from search_space import Architecture, Level, Scale, Stage, get_scale
from supernet import UNet, unet_parameters
from supernet.initializer import random_initializer


def bundle_of(folder, scale: Scale, data: str):
    """A bundle that nobody trained, with a very small network."""
    settings = TrainingSettings.model_validate({"origin": "drawn", "scale": dataclasses.asdict(scale), "data": data})
    bundle = Bundle(Architecture((Level(2, Stage(1), Stage(1)),)), settings, {"network": {}, "prompt": {}})
    network = unet_parameters(UNet(bundle.plan, init=random_initializer(0)))
    bundle = dataclasses.replace(bundle, parameters={"network": network, "prompt": bundle.task.prompt_parameters(0)})
    write_bundle(folder, bundle, expected={}, card="")
    return folder


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


@pytest.fixture
def drawn(monkeypatch):
    """The prompts that images were asked for; none is drawn."""
    asked = []

    def draw(bundle, prompts, *, num, seed):
        asked.extend(prompts.tolist())
        scale = bundle.task.scale
        return np.zeros((num, scale.resolution, scale.resolution, scale.in_channels), np.float32)

    monkeypatch.setattr(sampling, "draw_images", draw)
    return asked


def test_captions_are_drawn_in_turn(tmp_path, drawn):
    bundle = bundle_of(tmp_path / "bundle", get_scale("shapes16-proxy"), "shapes")
    prompts = ("two red circles on the left", "Three blue crosses")
    assert run("sample", bundle, "--num", 3, *(x for prompt in prompts for x in ("--prompt", prompt))) == 0
    said = [" ".join(WORDS[token - 1] for token in row if token) for row in drawn]
    assert said == ["two red circles on the left", "three blue crosses"]
    assert (bundle / "samples.png").is_file()


@pytest.mark.parametrize("name", ["picture", "grid.foo", "grid.psd"])  # the last is read, and not written
def test_a_picture_of_an_unknown_kind_is_refused_before_anything_is_drawn(tmp_path, drawn, capsys, name):
    bundle = bundle_of(tmp_path / "bundle", get_scale("digits-proxy"), "digits")
    assert run("sample", bundle, "--out", tmp_path / name) == 2
    stem = name.partition(".")[0]
    told = f"{tmp_path / name}: no kind of picture that can be written ends so; use for example {tmp_path / stem}.png"
    assert told in capsys.readouterr().err
    assert not drawn


def test_without_prompts_captions_of_the_data_are_drawn(tmp_path, drawn):
    assert run("sample", bundle_of(tmp_path / "bundle", get_scale("shapes16-proxy"), "shapes"), "--num", 2) == 0
    assert len(drawn) == 10
    assert all(token for row in drawn for token in row)
    assert len(set(map(tuple, drawn))) == 10


def test_classes_are_drawn_by_name_or_all_in_turn(tmp_path, drawn):
    bundle = bundle_of(tmp_path / "bundle", get_scale("digits-proxy"), "digits")
    assert run("sample", bundle, "--prompt", "7", "--prompt", "0") == 0
    assert drawn == [[8], [1]]
    assert run("sample", bundle) == 0
    assert drawn[2:] == [[1 + label] for label in range(10)]


def test_a_network_that_always_had_its_prompt_is_not_guided(tmp_path, drawn, capsys):
    bundle = bundle_of(tmp_path / "bundle", get_scale("digits-proxy"), "digits")
    assert run("sample", bundle, "--guidance", 3) == 0
    settings = bundle / "training.yaml"
    settings.write_text(f"{settings.read_text()}\nprompt_dropout: 0\n".replace("prompt_dropout: 0.1\n", ""))
    drawn.clear()
    assert run("sample", bundle, "--guidance", 3) == 2
    assert "prompt_dropout is 0 in its training.yaml, so that it cannot be guided; use one" in capsys.readouterr().err
    assert not drawn
    assert run("sample", bundle, "--guidance", 1) == 0


def test_without_held_out_examples_the_first_captions_are_drawn(tmp_path, drawn):
    scale = dataclasses.replace(get_scale("digits-proxy"), in_channels=4, out_channels=4, vocabulary=0)
    context = np.arange(9 * 32, dtype=np.float32).reshape(9, 1, 32)
    data = write_latents(tmp_path / "latents.npz", np.ones((9, 8, 8, 4), np.float32), context=context)
    assert run("sample", bundle_of(tmp_path / "bundle", scale, str(data))) == 0
    assert drawn == context.tolist()


@pytest.mark.parametrize(
    ("scale", "data", "prompt", "message"),
    [
        ("shapes16-proxy", "shapes", "one read circle", "the word 'read' is not known; did you mean 'red'?"),
        ("shapes16-proxy", "shapes", "one red circle in the middle left", "has 7 words, and there is room for 6; shorten it"),
        ("digits-proxy", "digits", "seven", "prompt 'seven' is no class of data set 'digits'; did you mean"),
    ],
)
def test_a_prompt_that_was_not_learned_is_refused(tmp_path, capsys, scale, data, prompt, message):
    bundle = bundle_of(tmp_path / "bundle", get_scale(scale), data)
    assert run("sample", bundle, "--prompt", prompt) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (bundle / "samples.png").exists()


def test_prompts_that_come_encoded_have_no_words(tmp_path, capsys):
    scale = dataclasses.replace(get_scale("digits-proxy"), in_channels=4, out_channels=4, vocabulary=0)
    latents = np.ones((20, 8, 8, 4), np.float32)
    data = write_latents(tmp_path / "latents.npz", latents, context=np.ones((20, 1, 32), np.float32))
    assert run("sample", bundle_of(tmp_path / "bundle", scale, str(data)), "--prompt", "a cat") == 2
    assert "holds prompts that are encoded already; leave it out" in capsys.readouterr().err
