import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import ray

from experiments.errors import InputError
from experiments.ray_cluster import _remove_orphans, ray_cluster, temporary_root


@pytest.fixture
def dead_pid():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def left_behind(tmp_path, pid, *, host=None, age=300.0):
    folder = tmp_path / f"pocketunet-ray-{pid}{host or ''}{age:.0f}"
    folder.mkdir()
    (folder / "owner.json").write_text(json.dumps({"host": host or socket.gethostname(), "pid": pid}))
    for path in (folder / "owner.json", folder):
        os.utime(path, (time.time() - age,) * 2)
    return folder


def test_only_the_old_folders_of_dead_processes_of_this_host_are_removed(tmp_path, monkeypatch, dead_pid):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = left_behind(tmp_path, dead_pid)
    kept = [
        left_behind(tmp_path, os.getpid()),
        left_behind(tmp_path, dead_pid, host="elsewhere"),
        left_behind(tmp_path, dead_pid, age=5.0),
    ]
    unmarked = tmp_path / "pocketunet-ray-unmarked"
    unmarked.mkdir()
    link = tmp_path / "pocketunet-ray-link"
    link.symlink_to(left_behind(tmp_path, dead_pid, age=400.0).rename(tmp_path / "target"))
    _remove_orphans()
    assert not gone.exists()
    assert all(folder.exists() for folder in (*kept, unmarked, link, tmp_path / "target" / "owner.json"))


def test_a_temporary_folder_with_too_long_a_name_for_sockets_is_passed_over(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert temporary_root() == "/tmp"
    with ray_cluster(num_cpus=1, address=None) as folder:
        assert folder.parent == Path("/tmp")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=rf"TMPDIR={long}: .*set TMPDIR to a folder whose name has at most 19 bytes"):
        temporary_root()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto"])
def test_where_no_cluster_answers_the_address_is_named(monkeypatch, address):
    def finds_none(**settings):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", finds_none)  # `auto` would find a cluster that another test runs just now
    with pytest.raises(InputError, match=rf"--address {address}: no Ray cluster answers there \(.*ray start --head"):  # noqa: SIM117
        with ray_cluster(num_cpus=1, address=address):
            pass
    assert not ray.is_initialized()
