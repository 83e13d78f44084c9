"""The table of published latencies."""

import pytest

from experiments.errors import InputError
from experiments.published_table import published_table
from latency_models.published_profiles import published_figures


def row_of(table, *words):
    (row,) = [line for line in table.splitlines() if all(word in line for word in words)]
    return row.split()


def test_all_figures_have_a_row_with_conditions_derivation_and_source():
    table = published_table(None)
    assert len(table.split("\n\n")[0].splitlines()) == 1 + len(published_figures())
    assert row_of(table, "Galaxy S24", "SD 1.5 (sd15)") == (
        [
            "Galaxy",
            "S24",
            "SD",
            "1.5",
            "(sd15)",
            "512",
            "1",
            "QNN",
            "context",
            "binary",
            "w8a16",
            "NPU",
            "79.1",
            "verified",
            "[1]",
        ]
    )
    assert row_of(table, "iPhone 12 mini")[-7:] == ["694.4", "1", "/", "(1.44", "iterations/s)", "verified", "[2]"]
    assert "[1] Qualcomm AI Hub Models, perf.yaml\n" in table
    assert "[3] MLPerf mobile_app_open, pull request 936 (2024-12-03)" in table


def test_one_device_has_its_rows_sources_and_notes_only():
    table = published_table("Galaxy S23 Ultra")
    row = row_of(table, "Galaxy S23 Ultra")
    assert row[-9:] == ["<", "575.0", "11.5", "s", "/", "20", "steps", "verified", "[1]"]
    assert "?" in row  # its batch is not stated
    assert "[1] text encoder and decoder are in the 11.5 s" in table
    assert "Core ML" not in table


def test_remembered_figures_are_marked_and_a_note_stands_once():
    table = published_table(None)
    assert row_of(table, "iPhone 15 Pro ", "MobileDiffusion")[-2] == "remembered"
    assert "Remembered figures are no thresholds." in table
    assert table.count("not Core ML's") == 1
    assert "\n\n\n" not in published_table("Pixel 7 Pro")


def test_a_device_without_figures_is_refused_with_those_that_have():
    with pytest.raises(InputError, match=r"no figure of 'iphone 14' is known; there are .*did you mean 'iPhone 14'"):
        published_table("iphone 14")
