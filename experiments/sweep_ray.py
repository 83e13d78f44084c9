"""Evaluators on Ray Tune: one trial per worker, which lives as long as there is work, and a step per architecture.

A trial per architecture would let workers starve: Tune gives a free actor to the trial whose own actor is still starting, and
stops that one, so that short evaluations never get more than one process. Tune places the workers, watches over them and
replaces those that die; what each does next lies on a desk, an actor beside the driver. The ledger is the truth: Tune's own
snapshots go to a folder that is removed, and are never restored.
"""

import asyncio
import collections
import json
import math
import os
import traceback
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher as TuneSearcher
from ray.tune.stopper import Stopper
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from experiments.errors import InputError
from experiments.memory import resident_bytes
from experiments.ray_cluster import ray_cluster
from experiments.records import Asked
from experiments.sweep_session import EvaluatorFactory, Outcome, SweepSession, judge
from experiments.workers import Workers
from objectives import Estimate
from search_space import Architecture

_MAX_DEATHS = 3  # of workers with the same architecture, before it has failed
_MAX_STILLBORN = 5  # workers in a row that died before their evaluator was built


def run_on_ray(session: SweepSession, evaluator_factory: EvaluatorFactory, workers: Workers, *, address: str | None) -> None:
    """Runs a session to its end on a cluster by its address, or on a local one that is ended afterwards.

    Raises:
        RuntimeError: no evaluator could be built; the message has the worker's traceback.
        InputError: there is no such cluster, or a worker needs more memory than it may have.
    """
    with ray_cluster(num_cpus=math.ceil(workers.number * workers.cpus), address=address) as folder:
        _check_resources(workers)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        desk = ray.remote(_Desk).options(num_cpus=0, scheduling_strategy=here).remote()
        staff = _Staff(session, desk, workers)
        worker = tune.with_parameters(_Worker, evaluator_factory=evaluator_factory, desk=desk, workers=workers)
        resources = {"cpu": workers.cpus} | ({"gpu": workers.gpus} if workers.gpus else {})
        tuner = tune.Tuner(
            tune.with_resources(worker, resources),
            tune_config=tune.TuneConfig(search_alg=staff, num_samples=-1, trial_dirname_creator=lambda trial: trial.trial_id),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder),
                verbose=0,
                stop=_StopAtTheEnd(staff),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        reasons = [str(error) for error in tuner.fit().errors]
    if isinstance(staff.error, StillbornError):
        raise RuntimeError(f"{staff.error}; the last one: {reasons[-1] if reasons else 'it left no word'}")
    if staff.error is not None:
        raise staff.error


