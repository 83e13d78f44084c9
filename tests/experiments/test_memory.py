"""Where compiled programs lie, which JAX loads and runs; memory that a process keeps is not taken from the system again."""

import os
import subprocess
import sys

import jax
import pytest

from experiments.memory import use_compilation_cache

# A block of so many doubles, written to and freed twenty times, by a thread where one is begun; what comes first is told.
FAULTS = """
import queue, resource, sys, threading
import numpy as np
from experiments.memory import keep_freed_memory, share_one_arena
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    begun, num = bytearray(1000), orders.get()
    np.ones(num)
    before = faults()
    for _ in range(20):
        np.ones(num)
    print(faults() - before)
orders, thread = queue.Queue(), threading.Thread(target=work)
for step in sys.argv[2:]:
    {"share": share_one_arena, "begin": thread.start, "keep": keep_freed_memory}[step]()
orders.put(int(sys.argv[1]))
thread.join() if "begin" in sys.argv else work()
"""
MB_64, MB_128 = 8 * 2**20, 16 * 2**20  # twice what glibc ever keeps by default; more than a thread's own arena holds


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """Where the programs of a run would be kept, with the setting put back afterwards."""
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def folder(run="run"):
        use_compilation_cache(tmp_path / run)
        assert jax.config.jax_compilation_cache_dir == os.environ["JAX_COMPILATION_CACHE_DIR"]
        return os.environ["JAX_COMPILATION_CACHE_DIR"]

    yield folder
    jax.config.update("jax_compilation_cache_dir", before)


def test_programs_lie_in_the_run_folder_under_a_name_of_the_users_own(cache_folder, tmp_path, monkeypatch):
    first = cache_folder()
    assert first.startswith(str(tmp_path / "run" / "compiled"))
    assert cache_folder() == first
    assert os.path.basename(cache_folder("other")) == os.path.basename(first)
    assert (tmp_path / "cache" / "pocketunet" / "name").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of another user"))
    assert cache_folder() != first


def test_a_folder_that_the_user_has_chosen_stays(cache_folder, tmp_path, monkeypatch):
    chosen = str(tmp_path / "compiled" / "programs")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", chosen)
    jax.config.update("jax_compilation_cache_dir", chosen)  # as JAX does when it is imported
    assert cache_folder() == chosen


def test_where_no_name_can_be_kept_it_is_another_each_time(cache_folder, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    assert cache_folder() != cache_folder()
    (tmp_path / "cache").unlink()
    cache_folder()
    (tmp_path / "cache" / "pocketunet" / "name").write_text("../../..")
    assert len(os.path.relpath(cache_folder(), tmp_path / "run" / "compiled")) == 16


def faults(num, *steps):
    done = subprocess.run([sys.executable, "-c", FAULTS, str(num), *steps], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_what_is_freed_is_used_again():
    assert faults(MB_64, "keep") < 100
    assert faults(MB_64) > 20 * 16  # of huge pages, 32 a block; of small ones, 16,384


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_thread_that_began_before_uses_it_again_where_all_share_one_arena():
    assert faults(MB_128, "share", "begin", "keep") < 100
    assert faults(MB_128, "begin", "keep") > 20 * 32
