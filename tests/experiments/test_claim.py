"""A run folder belongs to one sweep at a time, from before anything is trained."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from experiments import cli, feasibility
from experiments.config import ledger_header, load_config
from experiments.data_record import check_same_data
from experiments.denoising_task import open_examples
from experiments.errors import InputError
from experiments.ledger import Ledger
from experiments.pipeline import run_sweep
from experiments.progress import silent_progress
from search_space import get_scale

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quick_checks(monkeypatch):
    """Looks at fewer architectures for what is feasible, as shape checks make each slow."""
    monkeypatch.setattr(feasibility, "_NUM_SAMPLES", 20)


@pytest.fixture
def paused_run(tmp_path):
    """A run folder whose sweep, another process, has just begun and stands still."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "experiments.cli", "sweep", "digits-small", "--run-dir", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as sweep:
        try:
            end = time.monotonic() + 300
            while not (folder / "sweep.yaml").exists():
                assert sweep.poll() is None, sweep.stderr and sweep.stderr.read().decode()
                assert time.monotonic() < end, "the sweep does not begin"
                time.sleep(0.01)
            sweep.send_signal(signal.SIGSTOP)
            assert os.WIFSTOPPED(os.waitpid(sweep.pid, os.WUNTRACED)[1])
            yield folder
        finally:
            sweep.kill()


def _run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


def _files(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_goes_on_with_the_data_that_it_was_made_with_alone(tmp_path):
    folder, run = tmp_path / "images", tmp_path / "run"
    for label, n in (("a", 12), ("b", 12)):
        write_images(folder / label, range(n))
    run.mkdir()

    def check():
        scale = get_scale("digits-proxy")
        check_same_data(run, {split: open_examples(str(folder), scale, split=split) for split in ("train", "validation")})

    check()
    check()
    write_images(folder / "b", range(12, 14))
    with pytest.raises(
        InputError, match=r"data\.json: this run was made with other data: split '\w+' had \d+ examples and has"
    ):
        check()
    (run / "data.json").write_text("{}")
    with pytest.raises(InputError, match=r"data\.json.*delete it if the data are still the same"):
        check()


def write_images(folder, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("L", (8, 8), number).save(folder / f"{number}.png")


def test_a_second_sweep_is_refused_before_anything_is_written_and_readers_are_not(paused_run, capsys):
    before = _files(paused_run)
    assert _run("sweep", "digits-small", "--run-dir", paused_run) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert f"{paused_run / 'ledger.jsonl'}: another process writes this ledger (process " in error
    assert "wait for it, end it, or use another folder" in error
    assert _files(paused_run) == before
    assert _run("front", paused_run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_done"] == 0
    assert _run("report", paused_run) == 0


def test_a_run_folder_is_held_until_its_sweep_ends_or_fails(tmp_path, monkeypatch):
    header = ledger_header(load_config("digits-small"))

    def out_of_memory(*_):
        with pytest.raises(InputError, match="another process writes this ledger"):
            Ledger.open(tmp_path / "run" / "ledger.jsonl", header=header)
        raise MemoryError

    monkeypatch.setattr("experiments.supernet_training.train_supernet", out_of_memory)
    config = load_config("digits-small", [f"run_dir={json.dumps(str(tmp_path / 'run'))}", "search.searcher=random"])
    with pytest.raises(MemoryError):
        run_sweep(config, silent_progress())
    Ledger.open(tmp_path / "run" / "ledger.jsonl", header=header).close()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no sweep; choose another --run-dir"):
        run_sweep(load_config("digits-small", [f"run_dir={json.dumps(str(tmp_path))}"]), silent_progress())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
