"""Somebody else's measurements: read to the last cell, looked up, listed, and refused with line and column."""

import json

import numpy as np
import pytest

from latency_models.csv_device import COLUMNS, read_table, write_template
from latency_models.device import get_device
from latency_models.measure import measure
from latency_models.measurements import MeasurementSet
from latency_models.network import Network, blocks_alone, network_of
from latency_models.timing import TimingProtocol
from search_space import get_design, get_scale, get_space, layer_plan

ABOUT = "# device: Pixel 8\n# runtime: TFLite 2.16, GPU\n# dtype: float16\n\n"
HEADING = "architecture,scale,ms,low_ms,high_ms,n,peak_mb\n"
SCALE = get_scale("digits-deploy")


def network(architecture):
    return network_of(layer_plan(architecture, SCALE))


SMALLEST, LARGEST = (network(x) for x in (get_space("digits").smallest(), get_space("digits").largest()))
DIGEST = LARGEST.architecture.digest


@pytest.fixture
def write(tmp_path):
    """Writes a table beside the architecture.json of the smallest network."""
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "a.json").write_text(json.dumps(SMALLEST.architecture.to_json()))

    def write(rows, about=ABOUT, heading=HEADING):
        path = tmp_path / "phone.csv"
        path.write_text(about + heading + rows, "utf-8")
        return path

    return write


@pytest.fixture
def table(write):
    return write(
        f"nets/a.json,digits-deploy,4.5,4.25,5,30,12.5\n\n# from the second day\n{DIGEST},digits-deploy,9.75,,,,\n"
        "sd15, sd15 ,1800,,,,\n"
    )


def no_build(network):
    raise AssertionError("nothing is built")


def test_rows_are_read_to_the_last_cell(table):
    found = read_table(table)
    first, second, third = found.rows.values()
    assert (first.line, first.key, first.ms, first.low_ms, first.high_ms, first.n, first.peak_mb) == (
        6, SMALLEST.key, 4.5, 4.25, 5.0, 30, 12.5,
    )  # fmt: skip
    assert (second.line, second.key, second.ms, second.network) == (9, f"{DIGEST}@digits-deploy", 9.75, None)
    assert (second.low_ms, second.high_ms, second.n, second.peak_mb) == (None, None, None, None)
    assert third.key == f"{get_design('sd15').architecture.digest}@sd15"
    assert found.about == {"device": "Pixel 8", "runtime": "TFLite 2.16, GPU", "dtype": "float16"}


def test_columns_may_stand_in_another_order_and_optional_ones_be_left_out(write):
    path = write("8,digits-deploy,nets/a.json\n", heading="ms,scale,architecture\n")
    (row,) = read_table(path).rows.values()
    assert (row.key, row.ms) == (SMALLEST.key, 8.0)


def test_a_byte_order_mark_and_line_ends_of_a_spreadsheet_change_nothing(table):
    rows = read_table(table)
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert read_table(table) == rows


def test_networks_are_those_that_can_be_built(table):
    assert [x.key for x in read_table(table).networks] == [SMALLEST.key, f"{get_design('sd15').architecture.digest}@sd15"]


def test_a_run_gives_the_recorded_number(table, tmp_path):
    session = get_device(f"csv:{table}").load(SMALLEST, no_build, tmp_path)
    assert {clock: times.tolist() for clock, times in session.run(50).items()} == {"wall": [4.5]}
    assert session.profile(5) is None
    assert session.loaded.peak_bytes == 12_500_000
    assert session.loaded.partitions is None
    session.close()
    assert get_device(f"csv:{table}").load(LARGEST, no_build, tmp_path).loaded.peak_bytes is None  # found by its digest


def test_a_table_is_measured_like_a_device(table, tmp_path):
    device = get_device(f"csv:{table}")
    measured = measure(device, [SMALLEST, LARGEST], no_build, protocol=TimingProtocol(rounds=2))
    first, second = (m.timing for m in measured.measurements.values())
    assert (first.ms, first.low, first.high, first.n, first.statistic) == (4.5, 4.25, 5.0, 30, "recorded")
    assert (second.ms, second.low, second.high, second.n) == (9.75, 9.75, 9.75, 1)
    assert measured.repeatability is None  # one number does not say how well it repeats
    assert measured.profiles == {}
    measured.save(tmp_path / "M")
    assert MeasurementSet.load(tmp_path / "M") == measured
    assert measured.fingerprint == {**read_table(table).about, "clock": "wall time, as recorded in a table"}


