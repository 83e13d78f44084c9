"""Reads what `benchmark_model` prints: TensorFlow's tool and LiteRT's, which share most lines and differ in the rest.

Source: tflite/tools/benchmark, tflite/profiling and litert/tools of LiteRT's repository; tables by TensorFlow's
stats_calculator. Both tools print `count=` lines and tables of operations; only TensorFlow's prints `Inference timings in
us` and `Delegate internal`, only LiteRT's the block `BENCHMARK RESULTS`.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

from latency_models.device import KernelTime

_NUMBER = r"([-+.\deE]+)"
_PREFIX = re.compile(r"(?:(INFO|WARN|WARNING|ERROR|VERBOSE|FATAL): )?(?:\[[^\]\s]+:\d+\] ?)?")
_STATISTICS = re.compile(r"count=\d+")
_PAIR = re.compile(rf"(\w+)={_NUMBER}")
_SUMMARY = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
    rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}"
)
_FOOTPRINTS = re.compile(
    rf"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): init={_NUMBER} overall={_NUMBER}"
)
_REPLACING = re.compile(r"Replacing (\d+)(?: out of (\d+))? node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions")
_APPLIED = re.compile(
    r"(?:Explicitly applied|Though) (\S+) delegate.* (completely|partially|not be) executed by the delegate(?: w/ (\d+))?"
)
_NODE = re.compile(r"Node number (\d+) \((.+?)\) (failed to \w+)")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags: *(.*\S)")
_NODES_EXECUTED = re.compile(r"Number of nodes executed: (\d+)")
_SUBGRAPH = re.compile(r"(Primary graph|Subgraph) \(.*\) profile:")
_RUN_ORDER = re.compile(r"=+ Run Order =+")
_KERNEL = re.compile(r"Delegate/(.*):(\d+)")
_PHASES = {
    "Profiling Info for Benchmark Initialization:": "start",
    "Operator-wise Profiling Info for Regular Benchmark Runs:": "graph",
}
# A number each, that one of the tools prints alone on a line.
_SINGLE = {
    "init_ms": (rf"Initialized session in {_NUMBER}ms", rf"Model initialization: +{_NUMBER} ms"),
    "first_ms": (rf"Warmup \(first\): +{_NUMBER} ms",),
    "avg_ms": (rf"Inference \(avg\): +{_NUMBER} ms",),
    "model_mb": (rf"The input model file size \(MB\): {_NUMBER}",),
    "init_mib": (rf"Init footprint: +{_NUMBER} MB",),
    "overall_mib": (rf"Overall footprint: +{_NUMBER} MB",),
    "peak_mib": (
        rf"Overall peak memory footprint \(MB\) via periodic monitoring: {_NUMBER}",
        rf"Peak memory: +{_NUMBER} MB",
    ),
}
_QUOTED_LINES = 3
_Place = Literal["start", "graph", "subgraph", "delegate"]


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Microseconds of some runs, as far as the tool tells.

    Attributes:
      avg_us: Mean.
      count: Number of runs.
      first_us: The first run.
      last_us: The last run.
      min_us: The fastest run.
      max_us: The slowest run.
      std_us: Standard deviation.
      p5_us: 5th percentile; newer tools have percentiles.
      median_us: Median.
      p95_us: 95th percentile.
    """

    avg_us: float
    count: int | None = None
    first_us: float | None = None
    last_us: float | None = None
    min_us: float | None = None
    max_us: float | None = None
    std_us: float | None = None
    p5_us: float | None = None
    median_us: float | None = None
    p95_us: float | None = None

    @property
    def ms(self) -> float:
        """The median in milliseconds; the mean where the tool is too old for percentiles."""
        return (self.avg_us if self.median_us is None else self.median_us) / 1e3


