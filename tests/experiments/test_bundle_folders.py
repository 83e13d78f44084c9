"""Folders of trainings: whole under their name, or gone on with; nothing is lost between the two."""

import shutil

import pytest

from experiments import bundle_folders
from experiments.bundle_folders import MADE_BY, WORK, new_folder, resumable_folder
from experiments.errors import InputError
from experiments.locks import lock_path, locked


def work(folder, files):
    """A training that leaves these files in its folder."""
    with resumable_folder(folder, {"a": 1}) as partial:
        for name, text in files.items():
            (partial / name).write_text(text)
            if name.startswith("taken"):
                folder.mkdir()
                (folder / name).write_text(text)


def test_what_is_finished_has_its_name_before_anything_is_dropped(tmp_path, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_folders.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "made", {f"{WORK}/checkpoint": "1", "weights": "2"})
    assert (tmp_path / "made" / "weights").read_text() == "2"
    assert not (tmp_path / "made.partial").exists()


def test_a_refusal_before_the_first_step_leaves_nothing(tmp_path):
    with pytest.raises(InputError), resumable_folder(tmp_path / "made", {"a": 1}):
        raise InputError("no softmax")
    assert not list(tmp_path.iterdir())


def test_a_training_that_is_not_finished_is_not_deleted_for_another_folder_of_its_name(tmp_path):
    with pytest.raises(OSError, match="not empty"):
        work(tmp_path / "made", {f"{WORK}/checkpoint": "1", "taken": "x"})
    shutil.rmtree(tmp_path / "made")
    with (
        pytest.raises(InputError, match=r"made\.partial: holds a training that is not finished"),
        new_folder(tmp_path / "made"),
    ):
        pass
    assert (tmp_path / "made.partial" / WORK / "checkpoint").read_text() == "1"


@pytest.mark.parametrize("begin", [new_folder, lambda path: resumable_folder(path, {"a": 1})])
def test_a_folder_that_only_has_the_name_of_what_a_kill_leaves_is_not_touched(tmp_path, begin):
    other = tmp_path / "made.partial"
    other.mkdir()
    (other / "notes").write_text("mine")
    with pytest.raises(InputError, match=r"made\.partial: it is in the way"), begin(tmp_path / "made"):
        pass
    assert (other / "notes").read_text() == "mine"


def test_what_a_kill_has_left_of_a_new_folder_is_made_again_unless_it_is_being_made(tmp_path):
    left = tmp_path / "made.partial"
    left.mkdir()
    (left / "half").write_text("1")
    lock_path(left).touch()
    with locked(left, what="folder"), pytest.raises(InputError, match="another process"), new_folder(tmp_path / "made"):
        pass
    with new_folder(tmp_path / "made") as folder:
        (folder / "whole").write_text("2")
    assert {path.name for path in tmp_path.rglob("*")} == {"made", "whole"}


def test_what_another_command_has_left_is_no_part_of_a_training(tmp_path):
    left = tmp_path / "made.partial"
    left.mkdir()
    (left / "teacher").write_text("of another")
    lock_path(left).touch()
    work(tmp_path / "made", {"weights": "1"})
    assert {path.name for path in tmp_path.rglob("*")} == {"made", "weights", MADE_BY}


def test_a_training_goes_on_where_the_file_of_its_request_was_lost(tmp_path):
    with pytest.raises(OSError, match="not empty"):
        work(tmp_path / "made", {f"{WORK}/checkpoint": "1", "taken": "x"})
    shutil.rmtree(tmp_path / "made")
    request = tmp_path / "made.partial" / MADE_BY
    request.write_text("[1]")
    with pytest.raises(InputError, match="this says nothing of a request"), resumable_folder(tmp_path / "made", {"a": 1}):
        pass
    request.unlink()
    with resumable_folder(tmp_path / "made", {"a": 1}) as folder:
        assert (folder / WORK / "checkpoint").is_file()


def test_where_something_has_taken_the_name_that_is_told_and_the_work_stays(tmp_path):
    with pytest.raises(OSError, match="not empty"):
        work(tmp_path / "made", {f"{WORK}/checkpoint": "1", "taken": "x"})
    assert (tmp_path / "made.partial" / WORK / "checkpoint").read_text() == "1"
    shutil.rmtree(tmp_path / "made")
    with resumable_folder(tmp_path / "made", {"a": 1}) as folder:
        assert (folder / WORK / "checkpoint").is_file()
    assert not (tmp_path / "made" / WORK).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"made"}
