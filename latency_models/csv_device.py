"""Latencies that somebody else measured, in a table: a device whose runs are looked up.

The table is a CSV file. Lines `# key: value` say where it was measured; `device` and `runtime` must be among them. Then
follow a heading and a row for each network: `architecture` (the path of an architecture.json relative to the table, the name
of a published design, or an architecture's digest), `scale`, `ms`, and where known `low_ms`, `high_ms` (an interval), `n`
(how many runs), `peak_mb` (10^6 bytes).
"""

import contextlib
import csv
import dataclasses
import difflib
import functools
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from latency_models.device import Device, KernelTime, Loaded, Session
from latency_models.network import Build, Network, network_of
from latency_models.timing import Clock, Timing
from latency_models.whole_files import write_record, write_whole
from search_space import Architecture, get_design, get_scale, layer_plan
from search_space.published import is_design

Number = TypeVar("Number", int, float)
REQUIRED_COLUMNS = ("architecture", "scale", "ms")
OPTIONAL_COLUMNS = ("low_ms", "high_ms", "n", "peak_mb")
COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
REQUIRED_KEYS = ("device", "runtime")
_SUGGESTED_KEYS = (*REQUIRED_KEYS, "dtype", "threads")
_DIGEST = re.compile(r"[0-9a-f]{16}")
_COMMENT = re.compile(r"#\s*([^:]+?)\s*:\s*(.*?)\s*")
_LISTED = 5
_FOLDER = "architectures"


@dataclasses.dataclass(frozen=True)
class RecordedLatency:
    """A row of a table.

    Attributes:
      line: Its number in the file.
      key: Of the network, as `Network.key`.
      network: None where the row gives a digest alone, which no network can be built from.
      ms: Latency in milliseconds.
      low_ms: Lower end of its interval.
      high_ms: Upper end.
      n: Number of runs.
      peak_mb: Peak of memory in 10^6 bytes.
    """

    line: int
    key: str
    network: Network | None
    ms: float
    low_ms: float | None = None
    high_ms: float | None = None
    n: int | None = None
    peak_mb: float | None = None


@dataclasses.dataclass(frozen=True)
class LatencyTable:
    """A table that was read.

    Attributes:
      about: What the lines `# key: value` say.
      rows: By the network's key.
    """

    about: dict[str, str]
    rows: dict[str, RecordedLatency]

    @property
    def networks(self) -> list[Network]:
        """The networks that the rows name by more than a digest, in the order of the file."""
        return [row.network for row in self.rows.values() if row.network is not None]


class CsvDevice(Device):
    """A table in the place of a device: nothing runs, nothing is converted, and no output can be checked."""

    def __init__(self, path: Path | None) -> None:
        """Reads nothing yet.

        Args:
          path: The table; None is a device that is absent until a table is named.
        """
        self._path = path
        self.name = "csv" if path is None else f"csv:{path}"
        self.description = "latencies that somebody else measured, from a table"

    @functools.cached_property
    def table(self) -> LatencyTable:
        """The table, read once.

        Raises:
          ValueError: None is named, it is not there, or a line of it is wrong.
        """
        if self._path is None:
            raise ValueError("no table is named; write csv:FILE")
        return read_table(self._path)

    def absence(self) -> str | None:
        """No table, or one that cannot be read."""
        try:
            _ = self.table
        except ValueError as error:
            return str(error)
        return None

    def load(self, network: Network, build: Build, folder: Path) -> "CsvSession":
        """Looks the network up.

        Raises:
          ValueError: The table lacks it.
        """
        del build, folder
        rows = self.table.rows
        if network.key not in rows:
            more = f" and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
            raise ValueError(
                f"{self._path} has no row for {network.key}; it has {', '.join(list(rows)[:_LISTED])}{more}; "
                "add a row, or choose among these"
            )
        return CsvSession(rows[network.key])

    def fingerprint(self) -> dict[str, str]:
        """What the table says about itself, and that its numbers are wall times of somebody else's protocol."""
        return {**self.table.about, "clock": "wall time, as recorded in a table"}


