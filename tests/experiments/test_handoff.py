"""What a hand-off writes where weights, teacher, data or device are missing, and at the deploy scale."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import yaml
from PIL import Image
from toy_problem import costs, quality

from experiments import cli, handoff
from experiments.bundle import (
    BLOCK_MAP,
    WEIGHTS,
    WEIGHTS_DIGEST,
    Bundle,
    TrainingSettings,
    file_sha256,
    read_bundle,
    read_bundle_with,
    read_expected,
    write_bundle,
)
from experiments.bundle_quality import expectations, verify_bundle
from experiments.config import ledger_header, load_config
from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.ledger import Ledger
from experiments.run_folder import read_run
from experiments.supernet_start import fresh_supernet
from search_space import get_scale, get_space, layer_plan
from search_space.block_map import student_block_map
from supernet import UNet, extract, unet_parameters
from supernet.initializer import random_initializer
from supernet.teacher import start_student

SPACE = get_space("digits-small")
DEPLOY = get_scale("digits-deploy")


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was copied without its supernet; its ledger holds the largest architecture, and others."""
    path = tmp_path_factory.mktemp("runs") / "copied"
    path.mkdir()
    config = load_config("digits-small")
    (path / "sweep.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    rng = np.random.default_rng(0)
    with Ledger.open(path / "ledger.jsonl", header=ledger_header(config)) as ledger:
        for index, architecture in enumerate([SPACE.largest(), *(SPACE.sample(rng) for _ in range(5))]):
            ledger.asked(index, architecture)
            numbers = quality(architecture, SPACE) | {"latency_ms": costs(architecture, SPACE)["macs"]}
            ledger.record(
                Evaluation(index, architecture.digest, architecture, "done", numbers, ledger.contents.header["fingerprint"])
            )
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A bundle at the deploy scale whose weights are all drawn."""
    architecture = SPACE.largest()
    weights = unet_parameters(UNet(layer_plan(architecture, DEPLOY), init=random_initializer(3)))
    rng = np.random.default_rng(4)
    weights = {path: x + 0.05 * rng.standard_normal(x.shape, np.float32) for path, x in weights.items()}
    settings = TrainingSettings.model_validate({"origin": "drawn", "scale": dataclasses.asdict(DEPLOY), "data": None})
    bundle = Bundle(architecture, settings, {"network": weights, "prompt": {}})
    bundle = dataclasses.replace(bundle, parameters={"network": weights, "prompt": bundle.task.prompt_parameters(5)})
    folder = tmp_path_factory.mktemp("teachers") / "teacher"
    write_bundle(folder, bundle, expected=expectations(bundle, runs=False), card="")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _no_device():
    def refuse(*_):
        raise ValueError("the runtime does not take this network")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(handoff, "measure_latency", refuse)
        yield


@pytest.fixture(scope="module")
def handed(run, tmp_path_factory):
    """The knee of the run, handed over: the bundle, and what was said."""
    folder, said = tmp_path_factory.mktemp("bundles") / "unet", []
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    handoff.hand_off(run, "knee", folder, say=said.append)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    return folder, said


def test_without_a_supernet_the_weights_are_fresh_and_it_is_said(run, handed):
    folder, said = handed
    assert said[-2:] == [
        f"{run} has no trained supernet: the weights are drawn with seed 0, and there is no teacher",
        "its latency is not measured: the runtime does not take this network",
    ]
    assert not (folder / "teacher").exists()
    assert not (folder / BLOCK_MAP).exists()
    bundle, expected = read_bundle(folder), read_expected(folder)
    assert bundle.settings.origin == "with fresh weights of seed 0"
    assert expected["in_sweep"]["measured_latency_ms"] is None
    drawn = unet_parameters(UNet(bundle.plan, init=random_initializer(0)))
    assert all(np.array_equal(drawn[path], x) for path, x in bundle.parameters["network"].items())
    checks = verify_bundle(folder)
    assert [check.name for check in checks] == ["parameters", "macs", "prediction", "denoising_loss", "weights_sha256"]
    assert all(check.is_kept for check in checks)
    assert "](samples/0.png)" in (folder / "README.md").read_text()
    with Image.open(folder / "samples" / "0.png") as picture:
        assert picture.size[0] > 100


def test_where_the_data_are_not_here_no_loss_is_promised(run, tmp_path, capsys, monkeypatch):
    def refuse(*_, **__):
        raise InputError("no such data set here")

    monkeypatch.setattr(handoff, "open_examples", refuse)
    assert _run("handoff", run, "--pick", "knee", "--out", tmp_path / "unet") == 0
    assert "the data set cannot be read here, so that no loss is promised: no such data set here" in capsys.readouterr().err
    assert set(read_expected(tmp_path / "unet")["promises"]) == {"parameters", "macs", "prediction"}
    assert read_bundle(tmp_path / "unet").settings.data == "digits"


def test_verify_fails_where_any_one_tensor_is_off_by_a_thousandth(handed, tmp_path):
    folder = tmp_path / "unet"
    shutil.copytree(handed[0], folder)
    expected = (folder / "expected.json").read_text()
    for section, path in (("network", "blocks/input_convolution/conv/kernel"), ("prompt", "tokens")):
        bundle = read_bundle(handed[0])
        bundle.parameters[section][path] = bundle.parameters[section][path] * 1.001
        write_bundle(folder, bundle, expected={}, card="")
        (folder / "expected.json").write_text(expected)
        assert _run("verify", folder) == 1


def test_what_uses_weights_refuses_others_than_were_written(handed, tmp_path, capsys):
    folder = tmp_path / "unet"
    shutil.copytree(handed[0], folder)
    bundle, expected = read_bundle(folder), (folder / "expected.json").read_text()
    bundle.parameters["network"]["blocks/output_head/conv/bias"] += 1e-3
    write_bundle(folder, bundle, expected={}, card="")
    (folder / "expected.json").write_text(expected)
    commands = (
        ["train", folder, "--steps", 1],
        ["sample", folder],
        ["distill", folder],
        ["export", folder, "--format", "onnx"],
    )
    for command in commands:
        assert _run(*command) == 2
        assert "weights.safetensors: it is not the file that the bundle was written with" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"unet"}


def test_a_folder_of_other_data_is_named_from_the_root(handed, tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_bundle_with(handed[0], "images").settings.data == str(tmp_path / "images")
    assert read_bundle_with(handed[0], "shapes").settings.data == "shapes"
    given = [load_config("digits-small", [f"data={data}"]) for data in ("images", "digits")]
    (tmp_path / "digits").mkdir()  # a name that ships is no folder's
    assert [handoff.training_settings(x, "drawn").data for x in given] == [str(tmp_path / "images"), "digits"]


def test_where_other_images_are_held_out_now_no_loss_is_promised(run, tmp_path, capsys):
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    splits = {name: {"num_examples": 7, "digest": "0" * 16} for name in ("train", "validation")}
    (changed / "data.json").write_text(json.dumps({"schema_version": 1, "splits": splits}))
    assert _run("handoff", changed, "--pick", "knee", "--out", tmp_path / "unet") == 0
    assert "split 'train' had 7 examples and has " in capsys.readouterr().err
    assert set(read_expected(tmp_path / "unet")["promises"]) == {"parameters", "macs", "prediction"}


def test_a_loss_is_promised_of_images_wherever_they_lie(handed, tmp_path, monkeypatch):
    unet = tmp_path / "unet"
    for number in range(60):
        folder = tmp_path / "images" / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 4 * number).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    bundle = read_bundle_with(handed[0], "images")
    write_bundle(unet, bundle, expected=expectations(bundle), card="")
    (tmp_path / "images").rename(tmp_path / "moved")
    training = unet / "training.yaml"
    training.write_text(training.read_text().replace(str(tmp_path / "images"), "moved"))
    assert "moved" in training.read_text()
    assert all(check.is_kept for check in verify_bundle(unet))
    shutil.rmtree(tmp_path / "moved" / "0")
    assert not all(check.is_kept for check in verify_bundle(unet))


def test_the_prediction_tells_other_weights_even_where_the_digest_is_theirs(handed, tmp_path, capsys):
    folder = tmp_path / "unet"
    shutil.copytree(handed[0], folder)
    bundle, expected = read_bundle(folder), json.loads((folder / "expected.json").read_text())
    bundle.parameters["network"]["blocks/output_head/conv/bias"] = (
        bundle.parameters["network"]["blocks/output_head/conv/bias"] + 0.05
    )
    write_bundle(folder, bundle, expected={}, card="")
    (folder / "expected.json").write_text(json.dumps(expected | {WEIGHTS_DIGEST: file_sha256(folder / WEIGHTS)}))
    assert _run("verify", folder) == 1
    told = capsys.readouterr().out
    assert "NOT KEPT  prediction" in told
    assert "NOT KEPT  weights_sha256" not in told


def test_at_the_deploy_scale_the_largest_network_takes_all_of_the_teachers_weights(run, teacher, tmp_path, capsys):
    folder = tmp_path / "unet"
    largest = SPACE.largest().digest
    assert _run("handoff", run, "--pick", largest, "--scale", "deploy", "--teacher", teacher, "--out", folder) == 0
    assert f"the weights are those of {teacher}, by the block map" in capsys.readouterr().err
    ours, theirs = read_bundle(folder), read_bundle(teacher)
    assert ours.plan.scale == DEPLOY
    assert ours.parameters["network"].keys() == theirs.parameters["network"].keys()
    assert all(np.array_equal(ours.parameters["network"][path], x) for path, x in theirs.parameters["network"].items())
    feeding = json.loads((folder / BLOCK_MAP).read_text())
    assert all(block == source for block, source in feeding.items())
    assert file_sha256(folder / "teacher" / WEIGHTS) == file_sha256(teacher / WEIGHTS)
    assert set(read_expected(folder)["promises"]) == {"parameters", "macs"}
    assert f"teacher {largest}" in ours.settings.origin


def test_a_student_with_the_teachers_architecture_is_the_teacher():
    """Though the space's largest network has more blocks, so that up blocks with the same skip stand elsewhere in it."""
    space, scale, drawn = get_space("digits"), get_scale("digits-proxy"), np.random.default_rng(7)
    settings = TrainingSettings.model_validate({"origin": "drawn", "scale": dataclasses.asdict(scale), "data": None})
    widths = [level.width for level in space.largest().levels]
    students = (space.sample(np.random.default_rng(seed)) for seed in range(100))
    student = next(x for x in students if x.levels[0].down.num_blocks < space.largest().levels[0].down.num_blocks)
    levels = tuple(dataclasses.replace(x, width=width) for x, width in zip(student.levels, widths, strict=True))
    wide = dataclasses.replace(student, levels=levels).canonical()
    plan = layer_plan(wide, scale)
    weights = unet_parameters(UNet(plan, init=random_initializer(3)))
    weights = {path: x + 0.05 * drawn.standard_normal(x.shape, np.float32) for path, x in weights.items()}
    supernet, parameters = fresh_supernet(Bundle(wide, settings, {}), space.name, seed=0)
    feeding = start_student(supernet, parameters, plan, weights, wide)
    assert all(block == source for block, source in feeding.items())
    taken = unet_parameters(extract(supernet, jax.tree.map(jax.numpy.asarray, parameters), wide))
    assert all(np.array_equal(taken[path], x) for path, x in weights.items())


def test_blocks_correspond_by_their_skips():
    """With one down block less than the teacher, the first up block takes the first, and the others those at its end."""
    teacher = get_space("digits").largest()
    down, up = teacher.levels[0].down, teacher.levels[0].up
    assert (down.num_blocks, up.num_blocks) == (2, 3)
    level = dataclasses.replace(
        teacher.levels[0], down=dataclasses.replace(down, num_blocks=1), up=dataclasses.replace(up, num_blocks=2)
    )
    student = dataclasses.replace(teacher, levels=(level, *teacher.levels[1:]))
    plans = [layer_plan(x, get_scale("digits-proxy")) for x in (teacher, student)]
    feeding = student_block_map(*plans)
    assert (feeding["up0.0.residual"], feeding["up0.1.residual"]) == ("up0.0.residual", "up0.2.residual")
    assert feeding["down0.0.residual"] == "down0.0.residual"


def test_a_smaller_network_takes_the_first_channels_of_the_blocks_in_its_map(run, teacher, tmp_path):
    folder, digest = tmp_path / "unet", read_run(run).ledger.evaluations[1].digest
    assert _run("handoff", run, "--pick", digest, "--scale", "deploy", "--teacher", teacher, "--out", folder) == 0
    ours, theirs = read_bundle(folder), read_bundle(teacher)
    feeding = json.loads((folder / BLOCK_MAP).read_text())
    assert set(feeding) == {block.name for block in ours.plan.blocks}
    assert all(source in {block.name for block in theirs.plan.blocks} for source in feeding.values())
    kernel = "blocks/input_convolution/conv/kernel"
    width = ours.parameters["network"][kernel].shape[-1]
    np.testing.assert_array_equal(ours.parameters["network"][kernel], theirs.parameters["network"][kernel][..., :width])
    assert _run("verify", folder) == 0


def test_at_the_deploy_scale_without_a_teacher_it_starts_from_a_seed(run, tmp_path, capsys):
    folder = tmp_path / "unet"
    assert _run("handoff", run, "--pick", "knee", "--scale", "deploy", "--out", folder) == 0
    assert "no --teacher is given: the weights are drawn with seed 0" in capsys.readouterr().err
    bundle = read_bundle(folder)
    assert (bundle.plan.scale, bundle.settings.origin) == (DEPLOY, "with fresh weights of seed 0")
    assert not (folder / "teacher").exists()


def test_what_does_not_go_together_is_refused(run, teacher, tmp_path, capsys):
    new = tmp_path / "new"
    assert _run("handoff", run, "--pick", "knee", "--teacher", teacher, "--out", new) == 2
    assert "--teacher goes with --scale deploy" in capsys.readouterr().err
    proxy = tmp_path / "proxy"
    shutil.copytree(teacher, proxy)
    settings = yaml.safe_load((proxy / "training.yaml").read_text())
    settings["scale"]["resolution"] //= 2
    (proxy / "training.yaml").write_text(yaml.safe_dump(settings))
    assert _run("handoff", run, "--pick", "knee", "--scale", "deploy", "--teacher", proxy, "--out", new) == 2
    assert "the teacher is not at deploy scale 'digits-deploy': resolution is" in capsys.readouterr().err
    assert _run("handoff", run, "--pick", "knee", "--scale", "deploy", "--teacher", tmp_path / "none", "--out", new) == 2
    assert "there is no such bundle" in capsys.readouterr().err
    assert not new.exists()
