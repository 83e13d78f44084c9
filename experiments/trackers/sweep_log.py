"""What is logged of a sweep, all of it derived from its run folder: the supernet's losses, every outcome, the front."""

import collections
import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from experiments.config import SweepConfig
from experiments.evaluation import Evaluation, Status
from experiments.front import reference_box
from experiments.ledger import Ledger
from experiments.progress import Progress
from experiments.records import Asked, Event
from experiments.run_folder import Run
from experiments.searchers.minimized import minimized_values
from experiments.trackers.tracker import Log, TrackedRun, log_nothing
from experiments.trackers.tracking import kept_key, track
from experiments.training_curve import log_history
from objectives import Objective, get_objective
from objectives.front import hypervolume, non_dominated

SUPERNET = "supernet"


@contextlib.contextmanager
def track_sweep(config: SweepConfig, run_dir: Path, ledger: Ledger, progress: Progress) -> Iterator[Log]:
    """The log of a sweep while it runs: told at once what the run folder holds, then each outcome once it is in the ledger.

    Args:
        config: the sweep, with its trackers.
        run_dir: its folder, which keeps the key by which its runs are found again, and local stores.
        ledger: open for writing.
        progress: is told of failures of trackers.

    Raises:
        InputError: the package of a tracker is not installed.
    """
    if not config.trackers:
        yield log_nothing
        return
    run = TrackedRun(run_dir, kept_key(run_dir), config.name, config.model_dump(mode="json"))
    with track(config.trackers, run, progress.say) as log:
        log_history(run_dir / "supernet", functools.partial(log, SUPERNET))
        objectives = [get_objective(name) for name in config.objectives]
        ledger.follow(_OutcomeLog(log, objectives, box_size=config.search.population))
        yield log


def log_front(run: Run, log: Log) -> None:
    """Logs how large the front is, and the objectives of its knee, at the number of outcomes that it is drawn from."""
    if run.knee is None:
        return
    num_outcomes = sum(len(level.contents.evaluations) for level in run.levels)
    knee = {f"knee_{objective.name}": run.knee.objectives[objective.name].value for objective in run.objectives}
    log("front", num_outcomes, {"size": len(run.front), **knee})


def winner_log(log: Log, digest: str) -> Log:
    """The log of the distillation of a run's knee, apart from that of another knee."""
    return lambda series, step, values: log(f"winner_{digest}/{series}", step, values)


class _OutcomeLog:
    """Logs the outcomes in a ledger's events: a series for the search, one for each rung, counted from 1 in each."""

    def __init__(self, log: Log, objectives: Sequence[Objective], *, box_size: int) -> None:
        self._log, self._objectives = log, objectives
        self._front = _GrowingFront(box_size)
        self._series: dict[int, str] = {}  # by index
        self._counts: dict[str, collections.Counter[Status]] = collections.defaultdict(collections.Counter)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Asked):
            self._series[event.index] = f"rung_{event.rung}" if event.rung else "search"
        elif isinstance(event, Evaluation):
            self._outcome(event, self._series[event.index])

    def _outcome(self, evaluation: Evaluation, series: str) -> None:
        counts = self._counts[series]
        counts[evaluation.status] += 1
        values: dict[str, float] = {f"num_{status}": counts[status] for status in get_args(Status)}
        if math.isfinite(evaluation.seconds):
            values["seconds"] = evaluation.seconds
        if evaluation.status == "done":
            values |= {name: estimate.value for name, estimate in evaluation.objectives.items()}
            if series == "search":
                values |= self._front.add(minimized_values(evaluation, self._objectives))
        self._log(series, counts.total(), values)


class _GrowingFront:
    """The front while it grows; its hypervolume in the box of the first so many, which never moves afterwards.

    A reference that moves, as that of `front.json` does, would let a curve fall that is logged once and for all.
    """

    def __init__(self, box_size: int) -> None:
        self._box_size = box_size
        self._first: list[np.ndarray] = []
        self._front: np.ndarray | None = None

    def add(self, point: np.ndarray) -> dict[str, float]:
        """Takes the next that is done, to be minimised; how large the front is now, and its hypervolume once there is a box."""
        front = point[None] if self._front is None else np.stack([*self._front, point])
        self._front = front[non_dominated(front)]
        if len(self._first) < self._box_size:
            self._first.append(point)
        found: dict[str, float] = {"front_size": len(self._front)}
        if len(self._first) == self._box_size:
            ideal, size = reference_box(np.stack(self._first))
            found["hypervolume"] = hypervolume((self._front - ideal) / size, reference=np.ones(len(point)))
        return found
