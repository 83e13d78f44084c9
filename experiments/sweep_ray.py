"""Evaluators on Ray Tune: one long-lived actor per worker, one trial per architecture, and nothing kept by Tune.

Tune schedules, reuses actors and retries the trial of a worker that was killed. The searcher that it asks is a thin shell
around the session, whose ledger is the truth: Tune's own snapshots go to a folder that is removed, and are never restored.
"""

import json
import math
import os
import traceback
from typing import Any

from ray import tune
from ray.tune.search import Searcher as TuneSearcher
from ray.tune.stopper import Stopper

from experiments.ray_cluster import ray_cluster
from experiments.sweep_session import EvaluatorFactory, Outcome, SweepSession, judge
from objectives import Estimate
from search_space import Architecture

_RETRIES = 2  # of a trial whose worker died


def run_on_ray(
    session: SweepSession,
    evaluator_factory: EvaluatorFactory,
    *,
    num_workers: int,
    address: str | None,
    gpus_per_worker: float,
) -> None:
    """Runs a session to its end on a cluster by its address, or on a local one that is ended afterwards.

    Raises:
        RuntimeError: no evaluator could be built; the message has the worker's traceback.
    """
    with ray_cluster(num_workers=num_workers, address=address) as folder:
        search = _SessionSearch(session, num_workers=num_workers)
        worker = tune.with_parameters(_Worker, evaluator_factory=evaluator_factory, gpus_per_worker=gpus_per_worker)
        resources = {"cpu": 1} | ({"gpu": gpus_per_worker} if gpus_per_worker else {})
        tuner = tune.Tuner(
            tune.with_resources(worker, resources),
            tune_config=tune.TuneConfig(
                search_alg=search, num_samples=-1, reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder),
                verbose=0,
                stop=_StopOnError(search),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=_RETRIES),
            ),
        )
        tuner.fit()
    if search.error is not None:
        raise search.error


class _Worker(tune.Trainable):
    """Builds an evaluator once, then judges one architecture per trial."""

    def setup(self, config: dict[str, Any], evaluator_factory: Any = None, gpus_per_worker: float = 0.0) -> None:
        """Builds the evaluator; a failure is reported by the first step."""
        if 0 < gpus_per_worker < 1:  # JAX would take three quarters of the memory for itself
            os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 * gpus_per_worker:.3f}")
        self._trial_config = config
        self._broken: str | None = None
        try:
            self._evaluator = evaluator_factory()
        except Exception:
            self._broken = traceback.format_exc()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next architecture; the evaluator stays."""
        self._trial_config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Judges the trial's architecture; one step is the whole trial."""
        if self._broken is not None:
            return {"broken": self._broken, "done": True}
        architecture = Architecture.from_json(json.loads(self._trial_config["architecture"]))
        outcome = judge(self._evaluator, architecture)
        objectives = {name: estimate.to_json() for name, estimate in outcome.objectives.items()}
        text = json.dumps({"objectives": objectives, "reason": outcome.reason, "seconds": outcome.seconds})
        return {"outcome": text, "done": True}


class _SessionSearch(TuneSearcher):
    """What Tune asks for trials; an error is kept, and raised once Tune has stopped, because Tune would log and go on."""

    def __init__(self, session: SweepSession, *, num_workers: int) -> None:
        """Starts with nothing out."""
        super().__init__(metric=None, mode=None)
        self.error: BaseException | None = None
        self._session = session
        self._num_workers = num_workers
        self._indices: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next architecture's trial; None while all workers are busy or the search waits; FINISHED at the end."""
        if self.error is not None:
            return TuneSearcher.FINISHED
        if len(self._indices) >= self._num_workers:
            return None if self._session.wants_more else TuneSearcher.FINISHED
        try:
            asked = self._session.next()
        except Exception as error:
            self.error = error
            return TuneSearcher.FINISHED
        if asked is None:
            return None if self._session.wants_more else TuneSearcher.FINISHED
        self._indices[trial_id] = asked.index
        return {"index": asked.index, "architecture": json.dumps(asked.architecture.to_json())}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Takes a trial's outcome; without a result its worker died, again and again."""
        index = self._indices.pop(trial_id, None)
        if index is None or self.error is not None:
            return
        if result is not None and "broken" in result:
            self.error = RuntimeError(f"a worker could not build its evaluator:\n{result['broken']}")
            return
        try:
            self._session.finish(index, _outcome(result, is_error=error))
        except Exception as failure:
            self.error = failure

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of it is worth pickling, and Tune pickles what it is given."""
        return {}

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Saves nothing: the ledger has it all."""


class _StopOnError(Stopper):
    def __init__(self, search: _SessionSearch) -> None:
        self._search = search

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._search.error is not None


def _outcome(result: dict[str, Any] | None, *, is_error: bool) -> Outcome:
    if is_error or result is None or "outcome" not in result:
        return Outcome({}, f"the worker died {_RETRIES + 1} times while it evaluated this architecture", math.nan)
    record = json.loads(result["outcome"])
    objectives = {name: Estimate.from_json(estimate) for name, estimate in record["objectives"].items()}
    return Outcome(objectives, record["reason"], record["seconds"])
