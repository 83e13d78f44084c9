import dataclasses
import functools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_problem import architectures, evaluation, tiny_space

from experiments.errors import InputError
from experiments.ledger import Ledger
from experiments.ledger_check import check_ledger, quarantine
from experiments.ledger_contents import read_ledger
from experiments.records import Asked, Repaired, decode_line, encode_line, evaluation_from_json, evaluation_to_json
from objectives import Estimate

HEADER = {"space": "digits", "fingerprint": "f"}
NETS = architectures(6)


@functools.cache
def written_bytes():
    """Four asks and three outcomes, the second of them in flight at the end."""
    folder = Path(tempfile.mkdtemp())
    with Ledger.open(folder / "ledger.jsonl", header=HEADER) as ledger:
        for index, status in ((0, "done"), (1, None), (2, "failed"), (3, "infeasible")):
            ledger.asked(index, NETS[index])
            if status:
                ledger.record(evaluation(index, NETS[index], status=status))
    data = (folder / "ledger.jsonl").read_bytes()
    shutil.rmtree(folder)
    return data


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(written_bytes())
    return path


def damage(path, number):
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b'"num_blocks":1', b'"num_blocks":2', 1)
    path.write_bytes(b"".join(lines))


def test_what_was_written_is_read_back(path):
    contents = read_ledger(path)
    assert contents.header == {"schema": 3, **HEADER}
    assert [asked.architecture for asked in contents.asked] == NETS[:4]
    expected = [
        evaluation(0, NETS[0]),
        evaluation(2, NETS[2], status="failed"),
        evaluation(3, NETS[3], status="infeasible"),
    ]
    assert list(contents.evaluations) == expected
    assert contents.in_flight == (Asked(1, NETS[1]),)
    assert not contents.torn


def test_events_keep_the_order_in_which_they_came(path):
    assert [type(event).__name__ for event in read_ledger(path).events] == [
        "Asked", "Evaluation", "Asked", "Asked", "Evaluation", "Asked", "Evaluation",
    ]  # fmt: skip


def test_a_follower_is_told_what_is_there_and_then_each_event_once_it_is_on_disk(path):
    told, on_disk = [], []
    with Ledger.open(path, header=HEADER) as ledger:
        ledger.follow(lambda event: (told.append(event), on_disk.append(len(read_ledger(path).events))))
        assert tuple(told) == ledger.contents.events
        ledger.asked(4, NETS[4])
        ledger.record(evaluation(4, NETS[4]))
        assert tuple(told) == ledger.contents.events
    assert on_disk == [7] * 7 + [8, 9]


def test_every_line_is_strict_json_with_its_checksum(path):
    for line in path.read_bytes().splitlines(keepends=True):
        record = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert len(record["crc32"]) == 8


def test_cut_at_every_byte_it_reads_as_a_prefix_and_the_writer_goes_on(tmp_path, capsys):
    path = tmp_path / "ledger.jsonl"
    nets = architectures(4, space=tiny_space())  # short lines
    with Ledger.open(path, header=HEADER) as ledger:
        ledger.asked(0, nets[0])
        ledger.asked(1, nets[1])
        ledger.record(evaluation(1, nets[1], space=tiny_space()))
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    events = read_ledger(path).events
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        contents = read_ledger(path)
        num_lines = sum(end <= length for end in ends)
        assert contents.events == events[: max(0, num_lines - 1)], length
        assert contents.torn == (length not in (0, *ends)), length
        assert path.read_bytes() == data[:length]
    for length in range(0, len(data) + 1, 97):
        path.write_bytes(data[:length])
        before = read_ledger(path)
        with Ledger.open(path, header=HEADER) as ledger:
            assert ledger.contents.events == before.events
            ledger.asked(ledger.next_index, nets[3])
        assert ("cut a torn last line" in capsys.readouterr().err) == before.torn
        assert read_ledger(path).events == (*before.events, Asked(len(before.asked), nets[3]))


