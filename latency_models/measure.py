"""Measures networks on a device: which architectures, in what order, and the records that come out."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from latency_models.device import Device, Runnable
from latency_models.features import features
from latency_models.timing import Timing, TimingProtocol, time_interleaved
from latency_models.whole_files import write_record
from search_space import Architecture, LayerPlan, Scale, SearchSpace, layer_plan

SCHEMA_VERSION = 1
_POOL_PER_NETWORK = 16
_GROUP_SIZE = 8  # networks that are timed round by round together: few enough for memory
Build = tuple[LayerPlan, Callable[..., Any], Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One network's latency on one device.

    Attributes:
      digest: Of the architecture.
      scale: Name of the scale.
      timing: The latency.
      fingerprint: Of the device; only measurements with equal fingerprints are comparable.
      model_bytes: Size of the stored model.
      partitions: Pieces of the graph that the accelerated backend runs; None where the device has no such notion.
    """

    digest: str
    scale: str
    timing: Timing
    fingerprint: dict[str, str]
    model_bytes: int
    partitions: int | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` turns back into this value."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Measurement":
        """Reads what `to_json` wrote.

        Raises:
          ValueError: A key is missing or unknown, or the timing is damaged.
        """
        names = [field.name for field in dataclasses.fields(Measurement)]
        if not isinstance(record, Mapping) or set(record) != set(names):
            raise ValueError(f"a measurement must be an object with the keys {', '.join(names)}, got {record!r}")
        return Measurement(**{**record, "timing": Timing.from_json(record["timing"])})


def measure(
    device: Device,
    builds: Iterable[Build],
    *,
    protocol: TimingProtocol,
    known: Iterable[Measurement] = (),
    progress: Callable[[list[Measurement]], None] | None = None,
) -> list[Measurement]:
    """Measures each network; those already known from this very device are taken over.

    Args:
      device: Where to run.
      builds: Plan, JAX function of one array, and example inputs of each network; read a group at a time.
      protocol: How often to run, and which statistic.
      known: Earlier measurements; one counts where digest, scale and fingerprint are equal.
      progress: Called with the new measurements of each group as soon as they are timed; save there to resume later.

    Raises:
      ValueError: The device refuses a network; the message names it.
    """
    fingerprint = device.fingerprint()
    done = {(m.digest, m.scale): m for m in known if m.fingerprint == fingerprint}
    order: list[tuple[str, str]] = []
    for group in _groups(builds):
        order += [_key(plan) for plan, _, _ in group]
        fresh = {_key(build[0]): build for build in group if _key(build[0]) not in done}
        runnables = [_prepare(device, build) for build in fresh.values()]
        timings = time_interleaved([x.run for x in runnables], device.clock, protocol=protocol)
        for key, runnable, timing in zip(fresh, runnables, timings, strict=True):
            done[key] = Measurement(*key, timing, fingerprint, runnable.model_bytes, runnable.partitions)
        if progress:
            progress([done[key] for key in fresh])
    return [done[key] for key in order]


def choose_architectures(space: SearchSpace, scale: Scale, n: int, rng: np.random.Generator) -> list[Architecture]:
    """Architectures to measure: both extremes, and one from each of n - 2 strata of log MACs.

    Random architectures crowd around the middle and leave a predictor to extrapolate at both ends; here sizes are
    spread, and each stratum gives the one whose mix of kernels differs most from what is already chosen.

    Raises:
      ValueError: `n` is below 3, or the space holds fewer architectures.
    """
    if not 3 <= n <= space.size:
        raise ValueError(f"number of architectures to measure must be from 3 to {space.size}, got {n}")
    pool = _pool(space, _POOL_PER_NETWORK * n, n, rng)
    plans = [layer_plan(architecture, scale) for architecture in pool]
    log_macs = np.log([plan.macs for plan in plans])
    mix = _standardised(np.log1p(features(plans)))
    chosen = [0, 1]  # the extremes lead the pool
    edges = np.linspace(log_macs.min(), log_macs.max(), n - 1)
    for low, high in itertools.pairwise(edges):
        inside = np.flatnonzero((log_macs >= low) & (log_macs <= high))
        free = np.setdiff1d(inside, chosen)
        if not len(free):  # an empty stratum: take the free one nearest to its middle
            rest = np.setdiff1d(np.arange(len(pool)), chosen)
            free = rest[[np.abs(log_macs[rest] - (low + high) / 2).argmin()]]
        distance = np.linalg.norm(mix[free][:, None] - mix[chosen][None], axis=-1).min(1)
        chosen.append(int(free[distance.argmax()]))
    return [pool[i] for i in chosen]


def save_measurements(path: Path, measurements: Sequence[Measurement]) -> None:
    """Writes measurements as JSON; a kill leaves either the old file or the new one."""
    write_record(path, {"schema": SCHEMA_VERSION, "measurements": [m.to_json() for m in measurements]})


def load_measurements(path: Path) -> list[Measurement]:
    """Reads what `save_measurements` wrote.

    Raises:
      ValueError: The file is damaged or of another version; the message names it, the key and the remedy.
      FileNotFoundError: There is no such file.
    """
    remedy = "delete it and measure again"
    try:
        record = json.loads(path.read_text())
        schema = record["schema"]
        if schema != SCHEMA_VERSION:
            raise ValueError(f"schema must be {SCHEMA_VERSION}, got {schema!r}")
        return [Measurement.from_json(m) for m in record["measurements"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"measurements file {path}: key {error} is missing or of a wrong type; {remedy}") from None
    except ValueError as error:
        raise ValueError(f"measurements file {path}: {error}; {remedy}") from None


def _groups(builds: Iterable[Build]) -> Iterator[list[Build]]:
    iterator = iter(builds)
    while group := list(itertools.islice(iterator, _GROUP_SIZE)):
        yield group


def _key(plan: LayerPlan) -> tuple[str, str]:
    return plan.architecture.digest, plan.scale.name


def _prepare(device: Device, build: Build) -> Runnable:
    plan, function, example_inputs = build
    try:
        return device.prepare(function, example_inputs)
    except ValueError as error:
        raise ValueError(f"architecture {plan.architecture.digest} at scale {plan.scale.name!r}: {error}") from error


def _pool(space: SearchSpace, size: int, least: int, rng: np.random.Generator) -> list[Architecture]:
    """Distinct architectures, smallest and largest first; at least `least`, about `size` if it can."""
    pool = {x.digest: x for x in (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(size)))}
    while len(pool) < least:
        candidate = space.sample(rng)
        pool.setdefault(candidate.digest, candidate)
    return list(pool.values())


def _standardised(values: Float[np.ndarray, "n columns"]) -> Float[np.ndarray, "n columns"]:
    deviation = values.std(0)
    return (values - values.mean(0)) / np.where(deviation > 0, deviation, 1.0)
