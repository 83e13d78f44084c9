"""End to end: a shipped sweep, shrunk, from real digits to a distilled winner; resumed; and every command on what it leaves."""

import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
from parity.seeded_weights import seeded_inception_tensor
from PIL import Image
from safetensors.numpy import load_file, save_file

from experiments import cli, explaining, feasibility, pipeline, quality_measuring, sample_features
from experiments.bundle import read_bundle
from experiments.bundle_quality import expectations, model_card
from experiments.config import evaluation_settings, load_config, resolved_yaml, with_samples
from experiments.evaluator import SupernetEvaluator, read_inputs
from experiments.ledger_contents import read_ledger
from experiments.pipeline import run_sweep
from experiments.progress import silent_progress
from experiments.provenance import read_provenance
from experiments.quality_measuring import measure_quality
from experiments.run_folder import read_run
from experiments.sample_features import sweep_classifier
from objectives.denoising import mean_estimate
from objectives.extractor import array_digest, function_extractor
from objectives.fingerprint import fingerprint
from objectives.inception_layers import LAYOUTS
from search_space import get_space

ROOT = pathlib.Path(__file__).parents[2]
SHRUNK = [
    "supernet.num_steps=8",
    "supernet.largest_steps=2",
    "features.num_steps=20",
    "latency.num_architectures=8",
    "latency.rounds=2",
    "trials=6",
    "search.population=4",
    "quality.loss_samples=64",
    "distill.num_steps=3",
]


