"""Does the Fréchet distance still depend on n once it is extrapolated? One generator, whose distance is known, at growing n."""

import argparse
from typing import Any

import numpy as np
from record import write_result

from objectives.frechet import frechet_distance, frechet_jackknife, gaussian_statistics

NUMBERS = (250, 500, 1000, 2500, 10_000)
FEATURES, LATENT = 48, 12  # as many features as our classifiers have
MANY = 500_000


def main() -> None:
    """Draws repeatedly at each n and writes `results/distances.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    mix, offset = rng.normal(size=(LATENT, FEATURES)) / np.sqrt(LATENT), 0.3 * rng.normal(size=FEATURES)

    def features(n: int, seed: int, *, shift: float, scale: float) -> np.ndarray:
        """Correlated, rectified, with heavy ends, as the last layer of a classifier gives them."""
        rng = np.random.default_rng(seed)
        latent = shift + scale * rng.normal(size=(n, LATENT))
        return np.maximum(latent @ mix + offset + 0.15 * rng.normal(size=(n, FEATURES)), 0)

    made = {"shift": 0.15, "scale": 0.9}
    reference = gaussian_statistics(features(MANY, 1, shift=0.0, scale=1.0))
    truth = frechet_distance(gaussian_statistics(features(MANY, 2, **made)), reference)
    numbers = {"truth": number(truth, "1", MANY)}
    for n in NUMBERS:
        found = [frechet_jackknife(features(n, 100 + i, **made), reference=reference) for i in range(repeats)]
        for kind, extrapolates in (("plain", False), ("extrapolated", True)):
            estimates = [jackknifed.estimate(extrapolates=extrapolates) for jackknifed in found]
            values = np.array([estimate.value for estimate in estimates])
            mean, half = float(values.mean()), float(2 * values.std(ddof=1) / np.sqrt(repeats))
            held = [x.low is not None and x.high is not None and x.low <= truth <= x.high for x in estimates]
            numbers[f"{kind}_{n}"] = number(mean, "1", repeats, mean - half, mean + half)
            numbers[f"{kind}_{n}_interval_holds_truth"] = number(float(np.mean(held)), "share", repeats)
    path = write_result(
        "distances",
        shows=f"Frechet distance of n samples of one generator in {FEATURES} features: mean over repetitions at this n, and "
        "extrapolated to infinitely many samples; and how often the 95 % interval of one repetition holds the true distance.",
        command=f"python benchmarks/bench_distances.py --repeats {repeats}",
        numbers=numbers,
    )
    print(path.read_text())


def number(value: float, unit: str, n: int, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """A number for the record; without ends, it has no interval."""
    return {"value": value, "unit": unit, "n": n, "low": low, "high": high}


if __name__ == "__main__":
    main()