@dataclasses.dataclass(frozen=True)
class OperationTime:
    """A row of a table of operations.

    Attributes:
      kind: The column `[node type]`.
      name: The column `[Name]`: `[outputs]:number` of an operation, `Delegate/kernel:number` of a kernel in a delegate,
        else an event of the runtime, such as allocating.
      first_ms: Milliseconds of the first call.
      avg_ms: Mean milliseconds of a call.
      memory_kb: Memory it took.
      calls: Calls in a run; several where kernels of several partitions share a name. Old tools print 0.
    """

    kind: str
    name: str
    first_ms: float
    avg_ms: float
    memory_kb: float
    calls: int

    @property
    def is_delegate(self) -> bool:
        """Whether it stands for a whole partition."""
        return self.name.startswith("[") and "delegate" in self.kind.lower()

    @property
    def is_work(self) -> bool:
        """Whether it computes part of the network: an operation, or a kernel in a delegate."""
        return self.name.startswith(("[", "Delegate/"))

    def kernel_time(self) -> KernelTime:
        """Its time in one run, under the kernel's name."""
        kernel = _KERNEL.fullmatch(self.name)
        return KernelTime(kernel[1] if kernel else self.kind, self.avg_ms * max(self.calls, 1))


@dataclasses.dataclass(frozen=True)
class Delegation:
    """What a delegate took of a graph.

    Attributes:
      delegate: Its name.
      partitions: Number of pieces that it runs. Where the tool counts only all pieces, the delegate's and the others, it is
        the most that can be: the two kinds take turns.
    """

    delegate: str
    partitions: int


@dataclasses.dataclass(frozen=True)
class BenchmarkLog:
    """All that a log says. Sizes named `mib` are what the tool calls MB: 2^20 bytes.

    Attributes:
      inference: The runs that count.
      warmup: The runs before them; None where there were none.
      init_ms: Milliseconds of loading.
      first_ms: Milliseconds of the very first run.
      model_mb: The file's size in 10^6 bytes.
      init_mib: Memory after loading, beyond what the tool had at its start.
      overall_mib: The same after all runs.
      peak_mib: Most memory of the whole process, looked at now and then.
      delegations: What each delegate took, in order.
      operations: The graph's operations in run order; LiteRT's tool lists the delegates' kernels among them.
      internal: Kernels inside delegates, from the section of their own that TensorFlow's tool has.
      num_nodes: "Number of nodes executed"; 0 without a profile.
      errors: Lines of errors that did not stop the tool.
    """

    inference: Statistics
    warmup: Statistics | None = None
    init_ms: float | None = None
    first_ms: float | None = None
    model_mb: float | None = None
    init_mib: float | None = None
    overall_mib: float | None = None
    peak_mib: float | None = None
    delegations: tuple[Delegation, ...] = ()
    operations: tuple[OperationTime, ...] = ()
    internal: tuple[OperationTime, ...] = ()
    num_nodes: int = 0
    errors: tuple[str, ...] = ()

    @property
    def partitions(self) -> int | None:
        """Number of pieces that delegates run; None where the log does not say."""
        return sum(x.partitions for x in self.delegations) if self.delegations else None

    @property
    def kernels(self) -> tuple[KernelTime, ...]:
        """Kernels in the order of execution: those inside delegates, and the operations that no delegate took.

        A partition's own row is left out where its kernels are known. Kernels of several partitions that share name and
        number are one row, and where such are, the order inside delegates is the tool's.
        """
        inside = list(_in_order(self.internal))
        is_opened = bool(inside) or any(row.name.startswith("Delegate/") for row in self.operations)
        rows: list[OperationTime] = []
        for row in self.operations:
            if is_opened and row.is_delegate:
                rows += inside
                inside = []
            elif row.is_work:
                rows.append(row)
        return tuple(row.kernel_time() for row in [*rows, *inside])


