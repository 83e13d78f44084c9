"""What the stages of `rediscover.py` have found: runs, the bands that are asked about, losses by more samples, the winner."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from bench_latency import WIDE_BLOCKS, part_of, read
from judged_losses import read_rows

from experiments.config import SweepConfig
from experiments.errors import InputError
from experiments.evaluation import Evaluation, evaluated
from experiments.front import spread
from experiments.latency import Costs
from experiments.rediscovery.enrichment import Enrichment, enrichments, random_designs
from experiments.rediscovery.position import Position, lost_to_the_best, position
from experiments.rediscovery.traits import TRAITS, crossed_finest, has_transformer
from experiments.run_folder import Run, read_run
from latency_models.measurements import MeasurementSet
from latency_models.phone_profiles import phone_profile
from latency_models.predictor import Predictor
from objectives import Estimate, get_objective
from objectives.denoising import mean_estimate
from objectives.front import non_dominated
from search_space import Architecture, design_names, get_design, get_scale, get_space

ABLATED, TIMED, TRAINED = "ablation.jsonl", "timed.json", "winner.json"
CROSSED = "cross-attention at the finest level"  # which published designs without any transformer there are given
WINNER, FIRST = "winner", "first_winner"  # chosen after a short training, and as inherited
COMPARED = ("sd15", "mobilediffusion", "snapfusion")  # the first teaches the others
PHONE = "Galaxy S24"
MACS_BAND = (150e9, 220e9)  # where MobileDiffusion lies
LATENCY_SPREAD = 1.25  # of its predicted latency, up and down: the other band, and below it bands that are as wide
NUM_LATENCY_BANDS = 4
NUM_CONTENDERS = 24  # of each front, evenly along it
NUM_RANDOM = 2000
WITHIN = 0.4  # of Stable Diffusion 1.5's latency, is all that a winner may take
START_SLICES, NUM_OF_SLICE = (0.7, 0.8, 0.9, 1.0), 4  # parts of that latency, from one to the next; designs of each
JUDGED_AGAIN, JUDGED_TRAINED, IN_BAND = "judged-again.jsonl", "judged-trained.jsonl", "band.jsonl"  # a line for each design
LADDER = (1050.0, math.inf)  # ms: the best within each, as inherited, is trained on, too
QUALITY, COST = get_objective("denoising_loss"), get_objective("latency_ms")
MEASUREMENTS = Path(__file__).parent / "measurements" / "litert_cpu"


def ranked_at(scale: str) -> str:
    """The file of the losses at a proxy scale that are ranked."""
    return f"scales-{scale}.jsonl"


def measured_elsewhere() -> MeasurementSet:
    """What the predictor is fitted on: random networks, and blocks at full width."""
    known, wide = read(MEASUREMENTS), MeasurementSet.load(MEASUREMENTS / WIDE_BLOCKS)
    return part_of(known.rounds[0], known.fitted).merged(wide)


@dataclasses.dataclass(frozen=True)
class Band:
    """Designs of about equal cost.

    Attributes:
        title: for people.
        costs: by name, of architectures.
        cost: the name of the one that counts.
        least: of it.
        most: of it.
        fronts: the designs that are asked about, by seed of the search.
    """

    title: str
    costs: Costs
    cost: str
    least: float
    most: float
    fronts: tuple[tuple[Architecture, ...], ...]

    @functools.cached_property
    def inside(self) -> list[list[Architecture]]:
        """Designs of each front that lie in it."""
        found = []
        for front in self.fronts:
            known = self.costs.columns(front)[self.cost]
            found.append([front[i] for i in np.flatnonzero((known >= self.least) & (known <= self.most))])
        return found

    @property
    def distinct(self) -> list[Architecture]:
        """The same of all fronts together."""
        return list({x.digest: x for front in self.inside for x in front}.values())


def _finished(path: Path) -> Run | None:
    """A run that has judged as many designs as it was to judge."""
    run = read_run(path) if path.is_dir() else None
    return run if run and run.ledger.num_ended >= (run.settings.get("trials") or math.inf) else None


@dataclasses.dataclass(frozen=True)
class Found:
    """The runs of an experiment, and what lies beside them.

    Attributes:
        folder: of all runs.
        config: of the base.
        runs: by searcher, one for each seed, of those that are finished.
        published: outcomes of published designs, by name.
        again: losses by samples that the search did not see, by digest, one for each image; they take the place of the search's
            where designs are held against one another, image by image.
        tuned: the search that trains before it judges, where it is finished.
        trained: losses by the same samples, after the training of that search.
    """

    folder: Path
    config: SweepConfig
    runs: Mapping[str, Sequence[Run]]
    published: Mapping[str, Evaluation]
    again: Mapping[str, np.ndarray]
    tuned: Run | None
    trained: Mapping[str, np.ndarray]

    @classmethod
    def read(cls, folder: Path, config: SweepConfig, *, num_seeds: int) -> "Found":
        """Reads all that there is.

        Raises:
            InputError: no published design, or no search, has been judged.
        """
        runs = {
            name: [run for seed in range(num_seeds) if (run := _finished(folder / f"{name}-{seed}"))]
            for name in ("search", "snapfusion")
        }
        judged = _finished(folder / "published")
        if judged is None or not runs["search"]:
            name = "search" if judged else "published"
            raise InputError(f"{folder / name}: not there, or not finished; run the stage `{name}`")
        names = {get_design(name).architecture.digest: name for name in design_names()}
        published = {names[x.digest]: x for x in judged.with_status("done") if x.digest in names}
        again, trained = (
            {digest: np.array(row["of_images"]) for digest, row in read_rows(folder / file).items()}
            for file in (JUDGED_AGAIN, JUDGED_TRAINED)
        )
        return cls(folder, config, runs, published, again, _finished(folder / "tuned-0"), trained)

    def costs_on(self, predictor: Predictor) -> Costs:
        """Costs of architectures on a device."""
        return Costs(get_scale(self.config.deploy_scale), predictor)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Of the measured device."""
        return Predictor.load(self.folder / "base" / "latency")

    @functools.cached_property
    def costs(self) -> Costs:
        """On the measured device."""
        return self.costs_on(self.predictor)

    @functools.cached_property
    def phone(self) -> Costs:
        """On a phone that nobody measured."""
        return self.costs_on(phone_profile(PHONE))

    @functools.cached_property
    def contenders(self) -> list[tuple[Path, Evaluation]]:
        """Designs of each seed's front, with its run: those that are held against published ones."""
        return [(run.path, member) for run in self.runs["search"] for member in spread(run.front, NUM_CONTENDERS)]

    @functools.cached_property
    def crossed(self) -> dict[str, Evaluation]:
        """Published designs without a transformer at the finest level, with cross-attention there; they have a cost alone."""
        designs = {name: x.architecture for name, x in self.published.items()}
        crossed = {name: crossed_finest(x) for name, x in designs.items() if not has_transformer(x, level=0)}
        return {name: evaluated(x, {COST.name: self.costs(x)[COST.name].value}) for name, x in crossed.items()}

    @property
    def most_latency(self) -> float:
        """What a winner may take, in ms."""
        return WITHIN * self.published[COMPARED[0]].objectives[COST.name].value

    def starts(self) -> list[Architecture]:
        """The best that the searches judged in each slice of the latency that a winner may take."""
        judged = {x.digest: x for runs in self.runs.values() for run in runs for x in run.with_status("done")}
        starts = list[Architecture]()
        for least, greatest in itertools.pairwise(START_SLICES):
            inside = [x for x in judged.values() if least < x.objectives[COST.name].value / self.most_latency <= greatest]
            best = sorted(inside, key=lambda x: x.objectives[QUALITY.name].value)
            starts += [x.architecture for x in best[:NUM_OF_SLICE]]
        return starts

    def losses(self, design: Evaluation | Architecture) -> np.ndarray:
        """By samples that the search did not see, one for each image.

        Raises:
            InputError: they are not known.
        """
        if (losses := self.again.get(design.digest)) is None:
            raise InputError(f"{self.folder / JUDGED_AGAIN} has no losses of design {design.digest}; run the stage `again`")
        return losses

    def judged_again(self, outcome: Evaluation) -> Evaluation:
        """The outcome with the loss by these samples.

        Raises:
            InputError: as `losses`.
        """
        objectives = {**outcome.objectives, QUALITY.name: mean_estimate(self.losses(outcome))}
        return dataclasses.replace(outcome, objectives=objectives)

    def loss_lost(self, one: Evaluation, other: Evaluation) -> Estimate:
        """The loss of one less that of another, paired by image."""
        return mean_estimate(self.losses(one) - self.losses(other))

    @functools.cached_property
    def _members(self) -> list[Evaluation]:
        return [self.judged_again(x) for _, x in self.contenders]

    def placed(self, outcome: Evaluation) -> Position:
        """Where a design stands to the fronts of all seeds, all judged by samples that no search saw.

        Raises:
            InputError: as `losses`.
        """
        return position(self.judged_again(outcome), self._members, quality=QUALITY, cost=COST, lost=self.loss_lost)

    def lost_to_fronts(self, outcome: Evaluation) -> Estimate | None:
        """A design's loss less that of the best of all seeds' fronts that is no slower; None where all are.

        Raises:
            InputError: as `losses`.
        """
        cost = outcome.objectives[COST.name].value
        no_slower = [self.losses(x) for _, x in self.contenders if x.objectives[COST.name].value <= cost]
        return lost_to_the_best(self.losses(outcome), np.stack(no_slower)) if no_slower else None

    def phone_front(self, run: Run) -> tuple[Architecture, ...]:
        """The best of all that a search judged, if they ran on the phone."""
        evaluated = run.with_status("done")
        latency = self.phone.columns([x.architecture for x in evaluated])["latency_ms"]
        loss = np.array([x.objectives[QUALITY.name].value for x in evaluated])
        return tuple(evaluated[i].architecture for i in np.flatnonzero(non_dominated(np.stack([loss, latency], axis=1))))

    def bands(self) -> tuple[Band, ...]:
        """Around MobileDiffusion: by MACs, by latency, by latency on the phone; and by latency below it, down to a quarter."""
        fronts = tuple(tuple(x.architecture for x in run.front) for run in self.runs["search"])
        on_phone = tuple(map(self.phone_front, self.runs["search"]))

        def by_latency(title: str, costs: Costs, fronts: tuple[tuple[Architecture, ...], ...], *, part: float = 1.0) -> Band:
            ms = part * costs(get_design("mobilediffusion").architecture)[COST.name].value
            return Band(title, costs, COST.name, ms / LATENCY_SPREAD, ms * LATENCY_SPREAD, fronts)

        parts = [LATENCY_SPREAD ** (-2 * below) for below in range(1, NUM_LATENCY_BANDS)]
        return (
            Band("MACs", self.costs, "macs", *MACS_BAND, fronts),
            by_latency("latency", self.costs, fronts),
            by_latency(f"latency on {PHONE}", self.phone, on_phone),
            *(by_latency(f"{part:.2f} of the latency", self.costs, fronts, part=part) for part in parts),
        )

    @functools.cached_property
    def enriched(self) -> list[tuple[Band, tuple[Enrichment, ...], list[tuple[Enrichment, ...]]]]:
        """Every band; how much more often its designs of all fronts have each trait than random designs; and those of each."""
        space, limits, bands, found = get_space(self.config.space), self.config.limits, self.bands(), []
        random = dict[int, list[Architecture]]()
        for costs in (self.costs, self.phone):
            held = {i: band for i, band in enumerate(bands) if band.costs is costs and band.distinct}
            ends = [(band.cost, band.least, band.most) for band in held.values()]
            drawn = random_designs(space, costs.columns, num=NUM_RANDOM, seed=0, bands=ends, limits=limits)
            random |= dict(zip(held, drawn, strict=True))
        for i, band in enumerate(bands):
            together, *each = (enrichments(x, random[i], TRAITS) if x else () for x in (band.distinct, *band.inside))
            found.append((band, together, each))
        return found

    @functools.cached_property
    def ladder(self) -> list[Evaluation]:
        """The best of the fronts, as inherited, within several latencies.

        Raises:
            InputError: as `losses`.
        """
        within = [[x for _, x in self.contenders if x.objectives[COST.name].value <= ms] for ms in LADDER]
        return [min(designs, key=lambda x: self.losses(x).mean()) for designs in within if designs]

    @property
    def compared_trained(self) -> dict[str, Evaluation]:
        """Published designs, winners, some of the fronts, and published designs with cross-attention, by name.

        Raises:
            InputError: as `losses`.
        """
        named = {**self.published, **{name: x for name, (_, x) in self.winners.items()}}
        named |= {f"front_at_{x.objectives[COST.name].value:.0f}_ms": x for x in self.ladder}
        return named | {f"{name} with {CROSSED}": x for name, x in self.crossed.items()}

    @functools.cached_property
    def best_tuned(self) -> tuple[Path, Evaluation] | None:
        """The best of the search that trains before it judges; its run."""
        return (self.tuned.path, self.tuned.front[0]) if self.tuned and self.tuned.front else None

    @functools.cached_property
    def winners(self) -> dict[str, tuple[Path, Evaluation]]:
        """The best after a short training, and the quickest that is as good as Stable Diffusion 1.5 as inherited; their runs.

        Raises:
            InputError: as `losses`.
        """
        winners = {WINNER: self.best_tuned, FIRST: self.first_winner()}
        return {name: pair for name, pair in winners.items() if pair is not None}

    def first_winner(self, images: np.ndarray | None = None) -> tuple[Path, Evaluation] | None:
        """The quickest design of the fronts whose loss is no higher than Stable Diffusion 1.5's on the same samples; its run.

        Args:
            images: which of the samples count; None for all.

        Returns:
            None where all designs are worse.

        Raises:
            InputError: as `losses`.
        """
        counted = slice(None) if images is None else images
        wanted = self.losses(self.published[COMPARED[0]])[counted].mean()
        as_good = [(run, member) for run, member in self.contenders if self.losses(member)[counted].mean() <= wanted]
        return min(as_good, key=lambda pair: pair[1].objectives[COST.name].value, default=None)
