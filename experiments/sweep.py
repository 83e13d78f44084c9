"""A sweep: architectures asked for, evaluated here or on Ray, and recorded; the same call resumes where a kill ended it."""

import math
from collections.abc import Callable, Mapping, Sequence

from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.ledger import Ledger
from experiments.searchers import Searcher
from experiments.sweep_session import EvaluatorFactory, Outcome, SweepProgress, SweepSession, judge
from experiments.workers import Workers
from objectives import Estimate, Objective
from search_space import Architecture, SearchSpace

__all__ = ["Outcome", "SweepProgress", "Workers", "run_search"]

_ONE_WORKER = Workers()


def run_search(
    *,
    space: SearchSpace,
    searcher: Searcher,
    ledger: Ledger,
    evaluator_factory: EvaluatorFactory,
    costs: Callable[[Architecture], Mapping[str, Estimate]],
    limits: Mapping[str, float],
    objectives: Sequence[Objective],
    fingerprint: str,
    num_evaluations: int | None,
    seconds: float = math.inf,
    workers: Workers = _ONE_WORKER,
    executor: str = "ray",
    progress: Callable[[SweepProgress], None] | None = None,
    ray_address: str | None = None,
    designs: Sequence[Architecture] = (),
    outcomes: Sequence[Evaluation] = (),
    is_rung: bool = False,
) -> SweepProgress:
    """Evaluates until enough architectures are done or failed, or enough time was spent, what is in the ledger included.

    An architecture that breaks a limit is recorded as infeasible with its costs; it is not evaluated and not counted.

    Args:
        space: where the searcher searches.
        searcher: fresh; the ledger is replayed into it.
        ledger: open for writing; the truth, and all that is kept.
        evaluator_factory: builds an evaluator, once per worker; under ray it is sent there by cloudpickle.
        costs: estimates that need no weights, by name; computed in this process.
        limits: upper bound by cost.
        objectives: what every evaluation must have.
        fingerprint: how the numbers are measured.
        num_evaluations: the goal; None where time alone ends the sweep.
        seconds: that evaluations may take, the sum of all over the number of workers; those that have begun are finished.
        workers: that evaluate under ray; the local executor always has one.
        executor: 'ray' (Ray Tune) or 'local' (in this process, without Ray).
        progress: called with the state after every outcome, and once before the first.
        ray_address: of a running cluster to use; without one, a local one is started and ended.
        designs: evaluated before the searcher is asked for any.
        outcomes: known before, in this way measured; they are recorded and told to the searcher, and not counted.
        is_rung: whether this is the rung of this fingerprint above the search, rather than the search itself.

    Returns:
        Where the sweep ended; `stopped` says why where it fell short.

    Raises:
        InputError: an argument is out of range, the searcher is of another space, or the ledger was written by a different
            search.
        RuntimeError: no worker could build its evaluator.
    """
    if executor not in ("ray", "local"):
        raise InputError(f"executor must be 'ray' or 'local', got {executor!r}")
    if (num_evaluations is not None and num_evaluations < 1) or workers.number < 1:
        raise InputError(f"num_evaluations and workers must be 1 or more, got {num_evaluations} and {workers.number}")
    if num_evaluations is None and not math.isfinite(seconds):
        raise InputError("neither num_evaluations nor seconds is given, and the sweep would never end; give one of them")
    if searcher.space != space:
        raise InputError(f"the searcher searches space {searcher.space.name!r}, the sweep is about {space.name!r}")
    session = SweepSession(
        searcher=searcher,
        ledger=ledger,
        costs=costs,
        limits=limits,
        objectives=objectives,
        fingerprint=fingerprint,
        num_evaluations=num_evaluations,
        seconds=seconds * (workers.number if executor == "ray" else 1),
        progress=progress,
        designs=designs,
        outcomes=outcomes,
        rung=fingerprint if is_rung else None,
    )
    if not session.has_work:
        return session.progress
    if executor == "local":
        _run_here(session, evaluator_factory)
    else:
        from experiments.sweep_ray import run_on_ray

        run_on_ray(session, evaluator_factory, workers, address=ray_address)
    return session.progress


def _run_here(session: SweepSession, evaluator_factory: EvaluatorFactory) -> None:
    evaluator = evaluator_factory()
    while (asked := session.next()) is not None:
        session.finish(asked.index, judge(evaluator, asked.architecture))
