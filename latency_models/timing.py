"""The timing protocol: interleaved rounds over several networks, robust statistics, and how well they repeat."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

Clock = Literal["thread_cpu", "process_cpu", "wall"]
Statistic = Literal["p25", "median"]
_READ: dict[str, Callable[[], float]] = {
    "thread_cpu": time.thread_time,
    "process_cpu": time.process_time,
    "wall": time.perf_counter,
}
_QUANTILE = {"p25": 0.25, "median": 0.5}
_NUM_RESAMPLES = 400


@dataclasses.dataclass(frozen=True)
class TimingProtocol:
    """How often and in what order networks are run.

    Attributes:
      warmup: Runs before anything counts; they also size the rounds. At least 1.
      rounds: Number of rounds A B C, A B C, ...; at least 2, so that halves can be compared.
      repeats_per_round: Runs of each network in each round; None sizes them by `round_ms`.
      round_ms: Time each network gets in a round where `repeats_per_round` is None: a 0.5 ms network is run often, a
        60 ms network twice.
      statistic: Lower quartile or median of all runs; both hardly move under load (wall means do).
    """

    warmup: int = 2
    rounds: int = 6
    repeats_per_round: int | None = None
    round_ms: float = 60.0
    statistic: Statistic = "p25"

    def __post_init__(self) -> None:
        """Checks every field."""
        for name, least in (("warmup", 1), ("rounds", 2), ("repeats_per_round", 1), ("round_ms", 0.0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"timing: {name} must be at least {least}, got {value}")
        if self.statistic not in _QUANTILE:
            raise ValueError(f"timing: statistic must be one of {', '.join(_QUANTILE)}, got {self.statistic!r}")

    def repeats(self, single_ms: float) -> int:
        """Runs per round of a network that takes `single_ms`: from 2 to 50, or the fixed number."""
        if self.repeats_per_round is not None:
            return self.repeats_per_round
        return int(np.clip(round(self.round_ms / max(single_ms, 1e-6)), 2, 50))


@dataclasses.dataclass(frozen=True)
class Timing:
    """A measured latency.

    Attributes:
      ms: The statistic over all runs, in milliseconds.
      low: Lower end of its 95 % interval (bootstrap over rounds), in milliseconds.
      high: Upper end, in milliseconds.
      n: Number of runs.
      clock: What was read: CPU time of the thread or of the process, or wall time.
      statistic: Lower quartile or median.
      half_gap: Relative gap between the statistic of the even and of the odd rounds.
    """

    ms: float
    low: float
    high: float
    n: int
    clock: Clock
    statistic: Statistic
    half_gap: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` turns back into this value."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Timing":
        """Reads what `to_json` wrote.

        Raises:
          ValueError: A key is missing or unknown, or a latency is not a positive number.
        """
        names = [field.name for field in dataclasses.fields(Timing)]
        if not isinstance(record, Mapping) or set(record) != set(names):
            raise ValueError(f"timing must be an object with the keys {', '.join(names)}, got {record!r}")
        for name in ("ms", "low", "high"):
            if not isinstance(record[name], int | float) or not 0 < record[name] < float("inf"):
                raise ValueError(f"timing.{name} must be a positive number of milliseconds, got {record[name]!r}")
        return Timing(**record)


@dataclasses.dataclass(frozen=True)
class Repeatability:
    """How well the measurements agree with themselves: the ceiling of any prediction's score.

    Attributes:
      median_gap: Median over networks of the relative gap between two halves of the rounds.
      within_5: Share of networks whose halves agree within 5 %.
      within_10: Share of networks whose halves agree within 10 %.
      n: Number of networks.
    """

    median_gap: float
    within_5: float
    within_10: float
    n: int


def time_interleaved(runs: Sequence[Callable[[], object]], clock: Clock, *, protocol: TimingProtocol) -> list[Timing]:
    """Times callables in interleaved rounds, so that a drift of the machine meets all of them alike.

    Args:
      runs: What to call; each call is one run.
      clock: Which clock to read.
      protocol: How often, and which statistic.
    """
    read = _READ[clock]
    repeats = [protocol.repeats(1e3 * _warm_up(run, read, protocol.warmup)) for run in runs]
    samples = [np.empty((protocol.rounds, count)) for count in repeats]
    for i in range(protocol.rounds):
        for run, rows in zip(runs, samples, strict=True):
            _time_into(rows[i], run, read)
    return [summarise(1e3 * rows, clock, statistic=protocol.statistic) for rows in samples]


def summarise(samples_ms: Float[np.ndarray, "rounds repeats"], clock: Clock, *, statistic: Statistic) -> Timing:
    """The statistic of all samples with an interval from resampled rounds (runs in one round are not independent)."""
    quantile = _QUANTILE[statistic]
    rounds = len(samples_ms)
    chosen = np.random.default_rng(0).integers(rounds, size=(_NUM_RESAMPLES, rounds))
    resampled = np.quantile(samples_ms[chosen].reshape(_NUM_RESAMPLES, -1), quantile, axis=1)
    ms = float(np.quantile(samples_ms, quantile))
    low, high = (float(x) for x in np.quantile(resampled, (0.025, 0.975)))
    even, odd = (float(np.quantile(samples_ms[start::2], quantile)) for start in (0, 1))
    gap = abs(even - odd) / min(even, odd)
    return Timing(ms, min(low, ms), max(high, ms), samples_ms.size, clock, statistic, gap)


def repeatability(timings: Sequence[Timing]) -> Repeatability:
    """How well two halves of the same rounds agree, over several networks.

    Raises:
      ValueError: There are no timings.
    """
    if not timings:
        raise ValueError("repeatability needs at least one timing, got none; measure a network first")
    gaps = [timing.half_gap for timing in timings]
    within_5, within_10 = (sum(gap <= limit for gap in gaps) / len(gaps) for limit in (0.05, 0.10))
    return Repeatability(statistics.median(gaps), within_5, within_10, len(gaps))


def _warm_up(run: Callable[[], object], read: Callable[[], float], warmup: int) -> float:
    """Seconds of the fastest of the warm-up runs."""
    seconds = np.empty(warmup)
    _time_into(seconds, run, read)
    return float(seconds.min())


def _time_into(seconds: Float[np.ndarray, " repeats"], run: Callable[[], object], read: Callable[[], float]) -> None:
    for i in range(len(seconds)):
        start = read()
        run()
        seconds[i] = read() - start