def test_a_network_that_the_table_lacks_is_refused_with_those_it_has(table, tmp_path, write):
    other = network(get_space("digits").sample(np.random.default_rng(1)))
    with pytest.raises(ValueError, match=rf"phone.csv has no row for {other.key}; it has {SMALLEST.key}, .*; add a row"):
        get_device(f"csv:{table}").load(other, no_build, tmp_path)
    get_device.cache_clear()
    write("".join(f"{i:016x},digits-deploy,{i + 1}\n" for i in range(9)), heading="architecture,scale,ms\n")
    with pytest.raises(ValueError, match=r"0000000000000004@digits-deploy and 4 more; add a row"):
        get_device(f"csv:{table}").load(other, no_build, tmp_path)


def test_absence_is_a_table_that_is_not_there_or_wrong(tmp_path, write):
    assert get_device("csv").absence() == "no table is named; write csv:FILE"
    assert "cannot be read (No such file or directory); name another" in get_device(f"csv:{tmp_path / 'no.csv'}").absence()
    assert "line 6, column ms" in get_device(f"csv:{write('nets/a.json,digits-deploy,fast,,,,')}").absence()
    get_device.cache_clear()
    assert get_device(f"csv:{write('nets/a.json,digits-deploy,4,,,,')}").absence() is None


def test_options_are_refused():
    with pytest.raises(ValueError, match="it takes no options, got threads; write csv:FILE"):
        get_device("csv:x.csv,threads=2")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("nets/a.json,digits-deploy,,,,,", "line 6, column ms: it is empty; write the latency in milliseconds"),
        ("nets/a.json,digits-deploy,4 ms,,,,", "line 6, column ms: it must be a positive number.* got '4 ms'; correct"),
        ("nets/a.json,digits-deploy,-4,,,,", "column ms: .* got '-4'"),
        ("nets/a.json,digits-deploy,nan,,,,", "column ms: .* got 'nan'"),
        ("nets/a.json,digits-deploy,inf,,,,", "column ms: .* got 'inf'"),
        ("nets/a.json,digits-deploy,4,5,,,", "column low_ms: it must be at most ms = 4, got 5; correct one"),
        ("nets/a.json,digits-deploy,4,,3.5,,", "column high_ms: it must be at least ms = 4, got 3.5; correct one"),
        ("nets/a.json,digits-deploy,4,,,2.5,", "column n: it must be a whole number from 1 and have no unit, got '2.5'"),
        ("nets/a.json,digits-deploy,4,,,,0", "column peak_mb: it must be a positive number.* got '0'"),
        ("nets/a.json,digits,4,,,,", "line 6, column scale: there is no scale 'digits'.*did you mean"),
        ("nets/b.json,digits-deploy,4,,,,", "column architecture: 'nets/b.json' is no published design .* no such file"),
        ("sd15,digits-deploy,4", r"line 6: a row must have 7 cells, as the heading does, got 3; leave cells empty"),
        ("nets/a.json,digits-deploy,4,5,,,,", "got 8; .*write decimal points, no commas"),
        ("nets,digits-deploy,4,,,,", "column architecture: 'nets' is no published design"),
    ],
)
def test_a_wrong_row_is_refused_by_line_and_column(write, row, message):
    with pytest.raises(ValueError, match=rf"phone\.csv, .*{message}"):
        read_table(write(row))


def test_a_damaged_architecture_is_refused_by_its_row(write, tmp_path):
    path = write("nets/a.json,digits-deploy,4,,,,")
    for text, message in (
        ("{", "Expecting property name"),
        ('{"schema": 99}', "schema must be"),
    ):
        (tmp_path / "nets" / "a.json").write_text(text)
        with pytest.raises(
            ValueError, match=rf"line 6, column architecture, 'nets/a.json' at scale digits-deploy: .*{message}"
        ):
            read_table(path)


