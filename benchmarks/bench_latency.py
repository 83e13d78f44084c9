"""How well latency and memory of networks that were not measured are predicted, device by device."""

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from record import write_result

from latency_models.calibration import calibrate, choose_for_calibration
from latency_models.fitting import fit
from latency_models.measurements import Measurement, MeasurementSet
from latency_models.predictor import Predictor
from latency_models.scores import score
from search_space import get_scale, get_space

SETS = Path(__file__).parent / "measurements"
SPACE, SCALE = get_space("mobile-sd-small"), get_scale("sd15-quarter")
LEAST_MS = 3.0
MOST_FITTED = 200
Numbers = dict[str, dict[str, Any]]


def main() -> None:
    """Fits and calibrates on parts of the stored measurements, and writes `results/latency.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--batch", type=int, default=20_000)
    options = parser.parse_args()
    sets = {folder.name: MeasurementSet.load(folder) for folder in sorted(SETS.iterdir()) if folder.is_dir()}
    numbers: Numbers = {}
    predictors = {}
    for name, measured in sets.items():
        print(name, flush=True)
        predictors[name] = fit(measured)
        numbers |= {f"{name}.{key}": value for key, value in device_rows(measured, options.splits).items()}
    for name, measured in sets.items():
        sources = [predictor for other, predictor in predictors.items() if other != name]
        if sources:
            numbers |= {f"{name}.{key}": value for key, value in unseen_device_rows(sources, measured).items()}
    numbers["speed"] = speed(next(iter(predictors.values())), options.batch)
    path = write_result(
        "latency",
        shows="Held-out networks of mobile-sd-small (at most 200 fitted): shares within 5 and 10 %, mean error, rank "
        "correlation, coverage and half width of the 90 % interval, families that were held out and whether they are flagged, "
        "peak memory, a device carried from the others by k networks, and architectures predicted a second, caches cold. "
        "Values are means over random splits, low and high their 2.5 % and 97.5 % quantiles.",
        command=f"python benchmarks/bench_latency.py --splits {options.splits} --batch {options.batch}",
        numbers=numbers,
    )
    print(path.read_text())


def device_rows(measured: MeasurementSet, num_splits: int) -> Numbers:
    """What one device's measurements show of themselves, of random splits, and of families held out."""
    networks = [m for m in measured.measurements.values() if m.network.architecture is not None]
    repeats = measured.repeatability
    rows = {"repeat_within_5": number([repeats.within_5], "share", n=repeats.n)}
    found = [split_scores(measured, networks, seed) for seed in range(num_splits)]
    for key in found[0]:
        rows[key] = number([one[key] for one in found], "ms" if key.endswith("_ms") else "share", n=len(networks))
    for family, is_held_out in families(networks).items():
        rows |= {f"{family}.{key}": value for key, value in family_rows(measured, networks, is_held_out).items()}
    return rows


def split_scores(measured: MeasurementSet, networks: Sequence[Measurement], seed: int) -> dict[str, float]:
    """Scores of networks that a fit has not seen."""
    order = np.random.default_rng(seed).permutation(len(networks))
    num_fitted = min(MOST_FITTED, int(0.8 * len(networks)))
    fitted, rest = ([networks[i] for i in part] for part in (order[:num_fitted], order[num_fitted:]))
    held_out = [m for m in rest if m.timing.ms >= LEAST_MS]
    predictor = fit(part_of(measured, fitted))
    ms, low, high = predictor.predict([m.network for m in held_out])
    truth = np.array([m.timing.ms for m in held_out])
    found = score(ms, truth)
    scores = {
        "within_10": found.within_10, "within_5": found.within_5, "mean_error": found.mape, "spearman": found.spearman,
        "coverage": float(np.mean((low <= truth) & (truth <= high))), "half_width": float(np.expm1(predictor.log_margin)),
        "smallest_ms": float(truth.min()), "largest_ms": float(truth.max()),
    }  # fmt: skip
    if predictor.memory:
        peaks = np.array([m.loaded.peak_bytes for m in held_out], float)
        predicted = predictor.memory.predict([m.network.architecture for m in held_out if m.network.architecture], SCALE)
        scores["memory_within_5"] = float(np.mean(np.abs(predicted / peaks - 1) <= 0.05))
    return scores


def families(networks: Sequence[Measurement]) -> dict[str, Callable[[Measurement], bool]]:
    """Families to hold out: who is in them."""
    median = float(np.median([m.timing.ms for m in networks]))
    return {
        "relu_held_out": lambda m: any(kernel.kind == "clamp" for kernel in m.network.kernels),
        "cheap_to_dear": lambda m: m.timing.ms > median,
    }


def family_rows(
    measured: MeasurementSet, networks: Sequence[Measurement], is_held_out: Callable[[Measurement], bool]
) -> Numbers:
    """Scores of a whole family that no fitted network belongs to."""
    held_out = [m for m in networks if is_held_out(m)]
    predictor = fit(part_of(measured, [m for m in networks if not is_held_out(m)]))
    asked = [m.network for m in held_out]
    found = score(predictor.predict(asked)[0], np.array([m.timing.ms for m in held_out]))
    flagged = float(predictor.is_outside(asked).mean())
    values = {"within_10": found.within_10, "within_5": found.within_5, "mean_error": found.mape, "flagged": flagged}
    return {key: number([value], "share", n=len(held_out)) for key, value in values.items()}


def unseen_device_rows(sources: Sequence[Predictor], measured: MeasurementSet) -> Numbers:
    """Scores on a device of which only k designed networks are seen."""
    networks = {m.network.key: m for m in measured.measurements.values() if m.network.architecture is not None}
    rows: Numbers = {}
    for k in (10, 20):
        chosen = {network.key for network in choose_for_calibration(sources, [m.network for m in networks.values()], k)}
        carried = calibrate(sources, part_of(measured, [networks[key] for key in chosen]))
        held_out = [m for key, m in networks.items() if key not in chosen and m.timing.ms >= LEAST_MS]
        found = score(carried.predict([m.network for m in held_out])[0], np.array([m.timing.ms for m in held_out]))
        for key in ("within_10", "within_5", "mape", "spearman"):
            rows[f"unseen.k{k}.{key}"] = number([getattr(found, key)], "share", n=found.n)
    return rows


def speed(predictor: Predictor, batch: int) -> dict[str, Any]:
    """Distinct random architectures a second of one core, in one batch, caches cold."""
    rng, found = np.random.default_rng(0), {}
    while len(found) < batch:
        architecture = SPACE.sample(rng)
        found[architecture.digest] = architecture
    rates = []
    for _ in range(5):
        cold = dataclasses.replace(predictor, _blocks={})
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
