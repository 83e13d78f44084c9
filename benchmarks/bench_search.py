"""Gap to the true hypervolume after so many evaluations, all searchers side by side on surfaces whose true front is known."""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from record import RESULTS, write_result
from surfaces import OBJECTIVES, surface

from experiments.evaluation import evaluated
from experiments.searchers import get_searcher, searcher_names

SURFACES = ("digits", "knapsack", "rugged")
BUDGETS = (50, 100, 120, 200)
RANDOM_BUDGETS = (*BUDGETS, 400)
_RESAMPLES = 2000


def main() -> None:
    """Searches every surface with every searcher and seed, and writes `results/search.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--searchers", nargs="+", default=searcher_names(), choices=searcher_names())
    parser.add_argument("--surfaces", nargs="+", default=SURFACES, choices=SURFACES)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    runs = [(s, name, seed) for s in options.surfaces for name in options.searchers for seed in range(options.seeds)]
    gaps: dict[tuple[str, str], list[np.ndarray]] = {}
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as executor:
        for (s, name, seed), found in zip(runs, executor.map(gaps_of, *zip(*runs, strict=True)), strict=True):
            gaps.setdefault((s, name), []).append(found)
            if seed == options.seeds - 1:
                print(s, name, np.mean(gaps[s, name], axis=0).round(4), flush=True)
    numbers = kept_numbers() | {
        f"{s}.{name}.gap_{budget}": mean_gap(np.array(found)[:, i])
        for (s, name), found in gaps.items()
        for i, budget in enumerate(_budgets(name))
    }
    path = write_result(
        "search",
        shows="Share of the true front's hypervolume that is missing after so many evaluations, mean over paired seeds, with "
        "its 95 % bootstrap interval; the reference point lies a tenth of the range beyond the worst. As in a sweep, `pocket` "
        "knows costs beforehand: counts and latency on `digits`, the price alone on the surfaces that are made.",
        command=f"python benchmarks/bench_search.py --seeds {options.seeds}",
        numbers=numbers,
    )
    print(path)


def kept_numbers() -> dict[str, Any]:
    """What stands of other searchers, which is the same whenever they are run."""
    path = RESULTS / "search.json"
    return json.loads(path.read_text("utf-8"))["numbers"] if path.is_file() else {}


def gaps_of(surface_name: str, searcher_name: str, seed: int) -> np.ndarray:
    """The gap after each budget, of one search."""
    known = surface(surface_name)
    searcher = get_searcher(searcher_name, known.space, objectives=OBJECTIVES, seed=seed, population=24, costs=known.costs)
    found = np.empty((0, 2))
    budgets = _budgets(searcher_name)
    while len(found) < max(budgets):
        architectures = searcher.suggest(1)
        values = known.look_up(architectures)
        found = np.concatenate([found, values])
        searcher.observe(
            evaluated(architecture, dict(zip(("denoising_loss", "latency_ms"), map(float, value), strict=True)))
            for architecture, value in zip(architectures, values, strict=True)
        )
    return np.array([known.gap(found[:budget]) for budget in budgets])


def _budgets(searcher_name: str) -> tuple[int, ...]:
    return RANDOM_BUDGETS if searcher_name == "random" else BUDGETS


def mean_gap(gaps: np.ndarray) -> dict[str, Any]:
    """The mean over seeds with its bootstrap interval."""
    rng = np.random.default_rng(0)
    means = rng.choice(gaps, (_RESAMPLES, len(gaps))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return {"value": float(gaps.mean()), "unit": "share", "n": len(gaps), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    main()
