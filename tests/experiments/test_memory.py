"""Where compiled programs lie, which JAX loads and runs."""

import os

import jax
import pytest

from experiments.memory import use_compilation_cache


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