def test_a_bit_that_is_flipped_in_any_byte_stops_every_reader(tmp_path):
    path = tmp_path / "ledger.jsonl"
    nets = architectures(3, space=tiny_space())  # short lines
    with Ledger.open(path, header=HEADER) as ledger:
        for index, status in ((0, "done"), (1, "failed")):
            ledger.asked(index, nets[index])
            ledger.record(evaluation(index, nets[index], status=status, space=tiny_space()))
        ledger.asked(2, nets[2])
    data = path.read_bytes()
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(bytes(flipped))
        with pytest.raises(InputError, match=rf"{path}:\d+: "):
            read_ledger(path)


def test_a_full_disk_is_one_message_and_the_same_command_goes_on(tmp_path):
    """The size that a file may have stands for a disk that is full at so many bytes."""
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from toy_problem import quality, small_space, swept\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "space = small_space()\n"
        "swept(Path(sys.argv[1]), 12, space=space, header={}, executor='local',\n"
        "      evaluator_factory=lambda: lambda architecture: quality(architecture, space))\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}:{Path(__file__).parents[1]}"}

    def sweep(path, most_bytes):
        command = [sys.executable, "-c", program, str(path), str(most_bytes)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def steps(path):
        return [(type(event), event.index, event.architecture) for event in read_ledger(path).events]

    whole = tmp_path / "whole.jsonl"
    assert sweep(whole, 10**9).returncode == 0
    for share in (0.02, 0.31, 0.77):
        path = tmp_path / f"{share}.jsonl"
        stopped = sweep(path, int(share * whole.stat().st_size))
        assert f"File too large: '{path}'" in stopped.stderr
        kept = steps(path)
        assert kept == steps(whole)[: len(kept)]
        assert sweep(path, 10**9).returncode == 0
        assert steps(path) == steps(whole)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e6), st.integers(1, 10**9))
def test_numbers_come_back_to_the_last_bit(value, half_width, n):
    estimate = Estimate(value, n=n) if abs(value) > 1e300 else Estimate(value, value - half_width, value + half_width, n)
    before = dataclasses.replace(evaluation(0, NETS[0]), objectives={"macs": estimate}, seconds=half_width)
    after = evaluation_from_json(decode_line(encode_line(evaluation_to_json(before))))
    assert after == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_objective_that_is_not_finite_is_recorded_as_a_failure(tmp_path, value):
    with Ledger.open(tmp_path / "ledger.jsonl", header=HEADER) as ledger:
        ledger.asked(0, NETS[0])
        bad = evaluation(0, NETS[0])
        bad = dataclasses.replace(bad, objectives={**bad.objectives, "denoising_loss": Estimate(value)})
        recorded = ledger.record(bad)
    assert recorded.status == "failed"
    assert recorded.reason == f"denoising_loss is {value}"
    assert set(recorded.objectives) == {"macs"}
    assert read_ledger(tmp_path / "ledger.jsonl").evaluations == (recorded,)


def test_a_number_that_is_not_json_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range float values"):
        Ledger.open(tmp_path / "ledger.jsonl", header={**HEADER, "x": math.nan})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", range(1, 8))
def test_a_damaged_line_stops_readers_and_writers_with_its_number(path, number):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: number - 1], lines[number - 1][:-9] + b"\n", *lines[number:]]))
    before = path.read_bytes()
    for read in (read_ledger, lambda path: Ledger.open(path, header=HEADER)):
        remedy = "--quarantine" if number > 1 else "take it from a copy"
        with pytest.raises(InputError, match=rf"ledger.jsonl:{number}: the line is damaged: .* {remedy}"):
            read(path)
    assert path.read_bytes() == before
    assert next(line for line, _ in check_ledger(path).damaged) == number
    assert path.read_bytes() == before


