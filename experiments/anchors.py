"""Anchors: architectures that are trained alone before a search, to fit the score that tells `predicted_frechet` of the others.

The score knows an architecture by its proxies: the denoising loss in a band of noise levels, which the anchors choose; how its
samples differ from the largest subnet's and from the data; its MACs and its latency. `anchors/` of a run folder keeps the
anchors' proxies and truths; the score is fitted anew wherever it is needed.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from experiments.config import SweepConfig, evaluation_settings, judged_at
from experiments.errors import InputError
from experiments.json_files import read_record
from experiments.progress import Progress
from experiments.proxies import LEVELS, SAMPLED, Proxies, ProxyValues
from experiments.quality import UnusableSamplesError
from experiments.sample_features import run_distances
from experiments.subnet_training import tuning, tuning_batches
from experiments.supernet_training import load_supernet
from experiments.sweep_sampling import held_out
from experiments.truths import measure_truths, stand_alone_schedule, stratified
from experiments.whole_files import write_whole
from objectives import Estimate
from objectives.anchored import MIN_ANCHORS, AnchoredScore, best_band
from objectives.denoising import MID_BAND_LOW
from objectives.fingerprint import fingerprint
from objectives.objective import PREDICTED
from objectives.rank import kendall_tau
from search_space import Architecture

COSTS = ("macs", "latency_ms")
# Of architectures at the deploy scale, by name, those of COSTS among them.
Costs = Callable[[list[Architecture]], Mapping[str, np.ndarray]]
_FOLDER = "anchors"
_REMEDY = "delete it, `pocketunet sweep` measures it again"
_STREAM = 0xA2C4  # of the draws
_BAND = 3  # noise levels that are taken together, of twenty


class Anchor(BaseModel):
    """One architecture: proxies by its shared weights, none where they are unusable; truths by seed, None where it diverged."""

    model_config = ConfigDict(frozen=True)

    architecture: dict[str, Any]
    losses: list[float]
    sampled: dict[str, float] | None
    truths: list[float | None]

    @model_validator(mode="after")
    def _proxies_are_all_there(self) -> "Anchor":
        wanted = (0, None) if self.sampled is None else (LEVELS, SAMPLED)
        if (len(self.losses), self.sampled and tuple(self.sampled)) != wanted:
            raise ValueError(f"losses of {LEVELS} noise levels belong together with {', '.join(SAMPLED)}")
        return self


class AnchorsRecord(BaseModel):
    """What is known of the anchors, the cheapest first, measured by settings that the fingerprint names."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    fingerprint: str
    anchors: list[Anchor]


@dataclasses.dataclass(frozen=True, eq=False)
class QualityPredictor:
    """Tells `predicted_frechet` of proxies and costs.

    Attributes:
        score: fitted on the anchors.
        levels: of noise, whose loss it sees.
    """

    score: AnchoredScore
    levels: range

    @staticmethod
    def of(record: AnchorsRecord, costs: Costs) -> "QualityPredictor":
        """Chooses the band and fits; anchors that diverged are left out.

        Raises:
            ValueError: too few are left.
        """
        anchors = [anchor for anchor in record.anchors if anchor.sampled is not None and None not in anchor.truths]
        if len(anchors) <= MIN_ANCHORS:  # one more, since each is told by all others
            raise ValueError(
                f"only {len(anchors)} of {len(record.anchors)} anchors did not diverge, and a score needs {MIN_ANCHORS + 1}; "
                "lower supernet.learning_rate, or raise anchors.num, in another run folder"
            )
        truths = np.array([anchor.truths for anchor in anchors], np.float64)
        losses = np.array([anchor.losses for anchor in anchors])
        levels = chosen_levels(losses, truths)
        columns = costs([Architecture.from_json(anchor.architecture) for anchor in anchors])
        rows = [
            score_inputs(
                ProxyValues([anchor.losses[level] for level in levels], anchor.sampled or {}),
                {name: columns[name][row] for name in COSTS},
            )
            for row, anchor in enumerate(anchors)
        ]
        return QualityPredictor(AnchoredScore(tuple(rows[0]), np.array([list(row.values()) for row in rows]), truths), levels)

    def __call__(self, proxies: ProxyValues, costs: Mapping[str, float]) -> Estimate:
        """The Fréchet distance of a network with these once it is trained alone, with its 95 % interval.

        Args:
            proxies: at the levels of the band alone.
            costs: `macs` and `latency_ms` at the deploy scale.
        """
        return self.score(np.array(list(score_inputs(proxies, {name: costs[name] for name in COSTS}).values())))

    def __str__(self) -> str:
        """How well it does, for people."""
        truth = self.score.truths.mean(axis=1)
        tau = kendall_tau(self.score.left_out(), truth)
        low, high = self.levels.start / LEVELS, self.levels.stop / LEVELS
        return (
            f"{PREDICTED}: fitted on {len(truth)} anchors, noise levels {low:g} to {high:g}; each told by all "
            f"others in that band: Kendall's tau {tau.value:.2f} [{tau.low:.2f}, {tau.high:.2f}]"
        )


