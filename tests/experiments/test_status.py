"""Where a run stands."""

import fcntl
import json
import threading

import pytest
import yaml
from experiments_fixtures.run_folders import add_rung, make_run, reopened

from experiments.cli import main
from experiments.errors import InputError
from experiments.locks import lock_path, locked, writer_of
from experiments.run_folder import read_run
from experiments.status import status_json, status_text


@pytest.fixture
def folder(tmp_path):
    return make_run(tmp_path / "digits")


def with_goal(folder, goal):
    settings = yaml.safe_load((folder / "sweep.yaml").read_text())
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**settings, "trials": goal, "search": {"num_workers": 2}}))
    return read_run(folder)


def test_counts_and_the_command_that_goes_on(folder):
    text = status_text(with_goal(folder, 40))
    assert "24 done, 3 infeasible, 2 failed" in text
    assert "goal      40 evaluations, searcher nsga2; 26 in " in text
    assert "0.5 s an evaluation, 2 at a time" in text
    assert text.endswith(f"Next: `pocketunet sweep {folder}/sweep.yaml --run-dir {folder}` goes on")


def test_a_finished_run_can_be_looked_at_or_extended(folder):
    (folder / "samples.png").touch()
    text = status_text(with_goal(folder, 26))
    assert "finished  samples" in text
    assert text.endswith(f"`pocketunet front {folder}`; `pocketunet sweep extend {folder} trials=N` searches further")


def test_a_supernet_is_finished_with_its_last_step(folder):
    settings = yaml.safe_load((folder / "sweep.yaml").read_text())
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**settings, "supernet": {"num_steps": 200}}))
    (folder / "supernet").mkdir()
    for step, is_finished in ((50, False), (200, True)):
        (folder / "supernet" / "history.json").write_text(json.dumps([{"step": step, "loss": 0.1}]))
        assert status_json(read_run(folder))["stages"]["supernet"] == is_finished


def test_a_winner_of_an_earlier_front_is_to_be_made_anew(folder):
    (folder / "samples.png").touch()
    (folder / "winner").mkdir()
    (folder / "winner" / "expected.json").write_text(json.dumps({"digest": "of another design"}))
    run = with_goal(folder, 26)
    assert run.has_outdated_winner
    assert status_text(run).endswith("goes on")


def test_seconds_are_never_told_by_a_power_of_ten(folder, monkeypatch):
    monkeypatch.setattr("experiments.status.statistics.median", lambda seconds: 283.4)
    assert "280 s an evaluation" in status_text(read_run(folder))


def test_a_space_whose_rest_breaks_the_limits_is_searched_to_its_end(folder, monkeypatch):
    (folder / "samples.png").touch()
    monkeypatch.setattr("experiments.status._size", lambda run: 26 + 3)  # ended, and infeasible
    assert status_text(with_goal(folder, 40)).endswith("searches further")


def test_a_run_that_ends_with_its_front_is_finished_without_samples(folder):
    settings = yaml.safe_load((folder / "sweep.yaml").read_text())
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**settings, "trials": 26, "distill": {"at_end": False}}))
    assert status_text(read_run(folder)).endswith("searches further")


@pytest.mark.parametrize(("key", "value"), [("trials", "many"), ("search", "local"), ("budget", 7200), ("distill", [])])
def test_a_damaged_sweep_file_is_refused_by_its_key(folder, key, value):
    settings = yaml.safe_load((folder / "sweep.yaml").read_text())
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**settings, key: value}))
    with pytest.raises(InputError, match=rf"sweep\.yaml: key '{key}' cannot be .*; take the file from a copy"):
        read_run(folder)


def test_a_sweep_file_that_yaml_cannot_read_is_refused(folder):
    (folder / "sweep.yaml").write_text("a: 2020-13-45")
    with pytest.raises(InputError, match=r"sweep\.yaml: this is no YAML file \(.*; take it from a copy"):
        read_run(folder)


def test_a_glance_at_the_lock_hinders_no_writer(tmp_path):
    path = tmp_path / "ledger.jsonl"
    locked(path, what="ledger").close()
    with lock_path(path).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.05, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        locked(path, what="ledger").close()


def test_rungs_are_counted_and_what_they_save_is_told(folder):
    add_rung(folder)
    (folder / "samples.png").touch()
    text = status_text(with_goal(folder, 26))
    assert "24 done, 3 infeasible, 2 failed" in text
    assert "on the front, judged by frechet_classifier of 128 samples" in text
    assert "rung      frechet_classifier of 128 samples: 6 done, 0 failed, 0 left of 6 promoted" in text
    assert "saved     60 % of the time" in text  # 29 times 0.5 s and 6 times 4 s, in the place of 24 times 4 s
    assert "searches further" in text.splitlines()[-1]
    assert status_json(read_run(folder))["rungs"][1]["num_done"] == 6


def test_a_rung_that_is_not_complete_goes_on(folder):
    add_rung(folder, num_left=2)
    (folder / "samples.png").touch()
    text = status_text(with_goal(folder, 26))
    assert "4 done, 0 failed, 2 left of 6 promoted" in text
    assert "judged by" not in text
    assert text.endswith("goes on")


def test_who_writes_is_told_as_long_as_they_do(folder):
    path = folder / "ledger.jsonl"
    assert writer_of(path) is None
    with reopened(folder):
        assert str(writer_of(path)).startswith("process ")
        assert "Next: wait" in status_text(read_run(folder))
    assert status_json(read_run(folder))["written_by"] is None


def test_the_front_moved_last_where_the_hypervolume_last_grew(folder):
    found = status_json(read_run(folder))
    volume = read_run(folder).summary["hypervolume"]
    position = found["front_moved_last_at"] - 1  # of the evaluations that are done
    assert volume["history"][position] == volume["history"][-1] == found["hypervolume"]
    assert position == 0 or volume["history"][position - 1] < volume["history"][position]


def test_a_run_in_which_nothing_is_done_has_a_status(tmp_path):
    found = status_json(read_run(make_run(tmp_path / "a", num_done=0, num_failed=0, num_infeasible=0)))
    assert (found["hypervolume"], found["front_moved_last_at"], found["median_seconds"], found["front"]) == (
        None,
        None,
        None,
        0,
    )


def test_the_command_prints_text_or_json(folder, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["status", str(folder), "--json"])
    assert json.loads(capsys.readouterr().out)["done"] == 24
    with pytest.raises(SystemExit, match="0"):
        main(["status", str(folder)])
    assert "24 done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "write `pocketunet sweep extend RUN trials=N`"),
        (["{run}"], "write `pocketunet sweep extend RUN trials=N`"),
        (["{run}", "seed=3"], "write `pocketunet sweep extend RUN trials=N`"),
        (["{run}/nowhere", "trials=3"], "nowhere: this is no run folder, it holds no sweep.yaml"),
        (["{run}", "trials=many"], "override 'trials=many': key 'trials' must be"),
        (["{run}", "trials=3"], "26 evaluations are there already; give more than that"),
    ],
)
def test_an_extension_that_cannot_be_meant_is_refused(folder, capsys, arguments, told):
    settings = {"data": "digits", "objectives": ["denoising_loss", "latency_ms"]}
    (folder / "sweep.yaml").write_text((folder / "sweep.yaml").read_text() + yaml.safe_dump(settings))
    with pytest.raises(SystemExit, match="2"):
        main(["sweep", "extend", *(argument.format(run=folder) for argument in arguments)])
    assert told in capsys.readouterr().err
