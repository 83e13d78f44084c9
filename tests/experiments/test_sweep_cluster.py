"""A sweep on a running cluster of two nodes, each with a working directory of its own; and what a killed node costs."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from experiments.errors import InputError
from experiments.ledger_contents import read_ledger
from experiments.ray_cluster import ray_cluster
from experiments.run_folder import read_run

TESTS = Path(__file__).parents[1]
TOKEN = "a-token-that-only-these-tests-know"
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats", "--block"]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Cluster:
    """A head with one core, or none; nodes with one more come and go."""

    def __init__(self, folder, *, head_cpus=1):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PYTHONPATH": str(TESTS), "TMPDIR": str(folder),
        }  # fmt: skip
        self._started = []
        self.start(
            "head",
            "--head",
            f"--num-cpus={head_cpus}",
            f"--port={self.port}",
            "--include-dashboard=false",
            f"--temp-dir={folder / 'ray'}",
        )
        wait_for(lambda: answers(self.port))

    def start(self, name, *arguments):
        (self.folder / name).mkdir(exist_ok=True)
        settings = {"cwd": self.folder / name, "env": self.environment, "start_new_session": True}
        with (self.folder / f"{name}.log").open("w") as output:
            process = subprocess.Popen([*RAY, *arguments], stdout=output, stderr=output, **settings)
        self._started.append(process)
        return process

    def node(self):
        return self.start("node", "--num-cpus=1", f"--address=127.0.0.1:{self.port}")

    @staticmethod
    def kill(process):
        """Everything of a node at once, as when its power fails."""
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            member.kill()
        process.wait()

    def close(self):
        for process in self._started[::-1]:
            if process.poll() is None:
                self.kill(process)

    def sweep(self, *command):
        environment = self.environment | {"PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
        command = [sys.executable, *map(str, command), "--address", f"127.0.0.1:{self.port}"]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def running_cluster(**settings):
    folder = Path(tempfile.mkdtemp(prefix="pu-"))  # Ray's socket paths must be short
    cluster = Cluster(folder, **settings)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster():
    with running_cluster() as cluster:
        yield cluster


def lines(run, word):
    log = run / "evaluated.log"
    return [line.split() for line in log.read_text().splitlines() if line.startswith(word)] if log.exists() else []


@pytest.mark.slow
def test_a_cluster_is_sent_the_code_and_loses_nothing_with_a_node(cluster, tmp_path):
    rng, node = random.Random(0), cluster.node()
    sweep = cluster.sweep(TESTS / "sweep_program.py", tmp_path, "ray", "nsga2", 240, 0.5)
    for kills in range(1, 6):
        built = 1 + kills  # the head's worker, and one for each node that came
        wait_for(lambda built=built: len(lines(tmp_path, "built")) >= built or sweep.poll() is not None)
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(rng.random())
        cluster.kill(node)
        node = cluster.node()
    output, errors = sweep.communicate(timeout=300)
    assert "end" in output, errors
    assert "without a token" not in errors
    contents = read_ledger(tmp_path / "ledger.jsonl")
    judged = {x.digest for x in contents.evaluations if x.status != "infeasible"}
    begun = [digest for _, digest, _ in lines(tmp_path, "begun")]
    assert contents.in_flight == ()
    assert len(judged) == 240
    assert set(begun) == judged
    assert len(begun) - 240 <= 5  # what was in flight on a killed node
    assert not any("the worker died" in (x.reason or "") for x in contents.evaluations)
    packages = {Path(line[1]).parts for line in lines(tmp_path, "code")}
    assert all("working_dir_files" in parts for parts in packages)


SHRUNK = (
    *("supernet.num_steps=4", "supernet.largest_steps=2", "features.num_steps=20", "quality.loss_samples=64"),
    *("latency.num_architectures=8", "latency.rounds=2", "search.executor=ray", "search.population=4", "trials=6"),
    *("quality.num_steps=2", "distill.num_steps=3"),
)


@pytest.mark.slow
def test_a_whole_sweep_is_evaluated_on_a_node_that_is_not_the_drivers(tmp_path):
    """Weights, images and the classifier travel to it, for the search as for its rung."""
    run, rungs = tmp_path / "run", "rungs=[{num_samples: 40, share: 0.5}]"
    with running_cluster(head_cpus=0) as cluster:
        cluster.node()
        sweep = cluster.sweep("-m", "experiments.cli", "sweep", "digits-small", *SHRUNK, rungs, "--run", run)
        _, errors = sweep.communicate(timeout=600)
        assert sweep.returncode == 0, errors
    found = read_run(run)
    assert [len(level.done) for level in found.levels] == [6, 3]
    assert not found.with_status("failed")
    assert (run / "samples.png").is_file()


@pytest.mark.slow
def test_without_its_token_a_cluster_does_not_answer(cluster, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "b" + TOKEN[1:])
    with pytest.raises(InputError, match=r"no Ray cluster answers there.*RAY_AUTH_TOKEN"):  # noqa: SIM117
        with ray_cluster(num_cpus=1, address=f"127.0.0.1:{cluster.port}"):
            pass


def test_a_local_cluster_without_a_token_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(InputError, match=r"RAY_AUTH_MODE=disabled: .*unset RAY_AUTH_MODE"):  # noqa: SIM117
        with ray_cluster(num_cpus=1, address=None):
            pass