def anchors_of(config: SweepConfig) -> list[Architecture]:
    """The architectures that a sweep trains alone, if it does.

    Raises:
        InputError: too few random architectures keep the limits that can be counted.
    """
    return [] if config.anchors is None else stratified(config, config.anchors.num, stream=_STREAM, key="anchors.num")


def recorded_anchors(run_dir: Path) -> list[Architecture]:
    """The architectures that have served as anchors in a run folder, whatever limits they were drawn within.

    Raises:
        InputError: a record is damaged.
    """
    records = (_read(path) for path in sorted((run_dir / _FOLDER).glob("*.json")))
    return [Architecture.from_json(anchor.architecture) for record in records if record for anchor in record.anchors]


def fit_anchors(config: SweepConfig, run_dir: Path, *, costs: Costs, progress: Progress) -> None:
    """Trains the anchors alone and measures their proxies, for the search and for every rung that predicts quality.

    Args:
        config: the sweep.
        run_dir: its folder, with a trained supernet and classifier.
        costs: of architectures.
        progress: where to report.
    """
    for level in (judged_at(config, rung) for rung in (None, *config.rungs)):
        if PREDICTED in level.objectives:
            if not _path(run_dir, level).is_file():
                _measure(level, run_dir, progress)
            progress.say(str(read_predictor(level, run_dir, costs)))


def read_predictor(level: SweepConfig, run_dir: Path, costs: Costs) -> QualityPredictor:
    """The predictor of a sweep as far as its search, or one of its rungs, goes.

    Raises:
        InputError: the anchors' record is not there, damaged, of other settings, or too many of them diverged.
    """
    path = _path(run_dir, level)
    if (record := _read(path)) is None:
        raise InputError(f"{path}: there are no anchors for these settings; run the sweep again to train them")
    if record.fingerprint != path.stem:
        raise InputError(f"{path}: key 'fingerprint' says {record.fingerprint}, wanted is {path.stem}; {_REMEDY}")
    try:
        return QualityPredictor.of(record, costs)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _read(path: Path) -> AnchorsRecord | None:
    return read_record(path, AnchorsRecord, remedy=_REMEDY)


def _path(run_dir: Path, level: SweepConfig) -> Path:
    return run_dir / _FOLDER / f"{fingerprint(**evaluation_settings(level))}.json"


def _measure(level: SweepConfig, run_dir: Path, progress: Progress) -> None:
    settings = level.anchors
    assert settings is not None
    anchors, shared, distances = anchors_of(level), load_supernet(level, run_dir), run_distances(level, run_dir)
    _, truths = measure_truths(
        level, anchors, distances, schedule=stand_alone_schedule(level, settings.num_steps), seeds=range(settings.num_seeds),
        num_samples=settings.num_samples, folder=run_dir / _FOLDER, progress=progress,
    )  # fmt: skip
    measure = Proxies(level, shared, *held_out(level), distances)
    tune = tuning(level, tuning_batches(level))
    rows = []
    with progress.stage("Proxies of the anchors", len(anchors)) as stage:
        for row, architecture in enumerate(anchors):
            parameters = tune(shared, architecture)
            try:
                sampled, losses = measure.sampled(parameters, architecture), measure.losses(parameters, architecture)
            except UnusableSamplesError:
                sampled, losses = None, []
            found = [float(truth) if np.isfinite(truth) else None for truth in truths[row]]
            rows.append(Anchor(architecture=architecture.to_json(), losses=losses, sampled=sampled, truths=found))
            stage.advance()
    path = _path(run_dir, level)
    write_whole(path, f"{AnchorsRecord(fingerprint=path.stem, anchors=rows).model_dump_json(indent=1)}\n")


def chosen_levels(losses: np.ndarray, truths: np.ndarray) -> range:
    """The band of noise levels whose loss ranks anchors best.

    Args:
        losses: [anchors, levels].
        truths: [anchors, seeds].
    """
    first = best_band(losses, truths.mean(axis=1), num_levels=_BAND, usual=round(LEVELS * MID_BAND_LOW))
    return range(first, first + _BAND)


def score_inputs(proxies: ProxyValues, costs: Mapping[str, float]) -> dict[str, float]:
    """What the score sees, by name: logarithms, since quality and cost are known by factors.

    By the supernet's weights the largest subnet is at no distance from itself: distances below a hundredth of the data's
    variance are about the same.
    """
    sampled = {**proxies.sampled, "paired_distance": 0.01 + proxies.sampled["paired_distance"]}
    seen = {"loss": float(np.mean(proxies.losses)), **sampled, **costs}
    return {name: float(np.log(value)) for name, value in seen.items()}