@pytest.fixture(scope="module", autouse=True)
def quick_checks():
    """Looks at fewer architectures for what is feasible: with shape checks on, a thousand of them take half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feasibility, "_NUM_SAMPLES", 20)
        yield


def test_what_was_made_of_an_earlier_winner_is_kept(tmp_path):
    winner = tmp_path / "winner"
    marks = {"distilled": "expected.json", "distilled/exported": "export.json", "trained": "made_by.json"}
    for made, kept in (("distilled", []), ("distilled/exported", ["winner-1"]), ("trained", ["winner-1", "winner-2"])):
        (winner / made).mkdir(parents=True)
        (winner / made / marks[made]).touch()
        (winner / "tensorboard").mkdir()  # a training's own
        pipeline._clear(winner, silent_progress())
        assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert (tmp_path / "winner-1" / "distilled" / "exported").is_dir()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, quick_checks) -> pathlib.Path:
    """A finished run: three evaluations, then, by the same command with a larger goal, three more."""
    folder = tmp_path_factory.mktemp("runs") / "digits-small"
    for goal, ends in ((3, "distill.at_end=false"), (6, "distill.at_end=true")):
        overrides = [*SHRUNK, f"run_dir={json.dumps(str(folder))}", f"trials={goal}", "trackers=[mlflow]", ends]
        run_sweep(load_config("digits-small", overrides), silent_progress())
    return folder


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


def _files(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_resumed_sweep_continues_its_ledger(run_dir):
    contents = read_ledger(run_dir / "ledger.jsonl")
    assert [e.status for e in contents.evaluations] == ["done"] * 6
    assert [asked.index for asked in contents.asked] == list(range(6))
    assert len({e.digest for e in contents.evaluations}) == 6
    assert [session.versions["pocketunet"] for session in read_provenance(run_dir).sessions] == [version("pocketunet")] * 2
    losses = [e.objectives["denoising_loss"] for e in contents.evaluations]
    assert all(estimate.low < estimate.value < estimate.high for estimate in losses)
    assert len({estimate.value for estimate in losses}) == 6


def _mlflow_run(folder):
    """The only run in the MLflow store of a folder, and the points of a metric of it, in the order of their steps."""
    from mlflow import MlflowClient  # while a test runs, it sends nothing about itself

    client = MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("pocketunet").experiment_id])
    return run, lambda name: [(x.step, x.value) for x in client.get_metric_history(run.info.run_id, name)]


def test_a_tracker_has_all_of_a_resumed_sweep_once(run_dir):
    run, points = _mlflow_run(run_dir)
    history = json.loads((run_dir / "supernet" / "history.json").read_text())
    assert points("supernet/loss") == [(point["step"], point["loss"]) for point in history]
    evaluations = read_ledger(run_dir / "ledger.jsonl").evaluations
    losses = [evaluation.objectives["denoising_loss"].value for evaluation in evaluations]
    assert points("search/denoising_loss") == list(enumerate(losses, start=1))
    assert [step for step, _ in points("search/hypervolume")] == [4, 5, 6]
    assert [step for step, _ in points("front/size")] == [3, 6]
    winner, distilled = f"winner_{read_run(run_dir).knee.digest}", run_dir / "winner" / "distilled"
    history = json.loads((distilled / "history.json").read_text())
    assert points(f"{winner}/training/loss") == [(point["step"], point["loss"]) for point in history]
    promises = json.loads((distilled / "expected.json").read_text())["promises"]
    assert points(f"{winner}/expected/denoising_loss") == [(3, promises["denoising_loss"]["value"])]
    assert (run.info.status, run.data.params["trials"], run.data.tags["trials"]) == ("FINISHED", "3", "6")


def test_front_json_says_what_the_issue_of_a_sweep_is(run_dir, capsys):
    assert _run("front", run_dir, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["num_done"], shown["num_failed"], shown["num_infeasible"]) == (6, 0, 0)
    assert shown["front"]
    assert {"denoising_loss", "latency_ms", "parameters", "macs"} <= set(shown["front"][0]["objectives"])
    assert json.loads((run_dir / "front.json").read_text())["front"] == shown["front"]


def test_samples_are_judged_where_an_objective_says_so(run_dir, tmp_path):
    assert not (run_dir / "features").exists()
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    changes = ["objectives=[denoising_loss, frechet_classifier, kid_classifier]"]
    changes += ["quality.num_samples=64", "quality.num_steps=2", "features.num_steps=20"]
    config = load_config(copy / "sweep.yaml", changes)
    (copy / "sweep.yaml").write_text(resolved_yaml(config))
    sweep_classifier(config, copy, silent_progress())
    space = get_space("digits-small")
    evaluator = SupernetEvaluator(read_inputs(copy))
    found = [evaluator(architecture) for architecture in (space.smallest(), space.largest())]
    assert mean_estimate(evaluator.image_losses(space.smallest())) == found[0]["denoising_loss"]
    for name in ("frechet_classifier", "kid_classifier"):
        assert all(estimates[name].is_finite for estimates in found)
        assert found[0][name].value != found[1][name].value


def test_rungs_added_to_a_finished_run_judge_its_best_and_hand_over_theirs(run_dir, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    supernet = _files(copy / "supernet")
    arguments = (copy / "sweep.yaml", "--run", copy, "quality.num_steps=2")
    assert _run("sweep", *arguments) == 2  # how samples are drawn is part of how the search measures
    assert "quality" in capsys.readouterr().err
    rungs = "rungs=[{num_samples: 40, share: 0.5}, {num_samples: 64, share: 0.6}]"
    run_sweep(load_config(copy / "sweep.yaml", [rungs, f"run_dir={json.dumps(str(copy))}"]), silent_progress())
    run = read_run(copy)
    assert [len(level.done) for level in run.levels] == [6, 3, 2]
    for level in run.levels[1:]:
        assert {x.fingerprint for x in level.done} == {level.rung.fingerprint}
        assert all(x.objectives["frechet_classifier"].n == level.rung.num_samples for x in level.done)
        assert all(set(x.objectives) >= {"latency_ms", "macs"} for x in level.done)
        assert all("denoising_loss" not in x.objectives for x in level.done)  # a rung measures what it is for
    assert {x.digest for x in run.front} <= {x.digest for x in run.levels[2].done}
    assert read_bundle(copy / "winner").architecture.digest == run.knee.digest
    assert json.loads((copy / "winner" / "expected.json").read_text())["in_sweep"]["fingerprint"] == run.knee.fingerprint
    assert _files(copy / "supernet") == supernet
    assert json.loads((copy / "front.json").read_text())["rungs"][2]["num_left"] == 0
    assert _run("status", copy) == 0
    assert "2 done, 0 failed, 0 left of 2 promoted" in capsys.readouterr().out


def test_quality_is_measured_by_more_samples_and_differences_are_paired(run_dir, tmp_path, capsys, monkeypatch):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    digests = [member.digest for member in read_run(copy).front]
    assert len(digests) > 1
    assert _run("quality", "measure", copy, "--ids", "knee, front", "--n", 40, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found[0]["digest"] == read_run(copy).knee.digest
    assert sorted(x["digest"] for x in found) == sorted(digests)  # the knee once
    assert (found[0]["differences"], found[0]["compared_with"]) == ({}, None)
    assert {x["compared_with"] for x in found[1:]} == {found[0]["digest"]}
    for x in found:
        assert set(x["estimates"]) == {
            *("frechet_classifier", "frechet_classifier_extrapolated", "kid_classifier", "mmd_classifier")
        }
        assert pathlib.Path(x["picture"]).is_file()
        kept = json.loads(pathlib.Path(x["picture"]).with_suffix(".json").read_text())
        assert kept.pop("jackknifed").keys() == {"frechet_classifier", "kid_classifier", "mmd_classifier"}
        assert kept == x
        assert all(estimate["n"] == 40 for estimate in x["estimates"].values())
    first, second = (x["estimates"]["frechet_classifier"]["value"] for x in found[:2])
    with monkeypatch.context() as patch:  # nothing is drawn again; and what differs from what is kept
        patch.setattr(quality_measuring, "sweep_samples", lambda *_: pytest.fail)
        assert _run("quality", "measure", copy, "--ids", "knee, front", "--n", 40, "--json") == 0
        assert json.loads(capsys.readouterr().out) == found
        last = pathlib.Path(found[-1]["picture"]).with_suffix(".json")
        before = last.read_text()
        assert _run("quality", "measure", copy, "--ids", found[-1]["digest"], "--n", 40) == 0
        assert last.read_text() == before
        last.write_text("{}")
        assert _run("quality", "measure", copy, "--ids", found[-1]["digest"], "--n", 40) == 2
        assert f"{last}: key 'jackknifed': field required; delete it" in capsys.readouterr().err
    difference = found[1]["differences"]["frechet_classifier"]
    assert difference["value"] == pytest.approx(second - first)
    assert difference["low"] < difference["value"] < difference["high"]


def test_quality_is_measured_in_the_features_of_any_function(run_dir, tmp_path, monkeypatch):
    copy, said = tmp_path / "run", []
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("features", "quality"))
    progress = silent_progress()
    progress.say = said.append
    extractor = function_extractor("pixels", lambda scale, x: scale * x.reshape(len(x), -1), np.float32(1))
    (found,) = measure_quality(copy, ["knee"], num_samples=40, progress=progress, extractor=extractor)
    assert list(found.estimates) == ["frechet_pixels", "frechet_pixels_extrapolated", "kid_pixels", "mmd_pixels"]
    assert found.extractor == {"name": "pixels", "digest": extractor.digest, "preprocessing": ""}
    kept = json.loads(found.picture.with_suffix(".json").read_text())
    assert {key: kept[key] for key in found.to_json()} == found.to_json()
    assert not (copy / "features").exists()
    assert said == [
        "40 samples are fewer than the 64 features: frechet_pixels is mostly bias then, extrapolated or not; "
        "kid_pixels and mmd_pixels have none"
    ]
    settings = evaluation_settings(with_samples(load_config(copy / "sweep.yaml"), 40))
    (features,) = copy.glob("quality/features-*.npz")
    reference = array_digest({"reference": np.load(features)["features"]})
    assert found.num_reference == len(np.load(features)["features"]) > 64
    assert found.fingerprint == found.picture.parent.name
    assert found.fingerprint == fingerprint(**settings, **extractor.settings(), reference=reference)
    monkeypatch.setattr(sample_features, "features", pytest.fail)  # those of the data are kept
    assert measure_quality(copy, ["knee"], num_samples=40, progress=progress, extractor=extractor) == [found]


@pytest.mark.slow
def test_fid_is_measured_with_weights_of_ones_own(run_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sample_features, "MAX_IMAGES", 40)
    copy, weights = tmp_path / "run", tmp_path / "inception.safetensors"
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("features", "quality"))
    save_file({name: seeded_inception_tensor(name, shape) for name, shape in LAYOUTS[0].shapes().items()}, weights)
    found = []
    for how in ([], ["--preprocessing", "tensorflow"]):
        arguments = ("--ids", "knee", "--n", 40, "--features", "inception", "--weights", weights, "--json", *how)
        assert _run("quality", "measure", copy, *arguments) == 0
        captured = capsys.readouterr()
        assert "40 samples are fewer than the 2,048 features: fid is mostly bias then" in captured.err
        found += json.loads(captured.out)
    assert [set(x["estimates"]) for x in found] == [{"fid", "fid_extrapolated", "kid", "mmd_inception"}] * 2
    assert [x["extractor"]["preprocessing"] for x in found] == ["pytorch-fid", "tensorflow"]
    assert found[0]["extractor"]["digest"] == found[1]["extractor"]["digest"]
    assert found[0]["fingerprint"] != found[1]["fingerprint"]
    assert all(estimate["value"] is not None for x in found for estimate in x["estimates"].values())
    assert not (copy / "features").exists()


def test_samples_that_cannot_be_measured_stop_the_command(run_dir, tmp_path, capsys, monkeypatch):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    drawn = np.zeros((40, 8, 8, 1), np.float32)
    monkeypatch.setattr(quality_measuring, "sweep_samples", lambda *_: lambda *_: drawn)
    for value, message in ((0.0, "all 40 samples are one image"), (np.nan, "40 of 40 samples .* the first is sample 0")):
        drawn[:] = value
        assert _run("quality", "measure", copy, "--ids", "knee", "--n", 40) == 2
        assert re.search(rf"{read_run(copy).knee.digest}: {message}", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ids", "knee", "--n", "39"], "39 is not in the range x>=40"),
        (["--ids", " , "], "--ids names no architecture; give knee, front, or digests separated by commas"),
        (["--ids", "zzz"], "zzz: no architecture of .* has a digest that begins so; give knee, a digest"),
        ([], "Missing option '--ids'"),
    ],
)
def test_what_quality_cannot_be_measured_of(run_dir, arguments, message, capsys):
    assert _run("quality", "measure", run_dir, *arguments) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (run_dir / "quality").exists()


def test_an_empty_front_has_no_quality(run_dir, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("winner"))
    lines = (copy / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "ledger.jsonl").write_bytes(lines[0])
    assert _run("quality", "measure", copy, "--ids", "front") == 2
    assert "the front is empty; let the sweep go on, or give digests" in capsys.readouterr().err


def test_the_report_is_one_file_that_asks_for_nothing_from_elsewhere(run_dir):
    page = (run_dir / "report.html").read_text("utf-8")
    assert 'src="http' not in page
    assert "digits-small" in page


def test_the_winner_is_the_knee_and_was_distilled_from_the_largest_subnet(run_dir):
    winner = read_bundle(run_dir / "winner")
    teacher = read_bundle(run_dir / "winner" / "teacher")
    distilled = read_bundle(run_dir / "winner" / "distilled")
    assert teacher.architecture == get_space("digits-small").largest()
    assert distilled.architecture == winner.architecture
    assert "distilled (knowledge) from" in distilled.settings.origin
    changed = [k for k, x in distilled.parameters["network"].items() if not np.array_equal(x, winner.parameters["network"][k])]
    assert changed
    expected = json.loads((run_dir / "winner" / "expected.json").read_text())
    assert expected["in_sweep"]["measured_latency_ms"]["value"] > 0
    with Image.open(run_dir / "samples.png") as picture:
        assert picture.size[0] > 100


def test_the_loss_is_promised_on_the_test_split_where_there_is_one(run_dir, tmp_path):
    bundle = run_dir / "winner" / "distilled"
    assert json.loads((bundle / "expected.json").read_text())["promises"]["denoising_loss"]["split"] == "test"
    assert "| denoising loss at medium noise, test split |" in (bundle / "README.md").read_text()
    few = tmp_path / "few"
    for split, num in (("train", 3), ("validation", 2)):
        for label in range(2):
            folder = few / split / str(label)
            folder.mkdir(parents=True)
            for number in range(num):
                Image.new("L", (8, 8), 40 * number + label).save(folder / f"{number}.png")
    found = read_bundle(bundle)
    found = dataclasses.replace(found, settings=found.settings.model_copy(update={"data": str(few)}))
    expected = expectations(found)
    assert expected["promises"]["denoising_loss"]["split"] == "validation"
    assert expected["promises"]["denoising_loss"]["n"] == 4
    assert "| denoising loss at medium noise, validation split |" in model_card(found, expected)


def test_verify_keeps_and_breaks_promises(run_dir, tmp_path, capsys):
    bundle = tmp_path / "bundle"
    shutil.copytree(run_dir / "winner" / "distilled", bundle)
    assert _run("verify", bundle) == 0
    expected = json.loads((bundle / "expected.json").read_text())
    expected["promises"]["denoising_loss"]["value"] *= 1.5
    (bundle / "expected.json").write_text(json.dumps(expected))
    assert _run("verify", bundle) == 1
    assert "NOT KEPT  denoising_loss" in capsys.readouterr().out


def test_the_tutorial_goes_from_a_run_to_a_picture(run_dir, tmp_path, monkeypatch, capsys):
    """Its cells in their order, on a small run in the place of its own."""
    monkeypatch.setattr(explaining, "LEAST_DONE", 6)
    cells = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    folders = {'"runs/digits"': json.dumps(str(run_dir)), '"tutorial"': json.dumps(str(tmp_path / "tutorial"))}
    for written, used in folders.items():
        assert written in sources[0]
        sources[0] = sources[0].replace(written, used)
    before, names = _files(run_dir), {}
    for source in sources:
        exec(compile(source, "docs/tutorial.ipynb", "exec"), names)
    assert names["picture"].size[0] > 100
    assert np.asarray(names["picture"]).std() > 1
    told = capsys.readouterr().out
    assert read_run(run_dir).knee.digest in told
    assert "One choice made otherwise" in told
    assert "NOT KEPT" not in told
    assert _files(run_dir) == before


def test_handoff_by_digest_then_train_and_sample(run_dir, tmp_path):
    digest = read_ledger(run_dir / "ledger.jsonl").evaluations[0].digest
    bundle = tmp_path / "unet"
    assert _run("handoff", run_dir, "--pick", digest[:10], "--out", bundle) == 0
    assert read_bundle(bundle).architecture.digest == digest
    before = _files(bundle)
    assert _run("train", bundle, "--steps", 2, "--tracker", "mlflow") == 0
    history = json.loads((bundle / "trained" / "history.json").read_text())
    run, points = _mlflow_run(bundle)
    assert points("training/loss") == [(1, history[0]["loss"]), (2, history[1]["loss"])]
    promises = json.loads((bundle / "trained" / "expected.json").read_text())["promises"]
    assert {name: points(f"expected/{name}") for name in promises} == {
        name: [(2, promise["value"])] for name, promise in promises.items()
    }
    assert (run.info.run_name, run.data.params["updates"], run.data.params["command"]) == (f"train {digest}", "2", "train")
    assert _run("sample", bundle / "trained", "--num", 10, "--out", tmp_path / "grid.png") == 0
    assert (tmp_path / "grid.png").is_file()
    kept = {name: data for name, data in _files(bundle).items() if not name.startswith(("trained/", "mlflow/"))}
    assert kept == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("handoff", "{run}", "--pick", "zzz", "--out", "{new}"), "no architecture of .* has a digest that begins so"),
        (("handoff", "{run}", "--pick", "knee", "--out", "{run}"), "it exists already; choose another folder with --out"),
        (("handoff", "{run}", "--pick", "knee", "--out", "{new}", "--teacher", "{run}"), "--teacher goes with --scale deploy"),
        (("train", "{run}/winner", "--data", "nothing", "--out", "{new}"), "nothing"),
        (("train", "{new}"), "there is no such bundle"),
        (("train", "{run}/winner", "--out", "{run}"), "it exists already; choose another folder with --out"),
        (("distill", "{run}/winner"), "winner/distilled: it exists already"),
        (("distill", "{run}/winner/distilled"), "the bundle has no teacher to distil from"),
        (("sample", "{run}"), "architecture.json is missing"),
    ],
)
def test_bad_input_is_one_message_exit_code_2_and_changes_nothing(run_dir, tmp_path, capsys, arguments, message):
    before = _files(run_dir)
    filled = [argument.format(run=run_dir, new=tmp_path / "new") for argument in arguments]
    assert _run(*filled) == 2
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1
    assert re.search(message, error)
    assert _files(run_dir) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("weights.safetensors", lambda data: data[: len(data) // 2], "no whole safetensors file"),
        (
            "architecture.json",
            lambda data: data.replace(b'"mid"', b'"middle"'),
            "'middle' is not known; did you mean 'mid'",
        ),
        (
            "architecture.json",
            lambda data: re.sub(rb'"width": (\d)', lambda found: b'"width": %d' % (1 + int(found[1]) % 3), data),
            "another",
        ),
        ("training.yaml", lambda data: data.replace(b"learning_rate", b"learning_rat"), "did you mean 'learning_rate'"),
        ("training.yaml", lambda data: data.replace(b"resolution: 8", b"resolution: 7"), "training.yaml: scale: resolution 7"),
        ("training.yaml", lambda data: bytes([200, 1, 2]), "this is no UTF-8 text"),
        ("training.yaml", lambda data: data.replace(b"seed: 0", b"seed: 2024-13-45"), "cannot be read"),
    ],
)
def test_damaged_bundles_are_refused_by_file_and_key(run_dir, tmp_path, capsys, name, damage, message):
    bundle = tmp_path / "bundle"
    shutil.copytree(run_dir / "winner", bundle)
    (bundle / name).write_bytes(damage((bundle / name).read_bytes()))
    assert _run("train", bundle) == 2
    error = capsys.readouterr().err
    assert str(bundle) in error
    assert message in error


def test_prompts_and_promises_of_a_bundle_are_checked(run_dir, tmp_path, capsys):
    bundle = tmp_path / "bundle"
    shutil.copytree(run_dir / "winner", bundle)
    weights = load_file(bundle / "weights.safetensors")
    save_file({**weights, "prompt/tokens": weights["prompt/tokens"][:5].copy()}, bundle / "weights.safetensors")
    assert _run("verify", bundle) == 2
    assert "the prompt encoder's parameters must be" in capsys.readouterr().err
    save_file({k: x for k, x in weights.items() if not k.startswith("prompt/")}, bundle / "weights.safetensors")
    assert _run("sample", bundle) == 2
    name = next(iter(weights))
    save_file({**weights, name: weights[name].astype(np.int32)}, bundle / "weights.safetensors")
    assert _run("verify", bundle) == 2
    assert f"tensor {name!r} must be of type F64, F32, F16, BF16, got I32" in capsys.readouterr().err
    save_file(weights, bundle / "weights.safetensors")
    for text in ("[]", '{"schema": 2}', '{"schema": 1, "promises": {"macs": {"value": "x"}}}'):
        (bundle / "expected.json").write_text(text)
        assert _run("verify", bundle) == 2
        assert "expected.json: key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("limits.parameters=1", "loosen these limits"),
        ("data=./nope", "there is no such file or folder"),
        ("data=cifar10", "cifar10"),
        ("latency.num_architectures=2", "greater than or equal to 8"),
        ("seed=99999999999", "less than 4294967296"),
        ("objectives=[kid_classifiers]", "did you mean"),
        ("rungs=[{num_samples: 39}]", "greater than or equal to 40"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_written(tmp_path, capsys, override, message):
    assert _run("sweep", "digits-small", override, "--run-dir", tmp_path / "run") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_samples_of_images_without_labels_cannot_be_judged(tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(20):
        Image.new("L", (8, 8), number).save(images / f"{number}.png")
    arguments = (f"data={images}", "objectives=[denoising_loss, kid_classifier]", "--run-dir", tmp_path / "run")
    assert _run("sweep", "digits-small", *arguments) == 2
    assert f"objectives and rungs: kid_classifier need labels, and data set '{images}' has none" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("num", "objective", "message"),
    [
        (12, "denoising_loss", "split 'validation' has 1 of the 2 images that quality needs to have an interval; add images"),
        (23, "kid_classifier", "split 'train' has 19 of the 20 images"),
    ],
)
def test_images_that_are_too_few_for_an_interval(tmp_path, capsys, num, objective, message):
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
    for number in range(num):
        Image.new("L", (8, 8), number).save(tmp_path / "images" / "ab"[number % 2] / f"{number}.png")
    arguments = (f"data={tmp_path / 'images'}", f"objectives=[{objective}]", "--run-dir", tmp_path / "run")
    assert _run("sweep", "digits-small", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_address_is_refused_before_anything_is_spent(tmp_path, capsys):
    run = tmp_path / "run"
    command = ["sweep", "digits-small", *SHRUNK, "--run", run, "--address"]
    assert _run(*command, "auto") == 2
    assert "--address auto: search.executor is 'local'; set it to ray, or leave it out" in capsys.readouterr().err
    assert _run(*command, "127.0.0.1:1", "search.executor=ray") == 2
    assert "--address 127.0.0.1:1: no Ray cluster answers there" in capsys.readouterr().err
    assert not run.exists()


def test_another_searcher_or_limit_is_refused_and_changes_nothing(run_dir, capsys):
    before = _files(run_dir)
    for override in ("search.searcher=random", "limits.latency_ms=20"):
        assert _run("sweep", "digits-small", *SHRUNK, override, "--run-dir", run_dir) == 2
        assert "this ledger was begun with" in capsys.readouterr().err
    assert _files(run_dir) == before


def test_a_sweep_draws_the_samples_that_a_kill_left_undrawn(run_dir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    (copy / "samples.png").unlink()
    run_sweep(load_config(copy / "sweep.yaml", [f"run_dir={json.dumps(str(copy))}"]), silent_progress())
    assert (copy / "samples.png").is_file()


def test_a_sweep_that_is_not_to_distil_ends_with_its_front(run_dir, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("winner", "samples.png", "front.json"))
    overrides = [f"run_dir={json.dumps(str(copy))}", "distill.at_end=false"]
    run_sweep(load_config(copy / "sweep.yaml", overrides), silent_progress())
    assert (copy / "front.json").is_file()
    assert not (copy / "winner").exists()
    assert "winner" not in capsys.readouterr().out


def test_a_run_folder_of_another_sweep_is_left_alone(run_dir):
    before = _files(run_dir)
    other = load_config("digits-small", [*SHRUNK, f"run_dir={json.dumps(str(run_dir))}", "supernet.learning_rate=0.5"])
    with pytest.raises(ValueError, match=r"sweep.yaml: this run folder was made with other settings \(supernet:"):
        run_sweep(other, silent_progress())
    assert _files(run_dir) == before


def test_a_sweep_under_new_limits_takes_over_what_an_earlier_one_knows(run_dir, tmp_path, capsys):
    new = tmp_path / "new"
    known = read_ledger(run_dir / "ledger.jsonl").evaluations
    start = [f"start_from.ledger={run_dir}", f"start_from.front={run_dir}"]
    limits = f"limits.parameters={max(x.objectives['parameters'].value for x in known) - 1}"
    settings = [*SHRUNK, *start, limits, "trials=1", "search.executor=local", "search.searcher=random", "distill.at_end=false"]
    assert _run("sweep", "digits-small", *settings, "--run", new) == 0
    assert f"{len(known)} of all from an earlier ledger" in capsys.readouterr().out
    contents = read_ledger(new / "ledger.jsonl")
    assert contents.num_ended == 1
    taken = {x.digest: x for x in contents.evaluations if contents.is_taken_over(x)}
    assert {x.digest: x.objectives for x in known} == {digest: x.objectives for digest, x in taken.items()}
    assert {x.status for x in taken.values()} == {"done", "infeasible"}
    assert (new / "supernet/history.json").read_bytes() == (run_dir / "supernet/history.json").read_bytes()
    before = _files(new)
    assert _run("sweep", "digits-small", *settings, "--run", new, f"start_from.ledger={tmp_path / 'gone'}") == 2
    assert "start_from.ledger" in capsys.readouterr().err
    assert _files(new) == before


def test_a_dry_run_prints_the_sweep_and_what_is_feasible(tmp_path, capsys):
    arguments = ["sweep", "digits-small", "--dry-run", "--run-dir", tmp_path / "run 🚀", "limits.parameters=2000000"]
    assert _run(*arguments) == 0
    shown = capsys.readouterr().out
    assert "trials: 40" in shown
    assert "parameters" in shown
    assert not (tmp_path / "run 🚀").exists()
    assert _run("sweep", "digits-small", "--dry-run", "limits.macs=1000") == 2
    assert "loosen these limits" in capsys.readouterr().err


def test_trained_bundles_need_no_search_code(run_dir, tmp_path):
    """`verify`, `train` and `sample` load neither ray nor a searcher nor a latency model; tfds only for a set of its own."""
    program = (
        "import contextlib, io, json, sys\n"
        "from experiments.cli import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        main(arguments)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    bundle, images = tmp_path / "bundle", tmp_path / "images"
    shutil.copytree(run_dir / "winner" / "distilled", bundle)
    images.mkdir()
    for label in range(2):
        for number in range(40):
            folder = images / str(label)
            folder.mkdir(exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 255, (8, 8), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    settings = (bundle / "training.yaml").read_text().replace("data: digits", f"data: {images}")
    (bundle / "training.yaml").write_text(settings)
    commands = [
        ["train", str(bundle), "--steps", "1"],
        ["verify", str(bundle / "trained")],
        ["sample", str(bundle), "--num", "2"],
    ]
    call = [sys.executable, "-c", program, json.dumps(commands)]
    answer = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(json.loads(answer.stdout.splitlines()[-1]))
    assert (bundle / "trained" / "expected.json").is_file(), answer.stderr
    assert (bundle / "samples.png").is_file(), answer.stderr
    assert not loaded & {"ray", "nni", "optuna", "pymoo", "latency_models", "tensorflow_datasets", "tensorflow", "plotly"}
    assert not loaded & {"mlflow", "wandb"}
