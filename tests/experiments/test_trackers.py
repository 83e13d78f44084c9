"""Trackers, really run: what a killed and resumed sweep left in both, that nobody was called, and that failures end no run."""

import contextlib
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from experiments_fixtures import wandb_files
from experiments_fixtures.run_folders import add_rung, add_side_files, make_run

from experiments import cli
from experiments.config import evaluation_settings, load_config
from experiments.errors import InputError
from experiments.front import front_of, summary
from experiments.ledger_contents import read_ledger
from experiments.run_folder import read_run
from experiments.trackers import tracking
from experiments.trackers.registry import check_installed, open_tracker, tracker_names
from experiments.trackers.sweep_log import _GrowingFront
from experiments.trackers.tracker import TrackedRun
from experiments.trackers.tracking import track
from objectives.front import hypervolume

TESTS = pathlib.Path(__file__).parents[1]
NUM_STEPS = load_config("digits").supernet.num_steps
BOTH = "trackers=[mlflow, wandb]"


class Refusing(http.server.BaseHTTPRequestHandler):
    """A proxy that takes down what it is asked for, and refuses it."""

    def refuse(self):
        self.server.asked.append(self.path)
        self.send_error(403)

    do_GET = do_POST = do_CONNECT = refuse

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def proxy():
    """A proxy on this machine, and the environment in which whoever calls anybody asks it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        # MLflow sends nothing about itself where it sees a test or a build, nor where it was told so before.
        without = {"NO_PROXY", "CI", "PYTEST_CURRENT_TEST", "MLFLOW_DISABLE_TELEMETRY", "WANDB_ERROR_REPORTING"}
        env = {key: value for key, value in os.environ.items() if key.upper() not in without}
        yield server.asked, env | {name: address for upper in names for name in (upper, upper.lower())}
        server.shutdown()


def tracked(folder, end, *overrides, env):
    command = [sys.executable, str(TESTS / "tracked_program.py"), str(folder), end, *overrides]
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    return subprocess.run(command, env={**env, "PYTHONPATH": paths}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A run folder whose sweep was killed after half of its outcomes and went on; what the second told; who was called."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "digits")
    add_side_files(folder)
    add_rung(folder)
    ledger = folder / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    with proxy() as (asked, env):
        ledger.write_bytes(b"".join(lines[:31]))
        assert tracked(folder, "kill", BOTH, "trials=20", env=env).returncode == 9
        ledger.write_bytes(b"".join(lines))
        answer = tracked(folder, "end", BOTH, "trials=40", env=env)
        assert answer.returncode == 0, answer.stderr
        return folder, json.loads(answer.stdout), asked


@pytest.fixture(scope="module")
def mlflow_client(resumed):
    from mlflow import MlflowClient  # while a test runs, it sends nothing about itself

    return MlflowClient(f"sqlite:///{resumed[0]}/mlflow/mlflow.db")


def columns(folder):
    """What is to be logged of a run folder: by series and name, the values by step."""
    run = read_run(folder)
    history = json.loads((folder / "supernet" / "history.json").read_text())
    found = {"supernet/loss": {point["step"]: point["loss"] for point in history if point["step"]}}
    for series, level in zip(("search", "rung_f1"), run.levels, strict=True):
        for step, evaluation in enumerate(level.contents.evaluations, start=1):
            found.setdefault(f"{series}/seconds", {})[step] = evaluation.seconds
            if evaluation.status == "done":
                for name, estimate in evaluation.objectives.items():
                    found.setdefault(f"{series}/{name}", {})[step] = estimate.value
    outcomes = len(read_ledger(folder / "ledger.jsonl").evaluations)
    found["front/size"] = {outcomes: len(run.front)}
    found["front/knee_latency_ms"] = {outcomes: run.knee.objectives["latency_ms"].value}
    return found


def test_a_resumed_sweep_is_one_run_of_mlflow_and_has_every_number_once(resumed, mlflow_client):
    (run,) = mlflow_client.search_runs([mlflow_client.get_experiment_by_name("pocketunet").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "digits")
    for name, expected in columns(resumed[0]).items():
        points = mlflow_client.get_metric_history(run.info.run_id, name)
        assert len(points) == len(expected), name
        assert {point.step: point.value for point in points} == expected, name
    assert run.data.metrics["search/num_done"] == 24
    assert (run.data.metrics["search/num_failed"], run.data.metrics["search/num_infeasible"]) == (2, 3)
    assert (run.data.params["space"], run.data.params["supernet.num_steps"]) == ("digits", str(NUM_STEPS))
    assert (run.data.params["trials"], run.data.tags["trials"]) == ("20", "40")  # a parameter never changes


def test_a_resumed_sweep_is_one_file_of_wandb_and_has_every_number_once(resumed):
    folder, *_ = resumed
    (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    assert path.stem == f"run-{(folder / 'tracker_key').read_text()}"
    rows, config = wandb_files.history(path), wandb_files.config(path)
    for name, expected in columns(folder).items():
        steps = f"{name.rpartition('/')[0]}/step"
        found = [(row[steps], row[name]) for row in rows if name in row]
        assert found == [(step, pytest.approx(value)) for step, value in expected.items()], name
    assert (config["space"], config["supernet.num_steps"], config["trials"]) == ("digits", NUM_STEPS, 40)
    assert wandb_files.exit_code(path) == 0


def test_the_front_is_logged_while_it_grows(resumed, mlflow_client):
    (run,) = mlflow_client.search_runs([mlflow_client.get_experiment_by_name("pocketunet").experiment_id])
    search = read_run(resumed[0]).levels[0]
    assert run.data.metrics["search/front_size"] == len(front_of(search.done, search.objectives))
    (point,) = mlflow_client.get_metric_history(run.info.run_id, "search/hypervolume")  # as many are done as span its box
    assert point.value == pytest.approx(summary(search.contents, search.objectives)["hypervolume"]["history"][-1])


def test_a_growing_front_never_loses_volume_and_agrees_with_all_points_at_once():
    points = np.random.default_rng(0).normal(size=(40, 2))
    growing = _GrowingFront(8)
    found = [growing.add(point) for point in points]
    assert all("hypervolume" not in one for one in found[:7])
    volumes = [one["hypervolume"] for one in found[7:]]
    assert volumes == sorted(volumes)
    assert volumes[0] < volumes[-1]
    ideal, worst = points[:8].min(axis=0), points[:8].max(axis=0)
    whole = hypervolume(points, reference=worst + 0.1 * (worst - ideal))
    assert volumes[-1] == pytest.approx(whole / np.prod(1.1 * (worst - ideal)))


def test_nobody_is_called_unless_the_environment_says_so(resumed, tmp_path):
    folder, told, asked = resumed
    assert told == {"addresses": [], "said": []}
    assert asked == []
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("wandb", "mlflow"))
    with proxy() as (asked, env):
        online = {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://wandb.invalid", "WANDB_API_KEY": "0" * 40}
        env |= online | {"MLFLOW_TRACKING_URI": "http://mlflow.invalid"}
        answer = tracked(tmp_path / "run", "end", BOTH, env=env)
    assert {"http://mlflow.invalid", "http://wandb.invalid"} <= {"/".join(path.split("/")[:3]) for path in asked}
    assert answer.returncode == 0, answer.stderr  # and both have failed
    said = json.loads(answer.stdout)["said"]
    assert [line.partition(" failed")[0] for line in said] == ["warning: tracker mlflow", "warning: tracker wandb"]
    assert not (tmp_path / "run" / "mlflow").exists()


class Failing:
    """A tracker whose disk is full from its third step on."""

    def __init__(self):
        self.steps, self.closed = [], []

    def last_steps(self):
        return {"search": 1}

    def log(self, series, step, values):
        if len(self.steps) == 2:
            raise OSError(28, "No space left on device")
        self.steps.append(step)

    def close(self, *, is_done):
        self.closed.append(is_done)


def test_a_tracker_that_fails_is_told_once_and_left_out_and_others_go_on(tmp_path, monkeypatch):
    opened = {"mlflow": Failing(), "wandb": Failing()}
    opened["wandb"].log = lambda series, step, values: opened["wandb"].steps.append(step)
    monkeypatch.setattr(tracking, "open_tracker", lambda name, run: opened[name])
    said = []
    run = TrackedRun(tmp_path, "key", "name", {})
    with pytest.raises(KeyboardInterrupt), track(["mlflow", "wandb", "mlflow"], run, said.append) as log:  # noqa: PT012
        for step in range(1, 6):
            log("search", step, {"loss": 1.0})
        raise KeyboardInterrupt
    assert said == ["warning: tracker mlflow failed and is left out from here on: OSError: [Errno 28] No space left on device"]
    assert (opened["mlflow"].steps, opened["mlflow"].closed) == ([2, 3], [])
    assert (opened["wandb"].steps, opened["wandb"].closed) == ([2, 3, 4, 5], [False])


@pytest.mark.parametrize("name", tracker_names())
def test_a_package_that_lacks_is_told_before_anything_is_done(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    message = f"tracker '{name}' needs {name}"
    with pytest.raises(InputError, match=message):
        check_installed([name])
    for arguments in (
        ["sweep", "digits", f"trackers=[{name}]", "--run", str(tmp_path / "run")],
        ["train", str(tmp_path), "--tracker", name],
        ["distill", str(tmp_path), "--tracker", name],
    ):
        with pytest.raises(SystemExit) as exit_:
            cli.main(arguments)
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_unknown_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="trackers.*there is no tracker 'mlfow'; did you mean 'mlflow'"):
        load_config("digits", ["trackers=[mlfow]"])
    with pytest.raises(InputError, match="Known: mlflow, wandb"):
        open_tracker("tensorboard", TrackedRun(pathlib.Path(), "key", "name", {}))


def test_what_tracks_a_sweep_decides_none_of_its_numbers():
    plain, followed = load_config("digits"), load_config("digits", [BOTH])
    assert followed.trackers == ("mlflow", "wandb")
    assert evaluation_settings(plain) == evaluation_settings(followed)
