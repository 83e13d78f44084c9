"""End to end on captioned shapes: the shipped sweep, shrunk; agreement with prompts; pictures of a caption."""

import json
import pathlib

import numpy as np
import pytest

from experiments import cli, feasibility
from experiments.bundle import read_bundle
from experiments.config import load_config
from experiments.data.shapes import ATTRIBUTES, NUM_SCENES, SIZES
from experiments.pipeline import run_sweep
from experiments.progress import silent_progress
from experiments.prompt_agreement import sweep_agreement
from experiments.quality import mixed
from experiments.quality_measuring import MeasuredQuality
from experiments.quality_texts import measured_table
from experiments.run_folder import read_run
from experiments.sample_features import sweep_classifier
from objectives import Estimate
from objectives.agreement import attribute_values

# One network but for widths and convolutions: everything is there, and compiles in seconds.
KEPT = "*.num_blocks=1,*.transformer_depth=1,*.attention=cross,*.attention_function=softmax,*.expansion=2,*.shared_kv=false"
SHRUNK = [
    f"space={json.dumps(f'shapes[{KEPT}]')}",
    "supernet.num_steps=4",
    "supernet.largest_steps=1",
    "features.num_steps=40",
    "latency.num_architectures=8",
    "latency.rounds=2",
    "trials=3",
    "search.population=4",
    "search.executor=local",
    "quality.loss_samples=64",
    "quality.num_steps=2",
    "distill.num_steps=2",
]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shapes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feasibility, "_NUM_SAMPLES", 20)
        run_sweep(load_config("shapes", [*SHRUNK, f"run_dir={json.dumps(str(folder))}"]), silent_progress())
    return folder


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


@pytest.mark.slow
def test_the_winner_has_a_text_encoder_and_draws_a_caption(run_dir, tmp_path, capsys):
    winner = read_bundle(run_dir / "winner" / "distilled")
    assert winner.settings.scale.prompt_layers == 2
    assert any(path.startswith("layers/1/") for path in winner.parameters["prompt"])
    one, other = (tmp_path / f"{name}.png" for name in "ab")
    for path, caption in ((one, "two red circles on the left"), (other, "three blue crosses at the top")):
        assert _run("sample", run_dir / "winner" / "distilled", "--num", 2, "--out", path, "--prompt", caption) == 0
    assert one.read_bytes() != other.read_bytes()


@pytest.mark.slow
def test_agreement_is_measured_beside_what_real_images_reach(run_dir, capsys):
    ids = ",".join([read_run(run_dir).knee.digest, "front"])
    assert _run("quality", "measure", run_dir, "--ids", ids, "--n", 40, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    names = {"agreement", *(f"agreement_{attribute.name}" for attribute in ATTRIBUTES)}
    for measured in found:
        assert names < set(measured["estimates"])
        assert set(measured["held_out"]) == names
        assert all(0 <= measured["estimates"][name]["value"] <= 1 for name in names)
        assert measured["held_out"]["agreement"]["n"] == 3 * NUM_SCENES
        assert measured["estimates"]["agreement"]["n"] == 40
    assert all(names < set(measured["differences"]) for measured in found[1:])


@pytest.mark.slow
def test_a_sample_is_held_to_the_prompt_that_it_follows(run_dir):
    config = load_config(run_dir / "sweep.yaml")
    found = sweep_agreement(config, lambda: sweep_classifier(config, run_dir, silent_progress()))
    labels = 217 * np.arange(3 * NUM_SCENES) % NUM_SCENES
    assert np.array_equal(found.wanted, attribute_values(labels[mixed(len(labels))], SIZES))
    assert found.sizes == SIZES


def test_what_real_images_reach_stands_above_what_samples_do():
    names = ("frechet_classifier", "agreement", "agreement_shape")
    estimates = {
        name: Estimate(value, value - 0.125, value + 0.125, 40) for name, value in zip(names, (3, 0.5, 0.25), strict=True)
    }
    extractor = {"name": "classifier", "digest": "0123456789abcdef", "preprocessing": ""}
    ceiling, picture = {name: Estimate(1.0, 1.0, 1.0, 1080) for name in names[1:]}, pathlib.Path("quality/how/1.png")
    first, second = (
        MeasuredQuality(digest, "how", extractor, estimates, differences, ceiling, None, 1197, picture)
        for digest, differences in (("first", {}), ("second", estimates))
    )
    lines = [line.split() for line in measured_table([first, second]).splitlines()]
    assert lines[0] == ["frechet_classifier"]
    header = lines.index(["agreement", "agreement_shape"])
    assert [line[0] for line in lines[header + 1 : header + 4]] == ["held-out", "first", "second"]
    assert ["second", "0.5", "[0.375,", "0.625]", "0.25", "[0.125,", "0.375]"] in lines[header + 4 :]  # their differences


def test_digits_have_no_attributes(tmp_path):
    config = load_config("digits-small", ["features.num_steps=1"])
    assert sweep_agreement(config, lambda: sweep_classifier(config, tmp_path, silent_progress())) is None
