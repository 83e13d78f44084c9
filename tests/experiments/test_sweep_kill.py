"""A sweep that is killed with SIGKILL and started again by the same command: nothing is lost, nothing is done twice."""

import collections
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_problem
from waiting import wait_for

from experiments.front import front_of
from experiments.ledger_contents import read_ledger

TESTS = Path(__file__).parents[1]


def started(folder, temporary, executor, name, num, seconds, *options):
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}:{TESTS}", "TMPDIR": str(temporary)}
    command = [sys.executable, str(TESTS / "sweep_program.py"), str(folder), executor, name, str(num), str(seconds), *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def logged(folder):
    """How often each architecture was begun, and how often an evaluator was built."""
    log = folder / "evaluated.log"
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    begun = collections.Counter(digest for word, digest, _ in lines if word == "begun")
    return begun, [int(pid) for word, _, pid in lines if word == "built"]


def outcomes(folder):
    path = folder / "ledger.jsonl"
    return {x.index: x for x in read_ledger(path).evaluations} if path.exists() and path.stat().st_size else {}


def killed(folder, temporary, executor, name, num, seconds, *options, num_kills=3, num_workers=1):
    """Kills a sweep at seeded instants, lets it end, and compares what the ledger says with what really ran."""
    rng = random.Random(0)
    for _ in range(num_kills):
        known = outcomes(folder)
        sweep = started(folder, temporary, executor, name, num, seconds, *options)
        wait_for(lambda known=known: len(outcomes(folder)) > len(known) + 2)
        time.sleep(rng.random() * 4 * seconds)
        sweep.send_signal(signal.SIGKILL)
        sweep.communicate()
        after = outcomes(folder)
        assert {index: after[index] for index in known} == known
    before = outcomes(folder)
    assert sum(x.status != "infeasible" for x in before.values()) < num, "it was over before it was killed"
    output, errors = started(folder, temporary, executor, name, num, seconds, *options).communicate(timeout=300)
    assert "end" in output, errors
    contents = read_ledger(folder / "ledger.jsonl")
    assert {index: outcomes(folder)[index] for index in before} == before
    judged = {x.digest for x in contents.evaluations if x.status != "infeasible"}
    assert len(judged) == num
    assert contents.in_flight == ()
    begun, _ = logged(folder)
    assert set(begun) == judged  # what was never evaluated is not in the ledger, and the other way round
    assert not {x.digest for x in contents.evaluations if x.status == "infeasible"} & set(begun)
    assert sum(begun.values()) - num <= num_kills * num_workers
    return contents


@pytest.mark.parametrize("name", ["nsga2", "random"])
def test_killed_alone(tmp_path, name):
    contents = killed(tmp_path, tmp_path, "local", name, 30, 0.15)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    output, errors = started(fresh, tmp_path, "local", name, 30, 0.0).communicate(timeout=300)
    assert "end" in output, errors
    uninterrupted = read_ledger(fresh / "ledger.jsonl")
    assert [(type(x), x.index, x.architecture) for x in contents.events] == [
        (type(x), x.index, x.architecture) for x in uninterrupted.events
    ]


@pytest.fixture
def short_temporary():
    """Ray's socket paths must be short. What a killed Ray left is removed once its last processes have gone."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="pu-"))
    yield folder
    wait_for(lambda: not ray_processes(folder), seconds=120)
    shutil.rmtree(folder)


def ray_processes(folder):
    """Processes whose command line names a folder of ours."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_killed_on_ray_at_twenty_instants_it_ends_with_the_front_of_the_uninterrupted_run(tmp_path, short_temporary):
    batches = ("--batch", "6")
    contents = killed(tmp_path, short_temporary, "ray", "pocket", 200, 0.1, *batches, num_kills=20, num_workers=2)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    output, errors = started(fresh, tmp_path, "local", "pocket", 200, 0.0, *batches).communicate(timeout=300)
    assert "end" in output, errors
    uninterrupted = read_ledger(fresh / "ledger.jsonl")
    assert contents.asked == uninterrupted.asked
    fronts = [{x.digest for x in front_of(each.evaluations, toy_problem.OBJECTIVES)} for each in (contents, uninterrupted)]
    assert fronts[0] == fronts[1]
    assert len(list(short_temporary.glob("pocketunet-ray-*"))) <= 20  # of the killed; the one that ended removed its own


@pytest.mark.slow
def test_killed_workers_are_replaced_and_their_architectures_evaluated_again(tmp_path, short_temporary):
    rng, num, num_kills = random.Random(0), 160, 10
    sweep = started(tmp_path, short_temporary, "ray", "random", num, 0.4)
    for kills in range(num_kills):
        wait_for(lambda kills=kills: len(logged(tmp_path)[1]) == 2 + kills or sweep.poll() is not None)  # both are there
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.5 + rng.random())
        os.kill(logged(tmp_path)[1][-1], signal.SIGKILL)
    output, errors = sweep.communicate(timeout=300)
    assert "end" in output, errors
    judged = [x for x in outcomes(tmp_path).values() if x.status != "infeasible"]
    assert len(judged) == num
    assert not any("the worker died" in (x.reason or "") for x in judged)
    begun, built = logged(tmp_path)
    assert sum(begun.values()) - num <= num_kills
    assert len(built) == 2 + num_kills
    assert list(short_temporary.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_interrupted_by_hand_it_leaves_a_whole_ledger_and_no_ray(tmp_path, short_temporary, executor):
    sweep = started(tmp_path, short_temporary, executor, "nsga2", 500, 0.05)
    wait_for(lambda: len(outcomes(tmp_path)) > 4)
    sweep.send_signal(signal.SIGINT)
    _, errors = sweep.communicate(timeout=60)
    assert sweep.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert not read_ledger(tmp_path / "ledger.jsonl").torn
    assert list(short_temporary.iterdir()) == []
    wait_for(lambda: not ray_processes(short_temporary), seconds=90)
