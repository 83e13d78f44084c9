"""`supernet init` fills a supernet from a bundle, a sweep starts from it, and what does not fit is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from experiments_fixtures.unet_folders import make_unet_folder

from experiments import cli
from experiments.bundle import Bundle, TrainingSettings, read_bundle, write_bundle
from experiments.bundle_quality import expectations
from experiments.config import load_config
from experiments.errors import InputError
from experiments.supernet_start import check_start
from experiments.supernet_training import first_state, sweep_supernet
from experiments.weights import import_weights
from search_space import Architecture, Level, Stage, get_scale, get_space, layer_plan
from supernet import UNet, extract, unet_parameters
from supernet.initializer import random_initializer

# The mobile-sd space at an eighth of Stable Diffusion's widths.
MOBILE = {
    "block_out_channels": [40, 80, 160, 160], "norm_num_groups": 4, "attention_head_dim": 4, "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}  # fmt: skip


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


def _digits_bundle(folder: Path, architecture: Architecture) -> Path:
    """A bundle of the digits' proxy scale whose weights are drawn, biases and last layers too."""
    scale = get_scale("digits-proxy")
    weights = unet_parameters(UNet(layer_plan(architecture, scale), init=random_initializer(3)))
    rng = np.random.default_rng(4)
    weights = {path: x + 0.05 * rng.standard_normal(x.shape, np.float32) for path, x in weights.items()}
    settings = TrainingSettings.model_validate({"origin": "drawn", "scale": dataclasses.asdict(scale), "data": "digits"})
    bundle = Bundle(architecture, settings, {"network": weights, "prompt": {}})
    bundle = dataclasses.replace(bundle, parameters={"network": weights, "prompt": bundle.task.prompt_parameters(5)})
    write_bundle(folder, bundle, expected=expectations(bundle), card="")
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> tuple[Path, Path]:
    """A bundle of the largest architecture of `digits-small`, and the start that is made of it."""
    folder = tmp_path_factory.mktemp("starts")
    bundle = _digits_bundle(folder / "bundle", get_space("digits-small").largest())
    assert _run("supernet", "init", "--from", bundle, "--space", "digits-small", "--out", folder / "start") == 0
    return bundle, folder / "start"


@pytest.mark.slow
def test_an_imported_unet_fills_a_supernet_of_mobile_sd(tmp_path, capsys):
    bundle = import_weights(make_unet_folder(tmp_path / "unet", **MOBILE), tmp_path / "bundle")
    assert _run("supernet", "init", "--from", bundle, "--space", "mobile-sd", "--out", tmp_path / "start") == 0
    printed = capsys.readouterr().out
    assert "the largest subnet equals the teacher: relative error" in printed
    assert "hands its input on" in printed
    description = json.loads((tmp_path / "start" / "start.json").read_text())
    assert description["scale"]["base_width"] == 8
    assert description["relative_error"] < 1e-5
    assert description["block_map"]["up2.2.residual"] == "up2.1.residual"


def test_a_sweep_starts_its_supernet_there(digits):
    bundle, start = digits
    state = first_state(load_config("digits-small", [f"supernet.start={start}"]))
    supernet = sweep_supernet(load_config("digits-small"))
    expected = read_bundle(bundle).parameters
    for found in (state.parameters, state.average):
        network = unet_parameters(extract(supernet, found["network"], supernet.space.largest()))
        for path, array in expected["network"].items():
            np.testing.assert_array_equal(network[path], array, err_msg=path)
        jax.tree.map(np.testing.assert_array_equal, found["prompt"], expected["prompt"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("space=digits", "key 'space' must be 'digits', got 'digits-small'; make it with `pocketunet supernet init"),
        ("proxy_scale=digits-deploy", "must be"),
        ("supernet.start=nowhere", "nowhere/start.json: cannot be read"),
    ],
)
def test_a_start_of_another_supernet_is_refused_before_anything_is_written(tmp_path, digits, capsys, override, message):
    run = tmp_path / "run"
    assert _run("sweep", "digits-small", f"supernet.start={digits[1]}", override, "--run-dir", run) == 2
    assert message in capsys.readouterr().err
    assert not run.exists()


def test_a_teacher_that_does_not_fit_is_refused(tmp_path, capsys):
    narrow = Architecture((Level(1, Stage(1), Stage(2)), Level(2, Stage(1), Stage(1))))
    bundle = _digits_bundle(tmp_path / "bundle", narrow)
    assert _run("supernet", "init", "--from", bundle, "--space", "digits", "--out", tmp_path / "start") == 2
    error = capsys.readouterr().err
    assert "does not fit" in error
    assert "it has 2 levels, the largest network of the space 3" in error
    assert not (tmp_path / "start").exists()
    assert _run("supernet", "init", "--from", bundle, "--space", "digit", "--out", tmp_path / "start") == 2
    assert "did you mean 'digits'?" in capsys.readouterr().err


def test_an_existing_folder_is_not_overwritten(tmp_path, digits, capsys):
    before = sorted(digits[1].rglob("*"))
    assert _run("supernet", "init", "--from", digits[0], "--space", "digits-small", "--out", digits[1]) == 2
    assert "it exists already; choose another folder with --out" in capsys.readouterr().err
    assert sorted(digits[1].rglob("*")) == before


def test_a_start_from_before_scales_had_a_field_still_serves(tmp_path, digits):
    older = tmp_path / "start"
    shutil.copytree(digits[1], older)
    description = json.loads((older / "start.json").read_text())
    del description["scale"]["prompt_layers"]
    (older / "start.json").write_text(json.dumps(description))
    supernet = sweep_supernet(load_config("digits-small"))
    check_start(older, supernet)
    description["scale"]["prompt_layers"] = 1
    (older / "start.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"key 'scale\.prompt_layers' must be 0, got 1; choose that proxy_scale"):
        check_start(older, supernet)


def test_a_plug_in_of_the_bundle_is_left_out_and_said(digits, tmp_path, capsys):
    shutil.copytree(digits[0], tmp_path / "bundle")
    (tmp_path / "bundle" / "control.safetensors").touch()
    assert _run("supernet", "init", "--from", tmp_path / "bundle", "--space", "digits", "--out", tmp_path / "start") == 2
    assert "control.safetensors is left out: it belongs to the network as it is here" in capsys.readouterr().err
