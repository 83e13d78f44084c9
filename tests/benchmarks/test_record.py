"""A benchmark's result file says what a reader needs, or is refused."""

import json

import pytest

from benchmarks.record import write_result

NUMBER = {"value": 2.0, "unit": "ms", "n": 30, "low": 1.9, "high": 2.1}


def test_a_result_carries_machine_versions_date_and_interval(tmp_path):
    path = write_result("a_name", shows="it works", command="run it", numbers={"time": NUMBER}, folder=tmp_path)
    record = json.loads(path.read_text())
    assert path == tmp_path / "a_name.json"
    assert record["numbers"] == {"time": NUMBER}
    assert record["machine"]["cores"] >= 1
    assert record["versions"].keys() >= {"python", "jax", "numpy"}
    assert len(record["date"]) == 10


def test_a_number_without_its_n_is_refused_and_nothing_is_written(tmp_path):
    bare = {key: value for key, value in NUMBER.items() if key != "n"}
    with pytest.raises(ValueError, match="number 'time' of a_name lacks n; say None"):
        write_result("a_name", shows="", command="", numbers={"time": bare}, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_plain_word_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`name` must be lower-case words joined by underscores, got '\.\./x'"):
        write_result("../x", shows="", command="", numbers={}, folder=tmp_path)
