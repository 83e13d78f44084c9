"""The stage of a sweep that searches: costs, the search itself, and the rungs above it, which judge the best of it better."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from experiments.anchors import fit_anchors
from experiments.config import SweepConfig, ledger_header, planned_rungs, search_seed
from experiments.config_fields import seconds_of
from experiments.evaluator import SupernetEvaluators
from experiments.feasibility import feasibility
from experiments.latency import Costs, fit_predictor, held_out_text
from experiments.ledger import Ledger
from experiments.memory import drop_programs
from experiments.progress import Progress, reaching
from experiments.rungs import Level, levels
from experiments.sample_features import judged_objectives
from experiments.searchers.listed import listed
from experiments.searchers.registry import get_searcher
from experiments.starting_points import StartingPoints
from experiments.sweep import SweepProgress, Workers, run_search
from experiments.sweep_session import EvaluatorFactory
from objectives import Objective, get_objective
from objectives.objective import PREDICTED
from search_space import SearchSpace, get_scale, get_space


def search(
    config: SweepConfig, run_dir: Path, ledger: Ledger, start: StartingPoints, progress: Progress, *, address: str | None
) -> None:
    """Fits the predictor, searches, and judges the best again on every rung; each goes on from where it stopped.

    Args:
        config: the sweep.
        run_dir: its folder, with a trained supernet, and a classifier where samples are judged.
        ledger: open for writing.
        start: what the search starts from.
        progress: where to report.
        address: of a running Ray cluster; without it the sweep starts one of its own.
    """
    predictor = fit_predictor(config, run_dir, progress)
    drop_programs()
    progress.say(held_out_text(predictor))
    space, objectives = get_space(config.space), tuple(get_objective(name) for name in config.objectives)
    costs = Costs(get_scale(config.deploy_scale), predictor, config.latency.image)
    if config.limits:
        feasibility(space, costs.columns, limits=config.limits, seed=config.seed)
    workers = _workers(config)
    evaluate = functools.partial(
        run_search, costs=costs, limits=config.limits, workers=workers,
        executor=config.search.executor, ray_address=address,
    )  # fmt: skip
    if PREDICTED in judged_objectives(config):
        fit_anchors(config, run_dir, costs=costs.columns, progress=progress)
        drop_programs()
    ledger.plan(planned_rungs(config))
    with _progress_of_search(config, workers, ledger, progress) as tell:
        ended = evaluate(
            space=space, ledger=ledger,
            searcher=get_searcher(
                config.search.searcher, space, objectives=objectives, limits=config.limits, seed=search_seed(config),
                population=config.search.population, costs=costs.columns, batch=config.search.batch,
            ),
            evaluator_factory=SupernetEvaluators(run_dir), objectives=objectives,
            fingerprint=ledger_header(config)["fingerprint"], num_evaluations=config.trials, seconds=_seconds(config),
            progress=tell, designs=start.designs, outcomes=start.outcomes,
        )  # fmt: skip
    if ended.stopped:
        progress.say(f"the search stopped early: {ended.stopped}")
    drop_programs()
    factories = (SupernetEvaluators(run_dir, rung) for rung in config.rungs)
    judge_on_rungs(space, ledger, objectives, factories, evaluate=evaluate, progress=progress)


def judge_on_rungs(
    space: SearchSpace,
    ledger: Ledger,
    objectives: Sequence[Objective],
    factories: Iterable[EvaluatorFactory],
    *,
    evaluate: Callable[..., SweepProgress],
    progress: Progress,
) -> None:
    """Judges on each rung, the lowest first, those that the ledger promotes to it and that were not judged there yet.

    Args:
        space: that was searched.
        ledger: open for writing, its rungs planned.
        objectives: of the search.
        factories: of the evaluators of each rung.
        evaluate: `run_search` with all that the rungs share.
        progress: where to report.
    """
    for position, factory in enumerate(factories, start=1):
        level = levels(ledger.contents, objectives)[position]
        assert level.rung is not None
        if level.left:
            asked = {x.architecture.digest for x in level.contents.asked}  # those in flight are judged again in any case
            with _progress_of_rung(level, progress) as tell:
                ended = evaluate(
                    space=space, ledger=ledger,
                    searcher=listed(space, [x.architecture for x in level.left if x.digest not in asked]),
                    evaluator_factory=factory, objectives=level.objectives, fingerprint=level.rung.fingerprint, is_rung=True,
                    num_evaluations=level.contents.num_ended + _num_to_judge(level), progress=tell,
                )  # fmt: skip
            if ended.stopped:
                progress.say(f"rung {position} stopped early: {ended.stopped}; the same command goes on")
                return
            level = levels(ledger.contents, objectives)[position]
        if level.promoted and not level.done:
            last = level.contents.evaluations[-1]
            progress.say(f"rung {position}: all failed, and the front stays that of the level below; the last: {last.reason}")
            return


def _workers(config: SweepConfig) -> Workers:
    search = config.search
    most_bytes = 1e9 * search.max_worker_gb if search.max_worker_gb else math.inf
    number = search.num_workers if search.executor == "ray" else 1
    return Workers(number, search.cpus_per_worker, search.gpus_per_worker, most_bytes)


def _seconds(config: SweepConfig) -> float:
    return seconds_of(config.budget) if config.budget else math.inf


def _num_to_judge(level: Level) -> int:
    """The promoted that are left, and what is in flight since others were promoted."""
    return len({x.architecture.digest for x in (*level.left, *level.contents.in_flight)})


@contextlib.contextmanager
def _progress_of_search(
    config: SweepConfig, workers: Workers, ledger: Ledger, progress: Progress
) -> Iterator[Callable[[SweepProgress], None]]:
    done = ledger.contents.at(None).num_ended if config.trials else 0
    with progress.stage("Searching", config.trials or round(_seconds(config)), done=done) as stage:
        reach = reaching(stage, done)

        def tell(state: SweepProgress) -> None:
            ended = state.num_done + state.num_failed
            note = f"{state.num_failed} failed, {state.num_infeasible} infeasible"
            if config.trials:
                reach(ended, note)
            else:
                reach(round(state.seconds / workers.number), f"{ended} evaluated, {note}")

        yield tell


@contextlib.contextmanager
def _progress_of_rung(level: Level, progress: Progress) -> Iterator[Callable[[SweepProgress], None]]:
    done, to_judge = level.contents.num_ended, _num_to_judge(level)
    with progress.stage(f"Judging the best by {level.name}", done + to_judge, done=done) as stage:
        reach = reaching(stage, done)
        yield lambda state: reach(state.num_done + state.num_failed, f"{state.num_failed} failed")
