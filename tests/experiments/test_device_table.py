"""The table of devices: each one written, told, and with the remedy where it cannot be used."""

import pytest

from experiments.device_table import device_table
from latency_models import device as device_module
from latency_models.device import DEVICES, DeviceEntry, get_device


@pytest.fixture(autouse=True)
def no_adb(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    get_device.cache_clear()
    yield
    get_device.cache_clear()


def cells(table):
    """Text of each column by the device's row, its lines joined; a row begins where a known device does."""
    heading, _, *lines = [line for line in table.splitlines() if line.strip()]
    starts = [heading.index(title) for title in ("device", "what it is", "from here")]
    rows = {}
    name = ""
    for line in lines:
        parts = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        name = next((known for known in DEVICES if parts[0].split("[")[0].split(":")[0] == known), name)
        kept = rows.setdefault(name, ["", "", ""])
        rows[name] = [f"{kept[0]}{parts[0]}", *(f"{a} {b}".strip() for a, b in zip(kept[1:], parts[1:], strict=True))]
    return rows


def test_every_device_is_written_in_full_and_described():
    rows = cells(device_table())
    assert list(rows) == list(DEVICES)
    for name, (usage, description, _) in rows.items():
        assert usage == DEVICES[name].usage
        assert description == get_device(name).description


def test_it_says_what_can_be_used_and_why_not():
    rows = cells(device_table())
    assert rows["xla-cpu"][2] == "yes"
    assert rows["adb"][2].startswith("no: there is no program `adb` on PATH; install Android's platform tools")
    assert rows["xla-gpu"][2] == "yes" or rows["xla-gpu"][2].startswith("no: JAX sees no GPU here: ")
    assert rows["csv"][2] == "no: no table is named; write csv:FILE"


def test_missing_packages_are_named_without_making_the_device(monkeypatch):
    missing = {"litert-cpu": ["ai_edge_litert", "litert_converter"]}
    monkeypatch.setattr("experiments.device_table.missing_packages", lambda name: missing.get(name, []))
    monkeypatch.setattr(device_module, "missing_packages", lambda name: missing.get(name, []))
    row = cells(device_table())["litert-cpu"]
    assert row[2] == ("no: ai-edge-litert litert-converter not installed; install ai-edge-litert litert-converter")
    assert row[1].startswith("LiteRT on the CPU")


def test_a_device_of_long_options_keeps_its_commas_at_the_ends_of_lines(monkeypatch):
    usage = "csv:" + ",".join(f"option{i}=value{i}" for i in range(6))
    monkeypatch.setitem(DEVICES, "csv", DeviceEntry("latency_models.csv_device", "csv_device", (), usage))
    table = device_table()
    assert cells(table)["csv"][0] == usage
    assert max(map(len, table.splitlines())) <= 110
