"""How far to trust what a search ranks by: against the same architectures trained alone.

Architectures are drawn at random from strata of cost, whatever the search has found. Each is trained from fresh weights, once
for every seed; the truth is the mean over seeds of the Fréchet distance of its samples. A score that only knows size ranks well
over all costs and not among networks of one size, so the rank correlation is told for both.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.anchors import anchors_of, recorded_anchors
from experiments.config import SweepConfig, load_config
from experiments.data_record import check_unchanged
from experiments.errors import InputError
from experiments.evaluator import SupernetEvaluator, read_inputs
from experiments.locks import locked
from experiments.memory import drop_programs, use_compilation_cache
from experiments.progress import Progress
from experiments.quality import UnusableSamplesError
from experiments.run_folder import read_run
from experiments.sample_features import trained_distances
from experiments.trust_record import BASELINES, EQUAL_COST, FILE, Tau, TrustRecord
from experiments.truths import measure_truths, stand_alone_schedule, stratified
from experiments.whole_files import write_whole
from experiments.zero_cost import zero_cost_scores
from objectives import Estimate, as_minimized, get_objective
from objectives.cost import counted_costs
from objectives.rank import kendall_tau, kendall_tau_at_equal_cost, pairs_at_equal_cost
from objectives.zero_cost import ZERO_COST
from search_space import Architecture, get_scale

_STREAM = 0x7257  # of the draws
_LEAST_PAIRS = 10  # of about equal cost: resamples of fewer hardly differ, and would look certain


@dataclasses.dataclass(frozen=True)
class TrustSettings:
    """How trust is measured: networks trained alone, seeds of each, steps of training, samples that judge each."""

    num: int
    num_seeds: int
    num_steps: int
    num_samples: int


def measure_trust(
    run_dir: Path, *, num: int, num_seeds: int, num_steps: int | None, num_samples: int, progress: Progress
) -> TrustRecord:
    """Trains architectures alone and correlates; goes on where it was stopped.

    Args:
        run_dir: the folder of a run whose supernet is trained.
        num: architectures that are trained.
        num_seeds: trainings of each.
        num_steps: of each training; None for as many as the sweep's own distillation takes.
        num_samples: that judge each.
        progress: where to report.

    Returns:
        What `trust/trust.json` of the run folder then holds.

    Raises:
        InputError: the search ranks by costs alone, the data set has no labels, the space has too few architectures within the
            limits, `sweep.yaml` or the data are no longer those of the run, or another process does the same here.
        FileNotFoundError: the run folder has no trained supernet.
    """
    run, config = read_run(run_dir), load_config(run_dir / "sweep.yaml")
    check_unchanged(run, config)
    qualities = [name for name in config.objectives if not get_objective(name).is_cost]
    if not qualities:
        raise InputError(
            f"{run_dir / 'sweep.yaml'}: key 'objectives' has costs alone ({', '.join(config.objectives)}), and there is no "
            "ranking by quality to trust; measure a sweep with a quality among its objectives"
        )
    settings = TrustSettings(num, num_seeds, num_steps or config.distill.num_steps, num_samples)
    architectures = stratified(config, num, stream=_STREAM, excluded=[*anchors_of(config), *recorded_anchors(run_dir)])
    path = run_dir / FILE
    path.parent.mkdir(exist_ok=True)
    with locked(path, what="record"):
        use_compilation_cache(run_dir)
        inputs = read_inputs(run_dir)
        distances = trained_distances(config, run_dir, progress)
        scores = _scores(SupernetEvaluator(inputs), qualities, architectures, progress)
        drop_programs()
        baselines = _baselines(config, architectures, progress)
        drop_programs()
        name, truths = measure_truths(
            config, architectures, distances, schedule=stand_alone_schedule(config, settings.num_steps),
            seeds=range(num_seeds), num_samples=num_samples, folder=path.parent, progress=progress,
        )  # fmt: skip
        drop_programs()
        record = TrustRecord(
            search_fingerprint=run.ledger.header.get("fingerprint"),
            fingerprint=name,
            **dataclasses.asdict(settings),
            **correlations(scores, truths, baselines),
            architectures=[
                {
                    "digest": architecture.digest,
                    "architecture": architecture.to_json(),
                    "scores": {key: _finite(column[row]) for key, column in scores.items()},
                    "baselines": {key: column[row] for key, column in baselines.items()},
                    "truths": [_finite(truth) for truth in truths[row]],
                }
                for row, architecture in enumerate(architectures)
            ],
        )
        write_whole(path, f"{record.model_dump_json(indent=1)}\n")
    return record


def correlations(scores: Mapping[str, np.ndarray], truths: np.ndarray, baselines: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Kendall's tau with its interval, over all pairs and over those of about equal MACs, as `TrustRecord` holds them.

    Args:
        scores: of qualities by objective name, one for each architecture.
        truths: [architectures, seeds], smaller is better.
        baselines: by name, `macs` among them; the more the better is what they say of quality.

    Returns:
        The record's correlations and counts. An architecture with a truth or a score that is not finite is left out.
    """
    usable = np.isfinite([*truths.T, *scores.values()]).all(axis=0)
    truths, truth, macs = truths[usable], truths[usable].mean(axis=1), baselines["macs"][usable]
    signed = {name: as_minimized([get_objective(name)], score[usable, None])[:, 0] for name, score in scores.items()}
    signed |= {name: -column[usable] for name, column in baselines.items()}
    return {
        "num_left_out": int(np.count_nonzero(~usable)),
        "num_pairs": _num_pairs(macs),
        "tau": {name: _tau(kendall_tau, score, truth) for name, score in signed.items()},
        "tau_equal_cost": {name: _tau(tau_at_equal_macs, score, truth, macs) for name, score in signed.items()},
        "between_seeds": _tau(kendall_tau, truths[:, 0], truths[:, 1]) if truths.shape[1] > 1 else None,
    }


