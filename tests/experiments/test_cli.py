"""The command line: exit codes, one message for what a person can mend, a trace for what is a bug."""

import errno
import json
import os
import pathlib
import subprocess
import sys

import click
import pytest
from experiments_fixtures.run_folders import make_run

from experiments import cli


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(map(str, arguments)))
    return exit_.value.code or 0


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "digits")


def test_front_prints_one_json_object(run_dir, capsys):
    assert _run("front", run_dir, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_done"] == 24


def test_report_prints_the_path_it_wrote(run_dir, capsys):
    assert _run("report", run_dir) == 0
    assert capsys.readouterr().out.strip() == str(run_dir / "report.html")


def test_ledger_check_of_a_whole_ledger(run_dir, capsys):
    assert _run("ledger", "check", run_dir) == 0
    assert "29 asked for, 29 evaluated" in capsys.readouterr().out


def test_describe_and_compare_print_one_json_object(capsys):
    assert _run("describe", "mobilediffusion", "--json") == 0
    described = json.loads(capsys.readouterr().out)
    keys = {"parameters", "macs_conv_linear", "macs_attention", "peak_activation_bytes", "stages"}
    assert keys <= set(described)
    assert _run("compare", "mobilediffusion", "md-lite", "--json") == 0
    assert json.loads(capsys.readouterr().out)["subjects"][0] == described


def test_a_space_is_described_with_what_its_limits_exclude(capsys):
    assert _run("space", "describe", "digits-small", "--limit", "macs=1e9", "--scale", "digits-proxy") == 0
    shown = capsys.readouterr().out
    assert "at scale digits-proxy" in shown
    assert "of the sample keep all limits" in shown


def test_a_damaged_line_is_found_then_moved_aside(tmp_path, capsys):
    ledger = make_run(tmp_path / "run") / "ledger.jsonl"
    lines = ledger.read_bytes().split(b"\n")
    lines[4] = lines[4].replace(b":", b";", 1)
    ledger.write_bytes(b"\n".join(lines))
    before = ledger.read_bytes()
    assert _run("front", tmp_path / "run") == 2
    assert f"{ledger}:5: the line is damaged" in capsys.readouterr().err
    assert _run("ledger", "check", ledger, "--json") == 1
    assert [entry["line"] for entry in json.loads(capsys.readouterr().out)["damaged"]] == [5]
    assert ledger.read_bytes() == before
    assert _run("ledger", "check", ledger, "--quarantine") == 0
    assert "moved to" in capsys.readouterr().out
    assert _run("ledger", "check", ledger) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("front", "no/such/run"), "pocketunet: no/such/run: there is no such run folder"),
        (("sweep", "no-such-sweep"), "pocketunet: no-such-sweep: there is no such file, and no such sweep ships"),
        (("sweep", "digits", "serach.population=8"), "serach"),
        (("space", "describe", "digit"), "digits"),
        (("space", "describe", "mobil-sd"), "did you mean 'mobile-sd'?"),
        (("space", "describe", "digits-small", "--scale", "sd"), "there is no scale 'sd'; known are digits-proxy, "),
        (("space", "describe", "digits-small", "--limit", "macs"), "'macs' is no bound; write such as"),
        (("space", "describe", "digits-small", "--limit", "mac=1"), "no objective is called 'mac'; did you mean 'macs'?"),
        (("space", "describe", "digits-small", "--limit", "latency_ms=1"), "no cost latency_ms is computed here"),
        (
            ("space", "describe", "digits-small", "--limit", "macs=1"),
            "no architecture of space 'digits-small' that was",
        ),
        (("describe", "sd-15"), "sd-15: there is no such file or bundle, and it is not a published design: sd15, bk-sdm-base"),
        (("describe", "no/such.json"), "no/such.json: there is no such file; give an architecture.json, a bundle, or a pub"),
        (("describe", "sd15", "--scale", "sd"), "there is no scale 'sd'"),
        (("compare", "sd15"), "give two or more architectures"),
        (("compare", "sd15", "mobildiffusion"), "did you mean 'mobilediffusion'?"),
        (("handoff", "run"), "Missing option '--pick'"),
        (("fornt", "run"), "No such command 'fornt'"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(arguments, message, capsys):
    assert _run(*arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def _command_that_raises(monkeypatch, error_factory):
    @click.command()
    def broken():
        error_factory()

    monkeypatch.setitem(cli.pocketunet.commands, "broken", broken)


def test_a_bug_shows_its_trace(monkeypatch, capsys):
    _command_that_raises(monkeypatch, lambda: json.loads("{"))
    assert _run("broken") == 1
    assert "JSONDecodeError" in capsys.readouterr().err


def test_another_kind_of_error_is_not_swallowed(monkeypatch):
    _command_that_raises(monkeypatch, lambda: {}["missing"])
    with pytest.raises(KeyError, match="missing"):
        cli.main(["broken"])


def test_an_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    _command_that_raises(monkeypatch, interrupt)
    assert _run("broken") == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_a_missing_file_of_the_system_is_one_message(monkeypatch, capsys):
    _command_that_raises(monkeypatch, lambda: pathlib.Path("no/such/file").read_text())
    assert _run("broken") == 2
    assert capsys.readouterr().err == "pocketunet: no/such/file: no such file or directory\n"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_cannot_be_written_is_one_message(monkeypatch, tmp_path, capsys, code):
    def full(*_):
        raise OSError(code, os.strerror(code), str(tmp_path / "ledger.jsonl"))

    monkeypatch.setattr("experiments.run_folder.read_run", full)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["front", str(tmp_path)])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == (
        f"pocketunet: {tmp_path / 'ledger.jsonl'}: {os.strerror(code).lower()}; what was finished is kept: once it can be "
        "written, the same command goes on from there\n"
    )


def test_a_reader_that_goes_is_no_failure():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "experiments.cli", "describe", "sd15", "--json"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
