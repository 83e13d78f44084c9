"""What a trial costs beside its evaluation, with the ledger on: time and the driver's memory under Ray Tune, and suggestions.

Every evaluation is a step of a worker's trial, one at a time per worker. The searcher is random, so that the time is the
engine's; suggestions are timed on their own, with an outcome told after each.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from record import write_result

from experiments.evaluation import evaluated
from experiments.latency import Costs
from experiments.ledger import Ledger
from experiments.memory import resident_bytes
from experiments.searchers import get_searcher
from experiments.sweep import SweepProgress, Workers, run_search
from objectives import Estimate, get_objective
from search_space import Architecture, get_scale, get_space

SPACE = get_space("digits")  # 1.8e15 architectures
OBJECTIVES = (get_objective("denoising_loss"), get_objective("macs"))
COSTS = Costs(get_scale("digits-deploy"), None)
_SEARCHERS = ("random", "pocket", "nsga2", "nsga3")
_BUSY_SECONDS = 0.5
_NUM_WORKERS = 2


def main() -> None:
    """Runs the sweeps and writes `results/engine.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--long", type=int, default=5000, help="trials of the sweep whose memory is looked at")
    options = parser.parse_args()
    idle = np.array([sweep_times(options.trials, 0.0)[-1] for _ in range(options.repeats)]) * 1e3 / options.trials
    busy = sweep_times(options.trials, _BUSY_SECONDS)[-1] * _NUM_WORKERS / (options.trials * _BUSY_SECONDS)
    memory = memory_growth(options.long)
    numbers = {
        "overhead_a_trial": {"value": float(np.median(idle)), "unit": "ms", "n": len(idle), "low": float(idle.min()),
                             "high": float(idle.max())},
        "busy_over_ideal": {"value": busy, "unit": "ratio", "n": options.trials, "low": None, "high": None},
        "driver_memory_a_thousand": {"value": memory, "unit": "MB", "n": options.long, "low": None, "high": None},
    }  # fmt: skip
    for name in _SEARCHERS:
        seconds, repeated = suggestion_times(name, 1000)
        low, high = np.quantile(seconds, (0.025, 0.975))
        numbers[f"suggestion.{name}"] = {"value": float(seconds.mean()) * 1e3, "unit": "ms", "n": len(seconds),
                                         "low": float(low) * 1e3, "high": float(high) * 1e3, "repeated": repeated}  # fmt: skip
    path = write_result(
        "engine",
        shows="Wall time a trial of no work under Ray Tune (range of the repeats); wall time of trials that burn half a second "
        "of CPU, over half their sum on two workers; memory of the driver, a thousand trials; time of a suggestion in a thread "
        "(mean, and where 95 % of them lie). Ray's start and the building of workers are not counted.",
        command=f"python benchmarks/bench_engine.py --trials {options.trials} --long {options.long}",
        numbers=numbers,
    )
    print(path.read_text("utf-8"))


def sweep_times(num_trials: int, busy_seconds: float) -> list[float]:
    """Seconds at which trials ended; time begins once every worker has ended one that is not counted."""
    times: list[float] = []
    _sweep(num_trials + _NUM_WORKERS, busy_seconds, lambda state: times.append(time.perf_counter()))
    return [moment - times[_NUM_WORKERS] for moment in times[_NUM_WORKERS:]]


def memory_growth(num_trials: int) -> float:
    """Megabytes by which this process grows in a thousand trials: the slope over all but the first fifth of a sweep."""
    sizes: list[int] = []
    _sweep(num_trials, 0.0, lambda state: sizes.append(resident_bytes()))
    later = np.array(sizes[len(sizes) // 5 :])
    return float(np.polyfit(np.arange(len(later)), later, 1)[0]) * 1000 / 1e6


def suggestion_times(name: str, num: int) -> tuple[np.ndarray, int]:
    """CPU seconds of each suggestion, and how many were made before."""
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=len(SPACE.genes))
    searcher = get_searcher(name, SPACE, objectives=OBJECTIVES, seed=0, population=24, costs=COSTS.columns)
    seconds, seen = [], set()
    for _ in range(num):
        begun = time.thread_time()
        (architecture,) = searcher.suggest(1)
        seconds.append(time.thread_time() - begun)
        seen.add(architecture.digest)
        macs = COSTS(architecture)["macs"].value
        loss = float(np.exp(-SPACE.encode(architecture) @ weights / weights.sum()))
        searcher.observe([evaluated(architecture, {"denoising_loss": loss, "macs": macs})])
    return np.array(seconds), num - len(seen)


def evaluate(architecture: Architecture, *, busy_seconds: float) -> dict[str, Estimate]:
    """Burns CPU for so long; the loss is arithmetic."""
    begun = time.thread_time()
    while time.thread_time() - begun < busy_seconds:
        pass
    return {"denoising_loss": Estimate.exact(int(architecture.digest, 16) / 2**64)}


def _evaluator(busy_seconds: float) -> functools.partial:
    return functools.partial(evaluate, busy_seconds=busy_seconds)


def _sweep(num_trials: int, busy_seconds: float, tell: Callable[[SweepProgress], None]) -> None:
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.jsonl", header={}) as ledger:
        run_search(
            space=SPACE, searcher=get_searcher("random", SPACE, objectives=OBJECTIVES, seed=0), ledger=ledger,
            evaluator_factory=functools.partial(_evaluator, busy_seconds), costs=COSTS, limits={}, objectives=OBJECTIVES,
            fingerprint="engine", num_evaluations=num_trials, workers=Workers(_NUM_WORKERS), progress=tell,
        )  # fmt: skip


if __name__ == "__main__":
    main()