def _tau(correlation: Callable[..., Estimate | None], score: np.ndarray, *others: np.ndarray) -> Tau | None:
    """Of the architectures that have the score; None where there is no ranking: all the same, or fewer than three of them."""
    known = np.isfinite(score)
    try:
        found = correlation(score[known], *(column[known] for column in others))
        return found and Tau.model_validate(found.to_json())
    except ValueError:
        return None


def tau_at_equal_macs(score: np.ndarray, truth: np.ndarray, macs: np.ndarray) -> Estimate | None:
    """Kendall's tau over the pairs of architectures of about equal MACs; None where they are too few to tell.

    Raises:
        ValueError: as `kendall_tau_at_equal_cost`.
    """
    if _num_pairs(macs) < _LEAST_PAIRS:
        return None
    return kendall_tau_at_equal_cost(score, truth, cost=macs, ratio=EQUAL_COST)


def _num_pairs(macs: np.ndarray) -> int:
    return int(np.count_nonzero(np.triu(pairs_at_equal_cost(macs, ratio=EQUAL_COST), k=1)))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _baselines(config: SweepConfig, architectures: Sequence[Architecture], progress: Progress) -> dict[str, np.ndarray]:
    """By name; the more the better."""
    counted, score = counted_costs(architectures, get_scale(config.deploy_scale)), zero_cost_scores(config)
    with progress.stage("Zero-cost scores, to compare with", len(architectures)) as stage:
        rows = []
        for architecture in architectures:
            rows.append(score(architecture))
            stage.advance()
    columns = {**counted, **{name: [row[name] for row in rows] for name in ZERO_COST}}
    return {name: np.asarray(columns[name], np.float64) for name in BASELINES}


def _scores(
    evaluator: SupernetEvaluator, qualities: Sequence[str], architectures: Sequence[Architecture], progress: Progress
) -> dict[str, np.ndarray]:
    with progress.stage("Scoring with the supernet's weights", len(architectures)) as stage:
        rows = []
        for architecture in architectures:
            try:
                rows.append({name: estimate.value for name, estimate in evaluator(architecture).items()})
            except UnusableSamplesError:
                rows.append({})
            stage.advance()
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in qualities}
