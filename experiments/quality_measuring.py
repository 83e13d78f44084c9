"""Quality of a few architectures of a run by as many samples as one likes, and how they differ, sample by sample.

Sample i has its own noise and prompt whatever network draws it: differences are of the networks, and their intervals are
shorter than those of the numbers themselves. What was measured is kept, and read again where it is asked for again.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel, Field

from experiments.choosing import choose
from experiments.config import SweepConfig, evaluation_settings, load_config, with_samples
from experiments.data_record import check_unchanged
from experiments.errors import InputError
from experiments.json_files import read_record
from experiments.progress import Progress
from experiments.prompt_agreement import sweep_agreement
from experiments.quality import FeatureDistances, UnusableSamplesError
from experiments.run_folder import Run, read_run
from experiments.sample_features import sweep_classifier, sweep_distances, trained_distances
from experiments.sampling import save_grid
from experiments.subnet_training import tuning, tuning_batches
from experiments.supernet_training import load_supernet, sweep_supernet
from experiments.sweep_sampling import held_out, sweep_samples
from experiments.whole_files import write_whole
from objectives import Estimate
from objectives.extractor import FeatureExtractor
from objectives.fingerprint import fingerprint
from objectives.jackknife import Jackknifed
from search_space import Architecture

_NUM_SHOWN = 100
_MEASURED = ("estimates", "differences", "held_out")


@dataclasses.dataclass(frozen=True)
class MeasuredQuality:
    """What samples of one architecture are like.

    Attributes:
        digest: of the architecture.
        fingerprint: how it was measured; numbers of different ones must not be compared.
        extractor: name, digest and preprocessing of whose features it was measured in.
        estimates: by measure; `..._extrapolated` is of infinitely many samples.
        differences: to another architecture that was measured alike, by measure.
        held_out: of the measures that can be taken of real images too, what held-out ones reach.
        compared_with: that one's digest; None for the first, to which the others are compared.
        num_reference: training images that samples are compared with.
        picture: the first samples, as a file.
    """

    digest: str
    fingerprint: str
    extractor: dict[str, str]
    estimates: dict[str, Estimate]
    differences: dict[str, Estimate]
    held_out: dict[str, Estimate]
    compared_with: str | None
    num_reference: int
    picture: Path

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        numbers = {key: {name: x.to_json() for name, x in getattr(self, key).items()} for key in _MEASURED}
        named = {key: getattr(self, key) for key in ("digest", "fingerprint", "extractor", "compared_with", "num_reference")}
        return {**named, **numbers, "picture": str(self.picture)}


class _Statistic(BaseModel):
    """A statistic of samples as it is kept; see `Jackknifed`."""

    whole: float
    without: list[float]
    n: int
    fingerprint: str


class _Kept(BaseModel):
    """What of an architecture's file is read again; what it says beside that is for people."""

    jackknifed: Annotated[dict[str, _Statistic], Field(min_length=1)]

    def statistics(self) -> dict[str, Jackknifed]:
        """By measure."""
        return {name: Jackknifed(x.whole, np.array(x.without), x.n, x.fingerprint) for name, x in self.jackknifed.items()}