class CsvSession(Session):
    """A recorded latency. What it does not record of loading is 0."""

    def __init__(self, row: RecordedLatency) -> None:
        """Keeps the row."""
        self._ms = row.ms
        low, high = row.low_ms or row.ms, row.high_ms or row.ms
        self.recorded = Timing(row.ms, low, high, row.n or 1, "wall", "recorded", half_gap=None)
        peak = None if row.peak_mb is None else round(row.peak_mb * 1e6)
        self.loaded = Loaded(model_bytes=0, partitions=None, load_ms=0.0, first_ms=0.0, peak_bytes=peak)

    def run(self, count: int) -> dict[Clock, Float[np.ndarray, " runs"]]:
        """The recorded number, once."""
        del count
        return {"wall": np.array([self._ms])}

    def profile(self, count: int) -> tuple[KernelTime, ...] | None:
        """None: a table has whole networks."""
        del count
        return None

    def close(self) -> None:
        """Nothing to unload."""


def csv_device(argument: str | None, options: Mapping[str, str]) -> CsvDevice:
    """The device of a table.

    Raises:
      ValueError: There are options.
    """
    if options:
        raise ValueError(f"it takes no options, got {', '.join(options)}")
    return CsvDevice(None if argument is None else Path(argument))


def read_table(path: Path) -> LatencyTable:
    """Reads a table.

    Raises:
      ValueError: It is not there, or a line of it is wrong; the message names file, line, column, value and remedy.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()  # spreadsheets write a byte order mark
    except OSError as error:
        raise ValueError(f"{path}: this table cannot be read ({error.strerror}); name another") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: this is no text in UTF-8 ({error.reason} at byte {error.start}); save it as CSV") from None
    about = _read_about(path, lines)
    rows: dict[str, RecordedLatency] = {}
    for row in _read_rows(path, lines):
        if row.key in rows:
            raise ValueError(
                f"{path}, line {row.line}: {row.key} stands in line {rows[row.key].line} already; keep one of them"
            )
        rows[row.key] = row
    if not rows:
        raise ValueError(f"{path}: the table has no rows; write one for each network under the heading")
    return LatencyTable(about, rows)


def check_no_table(path: Path) -> None:
    """Raises ValueError where a table stands."""
    if path.exists():
        raise ValueError(f"{path}: this file exists, and what was filled in would be lost; give another name")


def write_template(path: Path, networks: Sequence[Network]) -> None:
    """Writes a table with a row for each network, its `ms` to be filled in, and its architecture.json in a folder beside it.

    Raises:
      ValueError: The file exists, or a network is blocks alone, which have no architecture.
    """
    check_no_table(path)
    rows = []
    for network in networks:
        if network.architecture is None:
            raise ValueError(f"{network.key} is blocks alone, a table has whole networks; leave it out")
        rows.append((f"{_FOLDER}/{network.architecture.digest}.json", network.scale.name))
    (path.parent / _FOLDER).mkdir(parents=True, exist_ok=True)
    for network, (file, _) in zip(networks, rows, strict=True):
        assert network.architecture is not None
        write_record(path.parent / file, network.architecture.to_json())
    text = io.StringIO(newline="")
    text.writelines(f"# {key}:\n" for key in _SUGGESTED_KEYS)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([*row, *[""] * (len(COLUMNS) - len(row))] for row in rows)
    write_whole(path, lambda file: file.write(text.getvalue().encode()))


def _bare(line: str) -> str:
    """A remark or an empty row as it was written: spreadsheets save quotes around it and empty cells behind it."""
    return ",".join(next(csv.reader([line]))).rstrip(", \t").lstrip()


def _read_about(path: Path, lines: Sequence[str]) -> dict[str, str]:
    found = [found for line in lines if (found := _COMMENT.fullmatch(_bare(line)))]
    about = {match[1]: match[2] for match in found if match[2]}
    for key in REQUIRED_KEYS:
        if key not in about:
            raise ValueError(
                f"{path}: nothing says which {key} it was measured on, and other measurements must not mix with these; "
                f"write a line '# {key}: ...'"
            )
    return about


def _read_rows(path: Path, lines: Sequence[str]) -> Iterator[RecordedLatency]:
    numbered = [(i, line) for i, line in enumerate(lines, 1) if (bare := _bare(line)) and not bare.startswith("#")]
    if not numbered:
        raise ValueError(f"{path}: the table has no heading; write {','.join(COLUMNS)}")
    cells = [[cell.strip() for cell in next(csv.reader([line]))] for _, line in numbered]
    heading = cells[0]
    _check_heading(f"{path}, line {numbered[0][0]}", heading)
    for (number, _), values in zip(numbered[1:], cells[1:], strict=True):
        where = f"{path}, line {number}"
        if len(values) != len(heading):
            raise ValueError(
                f"{where}: a row must have {len(heading)} cells, as the heading does, got {len(values)}; leave cells empty "
                "where nothing is known, and write decimal points, no commas"
            )
        yield _read_row(path, number, dict(zip(heading, values, strict=True)))


def _check_heading(where: str, heading: Sequence[str]) -> None:
    for column in heading:
        if column not in COLUMNS:
            nearest = difflib.get_close_matches(column, COLUMNS, n=1, cutoff=0)[0]
            raise ValueError(
                f"{where}: column {column!r} is not known; known are {', '.join(COLUMNS)}, separated by commas; "
                f"did you mean {nearest!r}?"
            )
    for column in REQUIRED_COLUMNS:
        if heading.count(column) != 1:
            raise ValueError(f"{where}: there must be one column {column!r}, there are {heading.count(column)}; write it once")


def _read_row(path: Path, line: int, cells: Mapping[str, str]) -> RecordedLatency:
    where = f"{path}, line {line}"
    key, network = _named_network(path.parent, where, cells["architecture"], cells["scale"])
    ms = _number(where, "ms", cells["ms"], float)
    if ms is None:
        raise ValueError(f"{where}, column ms: it is empty; write the latency in milliseconds, or take the row out")
    row = RecordedLatency(
        line, key, network, ms, *(_number(where, column, cells.get(column, ""), float) for column in ("low_ms", "high_ms")),
        n=_number(where, "n", cells.get("n", ""), int), peak_mb=_number(where, "peak_mb", cells.get("peak_mb", ""), float),
    )  # fmt: skip
    if row.low_ms is not None and row.low_ms > ms:
        raise ValueError(f"{where}, column low_ms: it must be at most ms = {ms:g}, got {row.low_ms:g}; correct one of them")
    if row.high_ms is not None and row.high_ms < ms:
        raise ValueError(f"{where}, column high_ms: it must be at least ms = {ms:g}, got {row.high_ms:g}; correct one of them")
    return row


def _number(where: str, column: str, text: str, kind: Callable[[str], Number]) -> Number | None:
    if not text:
        return None
    with contextlib.suppress(ValueError):
        value = kind(text)
        if 0 < value < math.inf:
            return value
    what = "whole number from 1" if kind is int else "positive number, with a decimal point,"
    raise ValueError(f"{where}, column {column}: it must be a {what} and have no unit, got {text!r}; correct or empty the cell")


def _named_network(folder: Path, where: str, name: str, scale_name: str) -> tuple[str, Network | None]:
    try:
        scale = get_scale(scale_name)
    except ValueError as error:
        raise ValueError(f"{where}, column scale: {error}") from None
    if _DIGEST.fullmatch(name):
        return f"{name}@{scale.name}", None
    try:
        architecture = get_design(name).architecture if is_design(name) else _read_architecture(folder / name)
        network = network_of(layer_plan(architecture, scale))
    except OSError:
        raise ValueError(
            f"{where}, column architecture: {name!r} is no published design and no digest, and there is no such file in "
            f"{folder}; write the path of an architecture.json"
        ) from None
    except ValueError as error:
        raise ValueError(f"{where}, column architecture, {name!r} at scale {scale.name}: {error}") from None
    return network.key, network


def _read_architecture(path: Path) -> Architecture:
    return Architecture.from_json(json.loads(path.read_text("utf-8")))