def parse_log(text: str) -> BenchmarkLog:
    """The log of one call.

    Raises:
      ValueError: Flags were not understood, an operation failed (which), a profile is not complete, a table cannot be read,
        or there are no timings.
    """
    lines = [_message(line) for line in text.splitlines()]
    messages = [message for _, message in lines]
    _check_flags(messages)
    _check_nodes(lines)
    statistics = [found for message in messages if (found := _statistics(message))]
    summary = _search(_SUMMARY, messages)
    single = {name: _single(patterns, messages) for name, patterns in _SINGLE.items()}
    mean_us = _mean_us(summary, single.pop("avg_ms"))
    if not statistics and mean_us is None:
        raise ValueError(f"the log of benchmark_model has no timings; {_last_words(lines)}")
    inference = statistics[-1] if statistics else Statistics(mean_us or 0.0)
    warmup = statistics[0] if len(statistics) > 1 else None
    if (footprints := _search(_FOOTPRINTS, messages)) is not None:
        single["init_mib"], single["overall_mib"] = footprints
    if warmup is not None and warmup.first_us is not None:
        single["first_ms"] = warmup.first_us / 1e3
    elif summary is not None:
        single["first_ms"] = summary[1] / 1e3
    if single["init_ms"] is None and summary is not None:
        single["init_ms"] = summary[0] / 1e3
    operations, internal = _tables(text)
    errors = tuple(message for severity, message in lines if severity == "ERROR")
    return BenchmarkLog(
        inference, warmup, **single, delegations=_delegations(messages), operations=operations, internal=internal,
        num_nodes=len(operations), errors=errors,
    )  # fmt: skip


def parse_flags(usage: str) -> frozenset[str]:
    """Names of the flags in what `benchmark_model --help` prints."""
    return frozenset(re.findall(r"^\s*--(\w+)=", usage, re.MULTILINE))


def _message(line: str) -> tuple[str | None, str]:
    """Severity and text of a line."""
    line = line.rstrip()
    found = _PREFIX.match(line)
    assert found is not None  # everything in it is optional
    return found[1], line[found.end() :]


def _check_flags(messages: Sequence[str]) -> None:
    for message in messages:
        if found := _UNCONSUMED.search(message):
            raise ValueError(
                f"benchmark_model does not know the flags {found[1]} and would go on without them; give another build of it, "
                "from LiteRT's releases or TensorFlow's nightly builds"
            )
        if "Dropping ProfileBuffer event" in message:
            raise ValueError(
                "benchmark_model's profile is not complete: its buffer was full; give a larger --max_profiling_buffer_entries"
            )


def _check_nodes(lines: Sequence[tuple[str | None, str]]) -> None:
    """Refuses a network with an operation that failed; the reason stands in the error before it."""
    reasons = []
    for severity, message in lines:
        if found := _NODE.search(message):
            if before := message[: found.start()].strip():  # some versions forget the line break
                reasons.append(before)
            reason = f": {reasons[-1]}" if reasons else ""
            raise ValueError(f"operation {found[2]} (node {found[1]}) {found[3]}{reason}")
        if severity == "ERROR":
            reasons.append(message)


def _statistics(message: str) -> Statistics | None:
    """A `count=` line; where all runs took equally long it has only `curr=`."""
    if not _STATISTICS.match(message):
        return None
    found = {key: float(value) for key, value in _PAIR.findall(message)}
    if not found["count"]:
        return None
    same = found["curr"]
    return Statistics(
        found.get("avg", same), int(found["count"]), found.get("first", same), same, found.get("min", same),
        found.get("max", same), found.get("std", 0.0), found.get("p5"), found.get("median"), found.get("p95"),
    )  # fmt: skip


def _mean_us(summary: tuple[float, ...] | None, avg_ms: float | None) -> float | None:
    if summary is not None:
        return summary[3]
    return None if avg_ms is None else 1e3 * avg_ms


def _search(pattern: re.Pattern[str], messages: Sequence[str]) -> tuple[float, ...] | None:
    found = next((found for message in messages if (found := pattern.match(message))), None)
    return None if found is None else tuple(float(x) for x in found.groups())


