"""optuna-dashboard over a run: served on this machine alone, without a change to the run."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from experiments_fixtures.run_folders import make_run
from waiting import wait_for

from experiments.dashboard import serve_dashboard
from experiments.errors import InputError
from experiments.run_folder import read_run


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port, host="127.0.0.1"):
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


def test_the_search_is_served_until_it_is_interrupted(tmp_path, port):
    run = make_run(tmp_path / "digits")
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    # Tests that run in the background may have been told to ignore interrupts, and what they start with them.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heeding}; from experiments.cli import main; main(['dashboard', {str(run)!r}, '--port', '{port}'])"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            wait_for(lambda: answers(port), seconds=120)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies") as reply:
                (study,) = json.load(reply)["study_summaries"]
            assert (study["study_name"], study["directions"]) == ("digits", ["minimize", "minimize"])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}") as reply:
                assert len(json.load(reply)["trials"]) == 29
            assert not answers(port, "127.0.0.2")  # of all addresses of this machine, it listens on one
            server.send_signal(signal.SIGINT)
            told = server.communicate(timeout=60)[0]
        finally:
            server.kill()
    assert server.returncode == 0
    assert told.strip() == f"http://127.0.0.1:{port}/dashboard until Ctrl+C"
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_a_port_that_is_taken_and_a_package_that_lacks_are_told(tmp_path, port, monkeypatch):
    run = read_run(make_run(tmp_path / "digits"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(InputError, match=f"--port {port}: something listens there already"):
            serve_dashboard(run, port=port, say=lambda _: None)
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(InputError, match="needs optuna-dashboard, .* `make install` brings it"):
        serve_dashboard(run, port=port, say=lambda _: None)