def measure_quality(
    run_dir: Path, picks: Sequence[str], *, num_samples: int, progress: Progress, extractor: FeatureExtractor | None = None
) -> list[MeasuredQuality]:
    """Draws samples with the supernet's weights, measures them, and keeps numbers and pictures in `quality/` of the run.

    What is there already is not drawn again, so that the same call goes on where it was stopped.

    Args:
        run_dir: the folder of a run whose supernet is trained.
        picks: `front` for all of its members, or what `experiments.choosing.choose` reads; differences are to the first.
        num_samples: of each architecture.
        progress: where to report.
        extractor: in whose features; None for the run's own classifier, which is trained where it is not there yet.

    Raises:
        InputError: nothing fits a pick, the data set has no labels to train a classifier by, samples cannot be measured, what
            is kept is damaged, or `sweep.yaml` or the data are no longer those of the run.
        ValueError: the extractor takes images of another shape.
        FileNotFoundError: the run folder has no trained supernet.
    """
    run, config = read_run(run_dir), load_config(run_dir / "sweep.yaml")
    architectures = _picked(run, picks)
    check_unchanged(run, config)
    config = with_samples(config, num_samples)
    parameters, supernet = load_supernet(config, run_dir), sweep_supernet(config)
    classifier = functools.partial(sweep_classifier, config, run_dir, progress)
    distances = _distances(config, run_dir, extractor, progress)
    extractor = distances.extractor
    for what, num in (("samples", num_samples), ("training images", len(distances.reference))):
        if num < distances.reference.shape[1]:
            progress.say(_too_few(distances, num, what))
    prompted = sweep_agreement(config, classifier)
    draw = sweep_samples(config, supernet.apply, held_out(config)[1])
    tune = tuning(config, tuning_batches(config))
    name = fingerprint(**evaluation_settings(config), **extractor.settings(), reference=distances.reference_digest)
    described = {"name": extractor.name, "digest": extractor.digest, "preprocessing": extractor.preprocessing}
    folder = run_dir / "quality" / name
    folder.mkdir(parents=True, exist_ok=True)
    frechet = distances.names.frechet

    def drawn(architecture: Architecture, picture: Path) -> dict[str, Jackknifed]:
        """What its samples are like, by measure; the first of them are saved as a picture."""
        samples = draw(tune(parameters, architecture), jnp.asarray(supernet.route(architecture)))
        try:
            measured = distances.jackknifed(samples)
        except UnusableSamplesError as error:
            raise InputError(f"{architecture.digest}: {error}") from None
        if prompted is not None:
            measured |= prompted.jackknifed(samples)
        save_grid(samples[:_NUM_SHOWN], picture)
        return measured

    found: list[MeasuredQuality] = []
    first: Mapping[str, Jackknifed] = {}
    with progress.stage(f"Measuring {num_samples} samples each", len(architectures)) as stage:
        for architecture in architectures:
            record = folder / f"{architecture.digest}.json"
            picture = record.with_suffix(".png")
            before = read_record(record, _Kept, remedy="delete it, `pocketunet quality measure` measures it again")
            measured = before.statistics() if before and picture.is_file() else drawn(architecture, picture)
            found.append(
                MeasuredQuality(
                    digest=architecture.digest,
                    fingerprint=name,
                    extractor=described,
                    estimates=_estimates(measured, frechet),
                    differences=_estimates({key: measured[key] - other for key, other in first.items()}, frechet),
                    held_out=prompted.held_out if prompted else {},
                    compared_with=found[0].digest if found else None,
                    num_reference=len(distances.reference),
                    picture=picture,
                )
            )
            if first or before is None:  # differences that are there stay where none are asked for
                write_whole(record, _record(found[-1], measured))
            first = first or measured
            stage.advance()
    return found


def _distances(config: SweepConfig, run_dir: Path, extractor: FeatureExtractor | None, progress: Progress) -> FeatureDistances:
    """In the features of an extractor, which may be a large network: those of the data are kept; or of the run's classifier."""
    if extractor is None:
        return trained_distances(config, run_dir, progress)
    kept = run_dir / "quality" / f"features-{fingerprint(**extractor.settings())}.npz"
    kept.parent.mkdir(exist_ok=True)
    return sweep_distances(config, extractor, kept=kept, progress=progress)


def _picked(run: Run, picks: Sequence[str]) -> list[Architecture]:
    """Each once, in the order of the picks."""
    found: dict[str, Architecture] = {}
    for pick in picks:
        if pick == "front" and not run.front:
            raise InputError(f"{run.path}: the front is empty; let the sweep go on, or give digests")
        members = [x.architecture for x in run.front] if pick == "front" else [choose(run, pick).evaluation.architecture]
        found |= {architecture.digest: architecture for architecture in members if architecture.digest not in found}
    return list(found.values())


def _record(found: MeasuredQuality, measured: Mapping[str, Jackknifed]) -> str:
    """The file of an architecture."""
    kept = {
        name: {"whole": x.whole, "without": x.without.tolist(), "n": x.n, "fingerprint": x.fingerprint}
        for name, x in measured.items()
    }
    return f"{json.dumps({**found.to_json(), 'jackknifed': kept}, indent=1, allow_nan=False)}\n"


def _too_few(distances: FeatureDistances, num: int, what: str) -> str:
    names, width = distances.names, distances.reference.shape[1]
    return (
        f"{num:,} {what} are fewer than the {width:,} features: {names.frechet} is mostly bias then, "
        f"extrapolated or not; {names.kid} and {names.mmd} have none"
    )


def _estimates(measured: Mapping[str, Jackknifed], frechet: str) -> dict[str, Estimate]:
    """With intervals; the Fréchet distance, which is biased, once more without most of its bias."""
    found: dict[str, Estimate] = {}
    for name, jackknifed in measured.items():
        found[name] = jackknifed.estimate()
        if name == frechet:
            found[f"{name}_extrapolated"] = jackknifed.estimate(extrapolates=True)
    return found
