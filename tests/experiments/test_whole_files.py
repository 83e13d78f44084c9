import os

import pytest

from experiments.whole_files import write_whole


@pytest.mark.parametrize(("content", "stored"), [("größer\n", "größer\n".encode()), (b"\x00\xff", b"\x00\xff")])
def test_text_and_bytes_replace_what_was_there(tmp_path, content, stored):
    path = tmp_path / "a.json"
    path.write_text("a longer text that was there before")
    (tmp_path / "a.json.partial").write_text("what a kill left")
    write_whole(path, content)
    assert path.read_bytes() == stored
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named_by_its_own_name_and_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    for path, error in ((tmp_path / "taken", IsADirectoryError), (tmp_path / "none" / "a.json", FileNotFoundError)):
        with pytest.raises(error) as raised:
            write_whole(path, "new")
        assert raised.value.filename == str(path)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken"]


def test_until_all_of_it_is_on_disk_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