def _check_resources(workers: Workers) -> None:
    """Raises InputError where no node has what one worker wants: Tune would wait for it, and say nothing."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for key, kind, wanted in (("cpus_per_worker", "CPU", workers.cpus), ("gpus_per_worker", "GPU", workers.gpus)):
        if wanted > (most := max(node.get(kind, 0.0) for node in nodes)):
            raise InputError(f"search.{key} is {wanted:g}, and no node that Ray sees has more than {most:g} {kind}s; lower it")


class StillbornError(Exception):
    """No worker lives long enough to build its evaluator."""


class _Desk:
    """Where a worker finds the architecture that it judges next, as JSON; None sends it home."""

    def __init__(self) -> None:
        self._laid: dict[str, Any] = {}
        self._changed = asyncio.Event()

    async def lay(self, worker: str, work: dict[str, Any] | None) -> None:
        self._laid[worker] = work
        self._changed.set()
        self._changed = asyncio.Event()

    async def take(self, worker: str) -> dict[str, Any] | None:
        while worker not in self._laid:
            await self._changed.wait()
        return self._laid.pop(worker)


class _Worker(tune.Trainable):
    """Builds an evaluator once, then judges what it finds on the desk."""

    def setup(self, config: dict[str, Any], evaluator_factory: Any = None, desk: Any = None, workers: Any = None) -> None:
        """Builds the evaluator; a failure is reported by the first step."""
        if 0 < workers.gpus < 1:  # JAX would take three quarters of the memory for itself
            os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 * workers.gpus:.3f}")
        self._name = config["worker"]
        self._desk = desk
        self._max_bytes = workers.max_bytes
        self._is_ready = False
        self._num_judged = 0
        self._broken: str | None = None
        try:
            self._evaluator = evaluator_factory()
        except Exception:
            self._broken = traceback.format_exc()

    def step(self) -> dict[str, Any]:
        """Judges one architecture; the first step only says that it can; the last finds none, or took too much memory."""
        if self._broken is not None:
            return {"broken": self._broken, "done": True}
        if not self._is_ready:
            self._is_ready = True
            return {"ready": True}
        work: Any = ray.get(self._desk.take.remote(self._name))
        if work is None:
            return {"done": True}
        outcome = judge(self._evaluator, Architecture.from_json(work))
        objectives = {name: estimate.to_json() for name, estimate in outcome.objectives.items()}
        text = json.dumps({"objectives": objectives, "reason": outcome.reason, "seconds": outcome.seconds})
        held, is_first = resident_bytes(), self._num_judged == 0
        self._num_judged += 1
        return {"outcome": text, "held_bytes": held, "is_first": is_first, "done": held > self._max_bytes}


class _Staff(TuneSearcher):
    """What Tune asks for workers; an error is kept, and raised once Tune has stopped, because Tune would log and go on."""

    def __init__(self, session: SweepSession, desk: Any, workers: Workers) -> None:
        """Starts with nobody at work."""
        super().__init__(metric=None, mode=None)
        self.error: BaseException | None = None
        self._session = session
        self._desk = desk
        self._workers = workers
        self._coming: set[str] = set()  # workers that were asked for; a cluster may never have room for them
        self._at_work: dict[str, Asked | None] = {}  # what each worker that is there does; None where it waits
        self._num_stillborn = 0
        self._lost: collections.deque[Asked] = collections.deque()  # with a worker that died
        self._deaths: collections.Counter[int] = collections.Counter()

    def suggest(self, trial_id: str) -> Any:
        """A worker's trial; None while there are enough or nothing is to be done yet; FINISHED at the end."""
        if self.is_over:
            return TuneSearcher.FINISHED
        is_enough = len(self._coming) + len(self._at_work) >= self._workers.number
        if is_enough or not self._has_work or None in self._at_work.values():
            return None
        self._coming.add(trial_id)
        return {"worker": trial_id}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Takes an outcome, and lays out what comes next."""
        self._take(trial_id, result)
        self._occupy()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A worker has gone home or died: what it had in its hands is done by another."""
        if not error and result is not None:
            self._take(trial_id, result)
        elif trial_id in self._coming:
            self._num_stillborn += 1
            if self._num_stillborn >= _MAX_STILLBORN:
                self.error = StillbornError(f"{_MAX_STILLBORN} workers in a row died before their evaluator was built")
        self._coming.discard(trial_id)
        asked = self._at_work.pop(trial_id, None)
        if asked is not None and self.error is None:
            self._deaths[asked.index] += 1
            if self._deaths[asked.index] < _MAX_DEATHS:
                self._lost.append(asked)
            else:
                reason = f"the worker died {_MAX_DEATHS} times while it evaluated this architecture"
                self._finish(asked, Outcome({}, reason, math.nan))
        self._occupy()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of it is worth pickling, and Tune pickles what it is given."""
        return {}

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Saves nothing: the ledger has it all."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do or to wait for, except for workers that will not be needed."""
        is_busy = any(asked is not None for asked in self._at_work.values())
        return self.error is not None or not (is_busy or self._has_work)

    @property
    def _has_work(self) -> bool:
        return bool(self._lost) or self._session.has_work

    def _take(self, trial_id: str, result: dict[str, Any]) -> None:
        if self.error is not None:
            return
        if "broken" in result:
            self.error = RuntimeError(f"a worker could not build its evaluator:\n{result['broken']}")
        elif "ready" in result and trial_id in self._coming:
            self._coming.remove(trial_id)
            self._num_stillborn = 0
            self._at_work[trial_id] = None
        elif "outcome" in result and (asked := self._at_work.get(trial_id)) is not None:
            self._at_work[trial_id] = None
            self._finish(asked, _outcome(result["outcome"]))
            if result["is_first"] and result["held_bytes"] > self._workers.max_bytes:
                self.error = InputError(
                    f"search.max_worker_gb: a worker holds {result['held_bytes'] / 1e9:.2f} GB after its first evaluation, "
                    f"more than the {self._workers.max_bytes / 1e9:.2f} GB that it may; raise the limit"
                )

    def _finish(self, asked: Asked, outcome: Outcome) -> None:
        try:
            self._session.finish(asked.index, outcome)
        except Exception as failure:
            self.error = failure

    def _occupy(self) -> None:
        """Gives those who wait something to do, or sends them home where nothing will come."""
        for name in [name for name, asked in self._at_work.items() if asked is None]:
            if self.error is not None:
                return
            try:
                asked = self._lost.popleft() if self._lost else self._session.next()
            except Exception as error:
                self.error = error
                return
            if asked is not None:
                self._at_work[name] = asked
                self._desk.lay.remote(name, asked.architecture.to_json())
            elif not self._has_work:
                self._desk.lay.remote(name, None)


class _StopAtTheEnd(Stopper):
    def __init__(self, staff: _Staff) -> None:
        self._staff = staff

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._staff.is_over


def _outcome(text: str) -> Outcome:
    record = json.loads(text)
    objectives = {name: Estimate.from_json(estimate) for name, estimate in record["objectives"].items()}
    return Outcome(objectives, record["reason"], record["seconds"])
