"""The timing protocol: interleaved rounds over several networks, robust statistics, and how well they repeat."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

Clock = Literal["thread_cpu", "process_cpu", "wall"]
Statistic = Literal["p25", "median"]
CLOCKS: dict[Clock, Callable[[], float]] = {
    "thread_cpu": time.thread_time,
    "process_cpu": time.process_time,
    "wall": time.perf_counter,
}
_QUANTILE = {"p25": 0.25, "median": 0.5}
_NUM_RESAMPLES = 400
_CONTROL_RUNS = 4  # in each round: its lower quartile is then within a percent or two


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
      statistic: Lower quartile or median; "recorded" for what was measured elsewhere, by whatever statistic.
      half_gap: Relative gap between the statistic of the first and of the second half of the rounds; None where only their
        result was recorded.
    """

    ms: float
    low: float
    high: float
    n: int
    clock: Clock
    statistic: Statistic | Literal["recorded"]
    half_gap: float | None

    def scaled(self, factor: float) -> "Timing":
        """The same on a machine that takes so many times as long."""
        return dataclasses.replace(self, ms=factor * self.ms, low=factor * self.low, high=factor * self.high)

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


@runtime_checkable
class Timed(Protocol):
    """What can be run so many times: milliseconds of each run by clock, the clock of the latency first."""

    def run(self, count: int) -> Mapping[Clock, Float[np.ndarray, " runs"]]:
        """Runs `count` times."""
        ...


def time_interleaved(
    networks: Sequence[Timed], *, protocol: TimingProtocol, control: Timed | None = None
) -> tuple[list[tuple[Timing, ...]], float | None]:
    """Times networks in interleaved rounds, so that a drift of the machine meets all of them alike.

    Args:
      networks: What to run.
      protocol: How often, and which statistic.
      control: A network that runs in each round as well. How much slower than its typical round it is in one is taken off the
        times of all in that round.

    Returns:
      For each network one timing for each of its clocks, that of the latency first; and the control's typical round in
      milliseconds.
    """
    repeats = [protocol.repeats(_fastest_ms(network.run(protocol.warmup))) for network in networks]
    rounds: list[list[Mapping[Clock, np.ndarray]]] = [[] for _ in networks]
    levels: list[float] = []
    for _ in range(protocol.rounds):
        if control:
            samples = next(iter(control.run(_CONTROL_RUNS).values()))
            levels.append(float(np.quantile(samples, _QUANTILE[protocol.statistic])))
        for network, count, kept in zip(networks, repeats, rounds, strict=True):
            kept.append(network.run(count))
    level = float(np.quantile(levels, _QUANTILE[protocol.statistic])) if levels else None
    slower = np.array(levels)[:, None] / level if level else np.ones((protocol.rounds, 1))
    timings = [
        tuple(summarise(np.stack([r[clock] for r in kept]) / slower, clock, statistic=protocol.statistic) for clock in kept[0])
        for kept in rounds
    ]
    return timings, level


def _fastest_ms(samples: Mapping[Clock, np.ndarray]) -> float:
    return float(next(iter(samples.values())).min())


def summarise(samples_ms: Float[np.ndarray, "rounds repeats"], clock: Clock, *, statistic: Statistic) -> Timing:
    """The statistic of all samples with an interval from resampled rounds (runs in one round are not independent)."""
    quantile = _QUANTILE[statistic]
    rounds = len(samples_ms)
    chosen = np.random.default_rng(0).integers(rounds, size=(_NUM_RESAMPLES, rounds))
    resampled = np.quantile(samples_ms[chosen].reshape(_NUM_RESAMPLES, -1), quantile, axis=1)
    ms = float(np.quantile(samples_ms, quantile))
    low, high = (float(x) for x in np.quantile(resampled, (0.025, 0.975)))
    early, late = (float(np.quantile(half, quantile)) for half in np.array_split(samples_ms, 2))
    gap = abs(early - late) / min(early, late)
    return Timing(ms, min(low, ms), max(high, ms), samples_ms.size, clock, statistic, gap)


def repeatability(timings: Sequence[Timing]) -> Repeatability | None:
    """How well two halves of the same rounds agree, over several networks; None where that was recorded of none.

    Raises:
      ValueError: There are no timings.
    """
    if not timings:
        raise ValueError("repeatability needs at least one timing, got none; measure a network first")
    gaps = [timing.half_gap for timing in timings if timing.half_gap is not None]
    if not gaps:
        return None
    within_5, within_10 = (sum(gap <= limit for gap in gaps) / len(gaps) for limit in (0.05, 0.10))
    return Repeatability(statistics.median(gaps), within_5, within_10, len(gaps))
