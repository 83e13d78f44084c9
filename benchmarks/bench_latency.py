"""How well latency and memory of networks that were not measured are predicted, device by device."""

import argparse
import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure_networks import ROUNDS, SETS
from record import write_result

from latency_models.calibration import calibrate, choose_for_calibration
from latency_models.fitting import fit
from latency_models.measurements import Measurement, MeasurementSet
from latency_models.predictor import Predictor
from latency_models.scores import score
from search_space import get_scale, get_space

RESOLUTION, WIDE_BLOCKS, WIDE = "resolution", "full_width_blocks", "full_width"
SPACE, SCALE = get_space("mobile-sd-small"), get_scale("sd15-quarter")
LEAST_MS = 3.0
MOST_FITTED = 200
Numbers = dict[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Measured:
    """A device's measurements.

    Attributes:
      rounds: Separate rounds of loading and timing; the first has all networks, the others those held out.
      truth: By the key of a network held out: the median of its latencies in the rounds, in milliseconds.
    """

    rounds: tuple[MeasurementSet, ...]
    truth: dict[str, float]

    @property
    def fitted(self) -> list[Measurement]:
        """Networks that may be fitted."""
        return [m for m in self.whole if m.network.key not in self.truth][:MOST_FITTED]

    @property
    def held_out(self) -> list[Measurement]:
        """Networks that never are, of 3 ms and more."""
        return [m for m in self.whole if self.truth.get(m.network.key, 0.0) >= LEAST_MS]

    @property
    def whole(self) -> list[Measurement]:
        """Networks that are no blocks alone."""
        return [m for m in self.rounds[0].measurements.values() if m.network.architecture is not None]


def main() -> None:
    """Fits and calibrates on parts of the stored measurements, and writes `results/latency.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--batch", type=int, default=20_000)
    options = parser.parse_args()
    devices = {folder.name: read(folder) for folder in sorted(SETS.iterdir()) if (folder / ROUNDS[0]).is_dir()}
    numbers: Numbers = {}
    predictors = {}
    for name, measured in devices.items():
        print(name, flush=True)
        predictors[name] = fit(part_of(measured.rounds[0], measured.fitted))
        found = repeat_rows(measured) | split_rows(measured, options.splits)
        if measured.truth:
            found |= held_out_rows(predictors[name], measured)
        for family, is_held_out in families(measured).items():
            found |= {f"{family}.{key}": value for key, value in family_rows(measured, is_held_out).items()}
        found |= resolution_rows(predictors[name], SETS / name / RESOLUTION) | wide_rows(measured, SETS / name)
        numbers |= {f"{name}.{key}": value for key, value in found.items()}
    for name, measured in devices.items():
        runtime = measured.rounds[0].fingerprint["device"]
        repeated = [predictors[other] for other, source in devices.items() if source.truth]  # other labels may be noise
        sources = [predictor for predictor in repeated if predictor.fingerprint["device"] != runtime]
        if sources and measured.truth:
            numbers |= {f"{name}.{key}": value for key, value in unseen_device_rows(sources, measured).items()}
    numbers["speed"] = speed(next(iter(predictors.values())), options.batch)
    path = write_result(
        "latency",
        shows="Networks of mobile-sd-small that no fit has seen, each the median of three separate rounds: shares within 5 and "
        "10 %, mean error, rank correlation, peak memory; coverage and half width of the 90 % interval as means over random "
        "splits, low and high their 2.5 % and 97.5 % quantiles; families that were held out and whether they are flagged; a "
        "device carried from the others by k networks; architectures predicted a second, caches cold.",
        command=f"python benchmarks/bench_latency.py --splits {options.splits} --batch {options.batch}",
        numbers=numbers,
    )
    print(path.read_text())


def read(folder: Path) -> Measured:
    """The rounds of a device."""
    rounds = tuple(MeasurementSet.load(folder / name) for name in ROUNDS if (folder / name).is_dir())
    again = set(rounds[0].measurements).intersection(*(one.measurements for one in rounds[1:])) if len(rounds) > 1 else set()
    truth = {key: float(np.median([one.measurements[key].timing.ms for one in rounds])) for key in again}
    return Measured(rounds, truth)


def repeat_rows(measured: Measured) -> Numbers:
    """How well two halves of a round agree, and two rounds."""
    repeats = measured.rounds[0].repeatability
    assert repeats is not None
    rows = {"halves_within_5": number([repeats.within_5], "share", n=repeats.n)}
    if not measured.truth:
        return rows
    gaps = [
        abs(a.measurements[key].timing.ms / b.measurements[key].timing.ms - 1)
        for key in measured.truth
        for a, b in itertools.combinations(measured.rounds, 2)
    ]
    shares = {f"rounds_within_{limit}": float(np.mean(np.array(gaps) <= limit / 100)) for limit in (5, 10)}
    return rows | {key: number([share], "share", n=len(gaps)) for key, share in shares.items()}


def held_out_rows(predictor: Predictor, measured: Measured) -> Numbers:
    """Scores of the networks that no fit sees."""
    held_out = measured.held_out
    truth = np.array([measured.truth[m.network.key] for m in held_out])
    found = score(predictor.predict([m.network for m in held_out])[0], truth)
    values = {
        "within_10": found.within_10, "within_5": found.within_5, "mean_error": found.mape, "spearman": found.spearman,
    }  # fmt: skip
    if predictor.memory:
        peaks = np.array([m.loaded.peak_bytes for m in held_out], float)
        predicted = predictor.memory.predict([m.network.architecture for m in held_out if m.network.architecture], SCALE)
        values["memory_within_5"] = float(np.mean(np.abs(predicted / peaks - 1) <= 0.05))
    sizes = {"fitted": len(measured.fitted), "smallest_ms": round(truth.min(), 1), "largest_ms": round(truth.max(), 1)}
    return {key: number([value], "share", n=len(held_out)) | sizes for key, value in values.items()}


def split_rows(measured: Measured, num_splits: int) -> Numbers:
    """Coverage and width of the interval, and the error, over random splits of all networks."""
    found = [split_scores(measured, seed) for seed in range(num_splits)]
    return {f"splits.{key}": number([one[key] for one in found], "share", n=num_splits) for key in found[0]}


def split_scores(measured: Measured, seed: int) -> dict[str, float]:
    """Scores of a random fifth of the networks, fitted on the rest."""
    networks = measured.whole
    order = np.random.default_rng(seed).permutation(len(networks))
    num_fitted = min(MOST_FITTED, int(0.8 * len(networks)))
    fitted, held_out = ([networks[i] for i in part] for part in (order[:num_fitted], order[num_fitted:]))
    predictor = fit(part_of(measured.rounds[0], fitted))
    ms, low, high = predictor.predict([m.network for m in held_out])
    truth = np.array([m.timing.ms for m in held_out])
    found = score(ms, truth)
    return {
        "coverage": float(np.mean((low <= truth) & (truth <= high))), "half_width": float(np.expm1(predictor.log_margin)),
        "within_10": found.within_10, "within_5": found.within_5, "mean_error": found.mape, "spearman": found.spearman,
    }  # fmt: skip


def families(measured: Measured) -> dict[str, Callable[[Measurement], bool]]:
    """Families to hold out: who is in them."""
    median = float(np.median([m.timing.ms for m in measured.whole]))
    return {
        "relu_held_out": lambda m: any(kernel.kind == "clamp" for kernel in m.network.kernels),
        "cheap_to_dear": lambda m: m.timing.ms > median,
    }


def family_rows(measured: Measured, is_held_out: Callable[[Measurement], bool]) -> Numbers:
    """Scores of a whole family that no fitted network belongs to."""
    held_out = [m for m in measured.whole if is_held_out(m)]
    predictor = fit(part_of(measured.rounds[0], [m for m in measured.whole if not is_held_out(m)]))
    asked = [m.network for m in held_out]
    truth = np.array([measured.truth.get(m.network.key, m.timing.ms) for m in held_out])
    found = score(predictor.predict(asked)[0], truth)
    flagged = float(predictor.is_outside(asked).mean())
    values = {"within_10": found.within_10, "within_5": found.within_5, "mean_error": found.mape, "flagged": flagged}
    return {key: number([value], "share", n=len(held_out)) for key, value in values.items()}


def resolution_rows(predictor: Predictor, folder: Path) -> Numbers:
    """Scores at images of a size that no fitted network has, where it was measured."""
    if not folder.is_dir():
        return {}
    networks = list(MeasurementSet.load(folder).measurements.values())
    asked = [m.network for m in networks]
    elsewhere = dataclasses.replace(predictor, scales=tuple({network.scale.name for network in asked}))
    found = score(elsewhere.predict(asked)[0], np.array([m.timing.ms for m in networks]))
    flagged = float(elsewhere.is_outside(asked).mean())
    values = {"within_10": found.within_10, "mean_error": found.mape, "spearman": found.spearman, "flagged": flagged}
    return {f"resolution_held_out.{key}": number([value], "share", n=len(asked)) for key, value in values.items()}


def wide_rows(measured: Measured, folder: Path) -> Numbers:
    """Scores of full-width networks by a fit on small ones and full-width blocks, where both were measured."""
    if not (folder / WIDE_BLOCKS).is_dir() or not (folder / WIDE).is_dir():
        return {}
    fitted = part_of(measured.rounds[0], measured.fitted).merged(MeasurementSet.load(folder / WIDE_BLOCKS))
    networks = list(MeasurementSet.load(folder / WIDE).measurements.values())
    truth = np.array([m.timing.ms for m in networks])
    predicted = fit(fitted).predict([m.network for m in networks])[0]
    errors, found = np.abs(predicted / truth - 1), score(predicted, truth)
    values = {"within_15": float(np.mean(errors <= 0.15)), "largest_error": float(errors.max()), "spearman": found.spearman}
    sizes = {"smallest_ms": round(truth.min(), 1), "largest_ms": round(truth.max(), 1)}
    return {f"full_width.{key}": number([value], "share", n=len(networks)) | sizes for key, value in values.items()}


def unseen_device_rows(sources: Sequence[Predictor], measured: Measured) -> Numbers:
    """Scores on a device of which only k designed networks are seen."""
    pool = {m.network.key: m for m in measured.fitted}
    rows: Numbers = {}
    for k in (10, 20):
        chosen = choose_for_calibration(sources, [m.network for m in pool.values()], k)
        carried = calibrate(sources, part_of(measured.rounds[0], [pool[network.key] for network in chosen]))
        found = held_out_rows(carried, measured)
        rows |= {f"unseen.k{k}.{key}": value | {"fitted": k} for key, value in found.items()}
    return rows


def speed(predictor: Predictor, batch: int) -> dict[str, Any]:
    """Distinct random architectures a second of one core, in one batch, caches cold."""
    rng, found = np.random.default_rng(0), {}
    while len(found) < batch:
        architecture = SPACE.sample(rng)
        found[architecture.digest] = architecture
    rates = []
    for _ in range(5):
        cold = dataclasses.replace(predictor)  # without the prices that it has found
        begun = time.thread_time()
        cold.predict_architectures(list(found.values()), SCALE)
        rates.append(batch / (time.thread_time() - begun))
    return number(rates, "architectures/s", n=batch)


def part_of(measured: MeasurementSet, chosen: Sequence[Measurement]) -> MeasurementSet:
    """The chosen networks, and all blocks that were measured alone."""
    blocks = [m for m in measured.measurements.values() if m.network.architecture is None]
    kept = {m.network.key: m for m in [*blocks, *chosen]}
    return dataclasses.replace(
        measured, measurements=kept, profiles={key: value for key, value in measured.profiles.items() if key in kept}
    )


def number(values: Sequence[float], unit: str, *, n: int) -> dict[str, Any]:
    """The mean, with the middle 95 % of the values where there are several."""
    low, high = np.quantile(values, (0.025, 0.975)) if len(values) > 1 else (None, None)
    return {
        "value": float(np.mean(values)), "unit": unit, "n": n,
        "low": None if low is None else float(low), "high": None if high is None else float(high),
    }  # fmt: skip


if __name__ == "__main__":
    main()