def test_quarantine_moves_the_line_out_and_keeps_every_outcome(path):
    damage(path, 2)  # the first ask
    line = path.read_bytes().splitlines()[1]
    found = quarantine(path)
    assert [number for number, _ in found.damaged] == [2]
    contents = read_ledger(path)
    assert [x.index for x in contents.evaluations] == [0, 2, 3]
    assert {x.index: x.architecture for x in contents.asked} == dict(enumerate(NETS[:4]))
    assert contents.events[-1] == Repaired((2,))
    assert line in path.with_name("ledger.jsonl.quarantine").read_bytes()
    with Ledger.open(path, header=HEADER) as ledger:
        assert ledger.next_index == 4


def test_quarantine_of_an_outcome_leaves_its_ask_in_flight(path):
    damage(path, 3)
    quarantine(path)
    contents = read_ledger(path)
    assert [x.index for x in contents.in_flight] == [0, 1]
    assert [x.index for x in contents.evaluations] == [2, 3]


def test_quarantine_leaves_a_good_ledger_alone(path):
    before = path.read_bytes()
    assert quarantine(path).damaged == ()
    assert path.read_bytes() == before


def test_quarantine_refuses_to_invent_a_header(path):
    path.write_bytes(b"x" + path.read_bytes())
    with pytest.raises(InputError, match="the header is damaged"):
        quarantine(path)


def test_a_second_writer_is_refused_and_readers_are_not(path):
    with Ledger.open(path, header=HEADER):
        with pytest.raises(InputError, match=r"another process writes this ledger \(process \d+ on .*\)"):
            Ledger.open(path, header=HEADER)
        assert len(read_ledger(path).evaluations) == 3
    Ledger.open(path, header=HEADER).close()


def test_the_lock_of_a_killed_writer_is_free(path):
    code = (
        "import os, signal, sys; from experiments.ledger import Ledger\n"
        f"Ledger.open(sys.argv[1], header={HEADER!r}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False, timeout=60)
    assert done.returncode == -9
    Ledger.open(path, header=HEADER).close()


def test_another_header_is_refused_by_the_key_that_differs(path):
    with pytest.raises(InputError, match="was begun with fingerprint='f', now it is 'g'.*choose another run folder"):
        Ledger.open(path, header={**HEADER, "fingerprint": "g"})
    Ledger.open(path, header=HEADER).close()


def test_a_header_is_compared_as_json(tmp_path):
    for index, objectives in enumerate((("a", "b"), ["a", "b"])):
        with Ledger.open(tmp_path / "ledger.jsonl", header={"objectives": objectives}) as ledger:
            ledger.asked(index, NETS[index])


def test_a_ledger_in_which_nothing_was_asked_for_is_begun_anew(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for fingerprint in ("f", "g"):
        Ledger.open(path, header={**HEADER, "fingerprint": fingerprint}).close()
        assert read_ledger(path).header == {"schema": 3, **HEADER, "fingerprint": fingerprint}
    assert len(path.read_bytes().splitlines()) == 1


def test_another_schema_is_refused(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(encode_line({"kind": "header", "schema": 99, **HEADER}))
    with pytest.raises(InputError, match=r"ledger.jsonl:1: this version reads ledgers of schemas 1 to 3, got 99"):
        read_ledger(path)


def test_no_architecture_and_no_index_twice(path):
    with Ledger.open(path, header=HEADER) as ledger:
        before = path.read_bytes()
        with pytest.raises(ValueError, match="index 2 was asked for twice; the next is 4"):
            ledger.asked(2, NETS[4])
        with pytest.raises(ValueError, match="architecture .* was asked for twice"):
            ledger.asked(4, NETS[0])
        with pytest.raises(ValueError, match="index 0 .* is not in flight"):
            ledger.record(evaluation(0, NETS[0]))
        with pytest.raises(ValueError, match="index 1 .* is not in flight"):
            ledger.record(evaluation(1, NETS[4]))
        assert path.read_bytes() == before
        ledger.record(evaluation(1, NETS[1]))


def test_a_missing_ledger_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no ledger"):
        read_ledger(tmp_path / "ledger.jsonl")
    with pytest.raises(FileNotFoundError, match="there is no ledger to check"):
        check_ledger(tmp_path / "ledger.jsonl")