def _single(patterns: Sequence[str], messages: Sequence[str]) -> float | None:
    values = (_search(re.compile(pattern), messages) for pattern in patterns)
    return next((value[0] for value in values if value is not None), None)


def _delegations(messages: Sequence[str]) -> tuple[Delegation, ...]:
    """What TensorFlow's tool says of delegates that a flag asked for; else what the runtime says while it applies them."""
    applied = []
    replaced = []
    for message in messages:
        if found := _APPLIED.match(message):
            applied.append(Delegation(found[1], 1 if found[2] == "completely" else int(found[3] or 0)))
        elif found := _REPLACING.match(message):
            nodes, pieces = int(found[1]), int(found[4])
            is_all = found[1] == found[2]  # older versions do not say of how many
            replaced.append(Delegation(found[3], pieces if is_all else min(nodes, (pieces + 1) // 2)))
    return tuple(applied or replaced)


def _tables(text: str) -> tuple[tuple[OperationTime, ...], tuple[OperationTime, ...]]:
    """Rows in run order: of the graph while it runs, and of the section about delegates."""
    found: dict[_Place, list[OperationTime]] = {"start": [], "graph": [], "subgraph": [], "delegate": []}
    place: _Place = "graph"
    rows: list[OperationTime] = []
    lines = iter(text.splitlines())
    for line in lines:
        message = _message(line)[1]
        if message in _PHASES:
            place = "start" if _PHASES[message] == "start" else "graph"
        elif (graph := _SUBGRAPH.match(message)) and place != "start":
            place = "graph" if graph[1] == "Primary graph" else "subgraph"
        elif message == "Delegate internal:":
            place = "delegate"
        elif _RUN_ORDER.search(message):
            header = _cells(next(lines, ""))
            rows = [_row(header, line) for line in iter(lambda: next(lines, "").rstrip(), "")]
            found[place] += rows
        elif nodes := _NODES_EXECUTED.match(message):
            _check_complete(rows, int(nodes[1]))
    return tuple(found["graph"]), tuple(found["delegate"])


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.rstrip().split("\t")[1:]]


def _row(header: Sequence[str], line: str) -> OperationTime:
    """A row by the names of its columns, which differ between versions: older ones have `[start]`."""
    try:
        row = dict(zip(header, _cells(line), strict=True))
        numbers = (float(row[column]) for column in ("[first]", "[avg ms]", "[mem KB]"))
        return OperationTime(row["[node type]"], row["[Name]"], *numbers, calls=int(row["[times called]"]))
    except (KeyError, ValueError):
        raise ValueError(
            f"a table of benchmark_model has the columns {' '.join(header)}, and this row cannot be read: {line.strip()!r}; "
            "was the log cut, or were its tabs replaced?"
        ) from None


def _check_complete(rows: Sequence[OperationTime], num_nodes: int) -> None:
    if len(rows) != num_nodes:
        raise ValueError(f"a table of benchmark_model must have {num_nodes} rows, it has {len(rows)}; was the log cut?")


def _in_order(rows: Sequence[OperationTime]) -> Sequence[OperationTime]:
    """Kernels by their number in the delegate, where there is one delegate.

    The tool sorts by text, in which the last rows of a table go first where other events lie before them.
    """
    numbers = [int(found[2]) if (found := _KERNEL.fullmatch(row.name)) else -1 for row in rows]
    if len(set(numbers)) < len(numbers):  # each delegate counts from 0
        return rows
    return [row for _, row in sorted(zip(numbers, rows, strict=True), key=lambda pair: pair[0])]


def _last_words(lines: Sequence[tuple[str | None, str]]) -> str:
    """Its errors; where there are none, its last lines."""
    errors = [message for severity, message in lines if severity in ("ERROR", "FATAL")]
    told = errors or [message for _, message in lines if message][-_QUOTED_LINES:]
    return f"it says: {' | '.join(told[:_QUOTED_LINES])}" if told else "it is empty"
