"""What a long benchmark has found is kept, and put back."""

import gzip
import os
import time
from pathlib import Path

import pytest

from benchmarks import kept


@pytest.fixture
def folders(tmp_path):
    one, two = tmp_path / "runs", tmp_path / "kept"
    (one / "base").mkdir(parents=True)
    (one / "base" / "ledger.jsonl").write_text("{}\n")
    (one / "band.json").write_text("[]")
    return one, two


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_files_come_back_as_they_were(folders, tmp_path):
    runs, where = folders
    kept.keep(files(runs), folder=runs, kept=where)
    assert gzip.decompress((where / "base" / "ledger.jsonl.gz").read_bytes()) == b"{}\n"
    kept.put_back(where, folder=tmp_path / "elsewhere")
    found = {path.relative_to(tmp_path / "elsewhere"): path.read_text() for path in files(tmp_path / "elsewhere")}
    assert found == {Path("base/ledger.jsonl"): "{}\n", Path("band.json"): "[]"}


def test_the_newer_of_two_stays(folders):
    runs, where = folders
    kept.keep(files(runs), folder=runs, kept=where)
    (runs / "band.json").write_text("[1]")
    (where / "base" / "ledger.jsonl.gz").write_bytes(gzip.compress(b"{}\n{}\n"))
    now = time.time()
    for path, age in ((where / "band.json", 9), (runs / "band.json", 0), (where / "base" / "ledger.jsonl.gz", 0)):
        os.utime(path, (now - age, now - age))
    os.utime(runs / "base" / "ledger.jsonl", (now - 9, now - 9))
    kept.put_back(where, folder=runs)
    assert (runs / "band.json").read_text() == "[1]"
    assert (runs / "base" / "ledger.jsonl").read_text() == "{}\n{}\n"


def test_what_is_kept_already_is_not_written_again(folders):
    runs, where = folders
    kept.keep(files(runs), folder=runs, kept=where)
    before = {path: path.stat().st_mtime_ns for path in files(where)}
    assert sorted(before.values()) == sorted(path.stat().st_mtime_ns for path in files(runs))
    kept.keep(files(runs), folder=runs, kept=where)
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