@pytest.mark.parametrize(
    ("about", "heading", "message"),
    [
        ("# device: Pixel 8\n", HEADING, "nothing says which runtime it was measured on.*write a line '# runtime: ...'"),
        ("# device:\n# runtime: x\n", HEADING, "nothing says which device"),
        (ABOUT, "architecture,scale,latency\n", r"line 5: column 'latency' is not known.*did you mean"),
        (ABOUT, "architecture;scale;ms\n", "separated by commas"),
        (ABOUT, "architecture,ms\n", "there must be one column 'scale', there are 0; write it once"),
        (ABOUT, "architecture,scale,ms,ms\n", "there must be one column 'ms', there are 2"),
        (ABOUT, "", "the table has no heading; write architecture,scale,ms"),
        (ABOUT, HEADING, "the table has no rows; write one for each network"),
    ],
)
def test_a_table_without_what_it_needs_is_refused(write, about, heading, message):
    with pytest.raises(ValueError, match=rf"phone\.csv.*{message}"):
        read_table(write("", about, heading))


def test_two_rows_of_one_network_are_refused(write):
    with pytest.raises(ValueError, match=rf"line 7: {SMALLEST.key} stands in line 6 already; keep one of them"):
        read_table(write(f"nets/a.json,digits-deploy,4,,,,\n{SMALLEST.architecture.digest},digits-deploy,5,,,,\n"))


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"# device: \xff\n")
    with pytest.raises(ValueError, match=r"x\.csv: this is no text in UTF-8 .*save it as CSV"):
        read_table(tmp_path / "x.csv")


def test_a_filled_template_is_a_table_of_the_same_networks(tmp_path):
    path = tmp_path / "new" / "pixel.csv"
    write_template(path, [SMALLEST, LARGEST])
    with pytest.raises(ValueError, match="nothing says which device"):
        read_table(path)
    lines = path.read_text().splitlines()
    assert lines[:5] == ["# device:", "# runtime:", "# dtype:", "# threads:", ",".join(COLUMNS)]
    filled = [f"{line} x" for line in lines[:4]] + [lines[4]] + [line.replace(",,", ",7,", 1) for line in lines[5:]]
    path.write_text("\n".join(filled))
    found = read_table(path)
    assert {row.ms for row in found.rows.values()} == {7.0}
    assert [x.to_json() for x in found.networks] == [SMALLEST.to_json(), LARGEST.to_json()]


def test_a_template_overwrites_nothing_and_takes_whole_networks_only(tmp_path):
    (tmp_path / "x.csv").write_text("filled in")
    with pytest.raises(ValueError, match=r"x\.csv: this file exists, and what was filled in would be lost"):
        write_template(tmp_path / "x.csv", [SMALLEST])
    block = SMALLEST.blocks[0]
    alone: Network = blocks_alone([(block.spec, block.resolution or 1)], SCALE)
    with pytest.raises(ValueError, match="blocks alone, a table has whole networks; leave it out"):
        write_template(tmp_path / "y.csv", [SMALLEST, alone])
    assert sorted(x.name for x in tmp_path.iterdir()) == ["x.csv"]


PADDED = '# device: Pixel 8,,,,,,\n"# runtime: TFLite 2.16, GPU",,,,,,\n# dtype:,,,,,,\n,,,,,,\n'


def test_a_table_that_a_spreadsheet_saved_says_the_same(write):
    found = read_table(write("nets/a.json,digits-deploy,4.5,,,,\n,,,,,,\n", about=PADDED))
    assert found.about == {"device": "Pixel 8", "runtime": "TFLite 2.16, GPU"}
    assert [row.ms for row in found.rows.values()] == [4.5]


def test_a_template_that_a_spreadsheet_saved_unfilled_names_no_device(write):
    with pytest.raises(ValueError, match="nothing says which device"):
        read_table(write("nets/a.json,digits-deploy,4.5,,,,\n", about="# device:,,,,,,\n# runtime:,,,,,,\n"))
