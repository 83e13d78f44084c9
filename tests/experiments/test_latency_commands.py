"""The latency commands, as a person types them, on a known machine and on this one."""

import dataclasses
import json
import re

import numpy as np
import pytest
from experiments_fixtures.run_folders import make_run
from known_machines import measured_on, other_machine, random_networks, tiled_machine, true_ms

from experiments import latency_calibrating
from experiments.cli import main
from experiments.latency_calibrating import networks_to_calibrate, write_models_to_measure
from experiments.progress import silent_progress
from latency_models.csv_device import read_table
from latency_models.fitting import fit
from latency_models.litert_file import MODEL_FILE
from latency_models.measurements import MeasurementSet
from latency_models.network import network_of
from latency_models.predictor import Predictor
from search_space import Architecture, get_scale, get_space, layer_plan


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["latency", *arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Measurements on a known machine, and a predictor of it."""
    folder = tmp_path_factory.mktemp("latency")
    measured = measured_on(tiled_machine, random_networks(30), noise=0.01, profiled=True)
    measured.save(folder / "M")
    fit(measured).save(folder / "P")
    return folder


def test_fit_prints_errors_repeatability_and_where_it_extrapolates(capsys, fitted, tmp_path):
    code, out, _ = run(capsys, "fit", str(fitted / "M"), "--out", str(tmp_path / "P"))
    assert code == 0
    assert "30 networks and 0 blocks on known machine" in out
    for wanted in (
        "repeatability:",
        "held out: 30 networks",
        "90% interval:",
        "peak memory:",
        "it extrapolates at scales other",
    ):
        assert wanted in out
    assert re.search(r"^convolution +\d+ +\d+ to \d+", out, re.MULTILINE)
    assert Predictor.load(tmp_path / "P").held_out.score.n == 30


def test_predict_gives_an_interval_stages_and_kernels(capsys, fitted, tmp_path):
    network = random_networks(31)[-1]
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(network.architecture.to_json()))
    code, out, _ = run(capsys, "predict", str(fitted / "P"), str(path))
    assert code == 0
    assert "90% interval" in out
    assert re.search(r"^down0 +\d", out, re.MULTILINE)
    code, out, _ = run(capsys, "predict", str(fitted / "P"), str(path), "--json")
    found = json.loads(out)
    assert found["low_ms"] < found["latency_ms"] < found["high_ms"]
    assert found["latency_ms"] == pytest.approx(true_ms(network, tiled_machine), rel=0.05)
    assert sum(found["by_stage_ms"].values()) + found["per_run_ms"] == pytest.approx(found["latency_ms"])
    assert not found["is_outside"]


def test_template_filled_in_elsewhere_calibrates(capsys, fitted, tmp_path):
    table = tmp_path / "phone.csv"
    arguments = ("--k", "8", "--out", str(table))
    code, out, _ = run(capsys, "template", str(fitted / "P"), *arguments)
    assert code == 0
    assert f"--device csv:{table} --out Q" in out
    networks = read_table(_filled_in(table)).networks
    assert len(networks) == 8
    code, out, _ = run(capsys, "calibrate", str(fitted / "P"), "--device", f"csv:{table}", "--out", str(tmp_path / "Q"))
    assert code == 0, out
    assert "repeatability: not known" in out
    fresh = random_networks(20, seed=8)
    ms = Predictor.load(tmp_path / "Q").predict(fresh)[0]
    assert np.mean(np.abs(ms / [true_ms(n, other_machine) for n in fresh] - 1)) < 0.05
    code, _, err = run(capsys, "template", str(fitted / "P"), *arguments)
    assert code == 2
    assert "this file exists" in err
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(table.read_text().splitlines()[:-1]))  # a row is taken out
    code, out, _ = run(capsys, "calibrate", str(fitted / "P"), "--device", f"csv:{fewer}", "--out", str(tmp_path / "Q"))
    assert code == 0, out
    assert MeasurementSet.load(tmp_path / "Q" / "measurements").measurements.keys() == {n.key for n in networks[:-1]}


def test_models_of_one_architecture_at_two_scales_are_two_files(tmp_path, monkeypatch):
    class Converter:
        def convert(self, network, build, folder):
            (folder / MODEL_FILE).write_text(network.scale.name)

    monkeypatch.setattr(latency_calibrating, "litert_converter", Converter)
    smallest = get_space("digits").smallest()
    for name in ("digits-proxy", "digits-deploy"):
        network = network_of(layer_plan(smallest, get_scale(name)))
        write_models_to_measure(tmp_path / f"{name}.csv", [network], with_models=True, progress=silent_progress())
        assert (tmp_path / "models" / f"{smallest.digest}@{name}.tflite").read_text() == name


def test_the_space_to_choose_from_is_that_of_the_scale_unless_there_is_none(fitted):
    predictor = Predictor.load(fitted / "P")
    chosen = networks_to_calibrate([predictor], space_name=None, scale_name=None, k=6, seed=0)
    assert chosen == networks_to_calibrate([predictor], space_name="digits", scale_name=None, k=6, seed=0)
    for scales in (("sd15", "sd15-quarter"), ("digits-proxy",)):
        unsure = dataclasses.replace(predictor, scales=scales)
        with pytest.raises(ValueError, match="do not say which space's networks to choose; give --space"):
            networks_to_calibrate([unsure], space_name=None, scale_name=None, k=6, seed=0)


def _filled_in(table):
    """What a person does: says where, and writes a latency into each row."""
    lines = table.read_text().splitlines()
    lines = [line.replace("# device:", "# device: phone").replace("# runtime:", "# runtime: made up") for line in lines]
    for i, line in enumerate(lines):
        file, *rest = line.split(",")
        if file.endswith(".json"):
            architecture = Architecture.from_json(json.loads((table.parent / file).read_text()))
            network = network_of(layer_plan(architecture, get_scale(rest[0])))
            lines[i] = ",".join([file, rest[0], f"{true_ms(network, other_machine):.6f}", *rest[2:]])
    table.write_text("\n".join(lines) + "\n")
    return table


def test_measure_runs_resumes_and_says_how_well_it_repeats(capsys, tmp_path):
    arguments = ("measure", "--device", "litert-cpu", "--space", "digits-small", "--n", "3", "--rounds", "2")
    code, out, _ = run(capsys, *arguments, "--blocks", "1", "--out", str(tmp_path / "M"))
    assert code == 0
    assert "3 networks and 1 blocks on litert-cpu" in out
    assert "wall time:" in out
    assert "taken off by a control" in out
    before = MeasurementSet.load(tmp_path / "M")
    code, _, _ = run(capsys, *arguments, "--blocks", "1", "--out", str(tmp_path / "M"))
    assert code == 0
    assert MeasurementSet.load(tmp_path / "M") == before
    code, _, err = run(capsys, *arguments[:2], "xla-cpu", *arguments[3:], "--out", str(tmp_path / "M"))
    assert code == 2
    assert "do not mix" in err


def test_validate_measures_the_front_again(capsys, tmp_path, monkeypatch):
    """The front's networks on this machine, against a predictor that is right about them, and one that is not."""
    monkeypatch.setattr("experiments.latency_validating.measure_into", _on_known_machine)
    monkeypatch.setattr("experiments.latency_validating.usable_device", lambda spec: _Named(spec))
    make_run(tmp_path / "run")
    fit(measured_on(tiled_machine, random_networks(40), noise=0.01, profiled=True)).save(tmp_path / "right")
    fit(measured_on(other_machine, random_networks(40), profiled=True)).save(tmp_path / "wrong")
    code, out, _ = run(capsys, "validate", str(tmp_path / "right"), "--run", str(tmp_path / "run"), "--top", "4")
    assert code == 0, out
    assert "the predictor holds" in out
    assert "fitted on another device or version: version is None and '2'" in out
    code, out, _ = run(capsys, "validate", str(tmp_path / "wrong"), "--run", str(tmp_path / "run"), "--top", "4")
    assert code == 1
    assert "does not hold" in out


class _Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def fingerprint(self):
        return measured_on(tiled_machine, random_networks(2)).fingerprint | {"version": "2"}


def _on_known_machine(folder, device, networks, **_):
    del folder, device
    return measured_on(tiled_machine, networks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("measure", "--device", "gpu", "--space", "digits", "--n", "3"), "there is no device 'gpu'; known are litert-cpu"),
        (("measure", "--device", "adb", "--space", "digits", "--n", "3"), "adb"),
        (("measure", "--device", "litert-cpu:threads=7", "--space", "digits", "--n", "3"), "threads must be one of 1, 2"),
        (("measure", "--device", "litert-cpu", "--space", "digitz", "--n", "3"), "did you mean 'digits'"),
        (("measure", "--device", "litert-cpu", "--space", "digits", "--n", "2"), "must be from 3 to"),
        (("measure", "--device", "litert-cpu"), "say what to measure"),
        (("calibrate", "{P}", "--device", "csv:none.csv", "--space", "digits"), "cannot be used"),
        (
            ("calibrate", "{P}", "--device", "litert-cpu", "--space", "mobile-sd"),
            "fitted on scale digits-deploy, not on 'sd15'",
        ),
        (("calibrate", "{P}", "--device", "adb:SERIAL", "--k", "20"), "adb"),
        (("fit", "nowhere"), "nowhere/measurements.json: no such file"),
    ],
)
def test_bad_input_is_one_message(capsys, fitted, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    given = [argument.replace("{P}", str(fitted / "P")) for argument in arguments]
    code, _, err = run(capsys, *given, "--out", str(tmp_path / "out"))
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_predicting_at_another_scale_is_refused(capsys, fitted):
    code, _, err = run(capsys, "predict", str(fitted / "P"), "sd15", "--scale", "sd15")
    assert code == 2
    assert "was fitted on scale digits-deploy, not on 'sd15'" in err
