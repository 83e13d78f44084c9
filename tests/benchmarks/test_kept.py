"""What a long benchmark has found is kept, and put back."""

import gzip
import os
import time
from pathlib import Path

import pytest

from benchmarks import kept
from experiments.errors import InputError


@pytest.fixture
def folders(tmp_path):
    one, two = tmp_path / "runs", tmp_path / "kept"
    (one / "base").mkdir(parents=True)
    (one / "base" / "ledger.jsonl").write_text("{}\n")
    (one / "band.json").write_text("[]")
    return one, two


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def files_to_keep(folder):
    return [path for path in files(folder) if path.name != ".kept"]


def test_files_come_back_as_they_were(folders, tmp_path):
    runs, where = folders
    kept.keep(files(runs), folder=runs, kept=where)
    assert gzip.decompress((where / "base" / "ledger.jsonl.gz").read_bytes()) == b"{}\n"
    kept.put_back(where, folder=tmp_path / "elsewhere")
    found = {path.relative_to(tmp_path / "elsewhere"): path.read_text() for path in files_to_keep(tmp_path / "elsewhere")}
    assert found == {Path("base/ledger.jsonl"): "{}\n", Path("band.json"): "[]"}


def test_the_place_that_has_changed_counts_whatever_its_time(folders):
    runs, where = folders
    kept.keep(files(runs), folder=runs, kept=where)
    (runs / "band.json").write_text("[1]")
    (where / "base" / "ledger.jsonl.gz").write_bytes(gzip.compress(b"{}\n{}\n"))
    for path in (runs / "band.json", where / "base" / "ledger.jsonl.gz"):
        os.utime(path, (1, 1))
    kept.put_back(where, folder=runs)
    assert (runs / "band.json").read_text() == "[1]"
    assert (runs / "base" / "ledger.jsonl").read_text() == "{}\n{}\n"
    kept.keep(files_to_keep(runs), folder=runs, kept=where)
    assert (where / "band.json").read_text() == "[1]"


def test_what_changed_in_both_places_is_refused(folders):
    runs, where = folders
    kept.keep(files(runs), folder=runs, kept=where)
    (runs / "band.json").write_text("[1]")
    (where / "band.json").write_text("[2]")
    with pytest.raises(InputError, match=r"band\.json: it and .*kept/band\.json have both changed .* delete the wrong one"):
        kept.put_back(where, folder=runs)
    assert ((runs / "band.json").read_text(), (where / "band.json").read_text()) == ("[1]", "[2]")


def test_what_was_kept_before_does_not_come_back_after_a_checkout(folders):
    runs, where = folders
    kept.keep(files(runs), folder=runs, kept=where)
    (runs / "band.json").write_text("[1]")
    kept.keep(files_to_keep(runs), folder=runs, kept=where)
    (where / "band.json").write_text("[]")
    (where / "base" / "ledger.jsonl.gz").unlink()
    kept.put_back(where, folder=runs)
    assert (runs / "band.json").read_text() == "[1]"
    kept.keep(files_to_keep(runs), folder=runs, kept=where)
    assert (where / "band.json").read_text() == "[1]"
    assert gzip.decompress((where / "base" / "ledger.jsonl.gz").read_bytes()) == b"{}\n"


def test_all_comes_back_to_a_folder_that_was_emptied(folders):
    runs, where = folders
    kept.keep(files(runs), folder=runs, kept=where)
    for path in files_to_keep(runs):
        path.unlink()
    kept.put_back(where, folder=runs)
    assert len(files_to_keep(runs)) == 2


def test_two_that_never_were_the_same_are_refused(folders):
    runs, where = folders
    where.mkdir()
    (where / "band.json").write_text("[2]")
    with pytest.raises(InputError, match="both changed"):
        kept.put_back(where, folder=runs)


def test_what_was_deleted_to_be_made_again_stays_away(folders):
    runs, where = folders
    kept.keep(files(runs), folder=runs, kept=where)
    (runs / "band.json").unlink()
    kept.put_back(where, folder=runs)
    assert not (runs / "band.json").exists()
    (where / "band.json").write_text("[2]")
    kept.put_back(where, folder=runs)
    assert (runs / "band.json").read_text() == "[2]"


def test_what_is_kept_already_is_not_written_again(folders):
    runs, where = folders
    kept.keep(files(runs), folder=runs, kept=where)
    before = {path: path.stat().st_mtime_ns for path in files(where)}
    (runs / ".kept").unlink()
    kept.keep(files_to_keep(runs), folder=runs, kept=where)
    assert {path: path.stat().st_mtime_ns for path in files(where)} == before


def test_files_are_kept_while_they_grow_and_after_a_failure(folders):
    runs, where = folders

    def fail_late():
        with kept.keeping(("*/*.jsonl", "*.json"), folder=runs, kept=where, every_s=0.01):
            until = time.monotonic() + 10
            while not (where / "band.json").is_file():
                assert time.monotonic() < until
                time.sleep(0.01)
            (runs / "band.json").write_text("[1, 2]")
            raise KeyError

    with pytest.raises(KeyError):
        fail_late()
    assert (where / "band.json").read_text() == "[1, 2]"
