"""Does a search that was told nothing of published designs come to their choices, MobileDiffusion's above all?

Stages, each of which goes on where it was stopped: `base` (a supernet, and the latency predictor of full-width networks that
was measured on litert-cpu), `published` (published designs, judged as the search judges), `search` (the default searcher,
five seeds), `snapfusion` (SnapFusion's evolution on the same evaluator, for as many evaluations; its seeds differ little, so
that there is one), `band` (random designs of MobileDiffusion's band of MACs), `ablation` (designs of the fronts that lack a
trait, and the same with it), `tuned` (a search that trains each design on before it judges it), `again` (published designs,
those of the fronts and of the ablation, by other samples), `longer` (published designs and winners by these, trained on),
`timed` (the winner and published designs at full width, on a quiet machine), `winner` (the same trained and distilled alike),
`scales` (ranks at one proxy scale beside ranks at another), `trust` (how well the ranking agrees with training alone), and
`table`, which writes `results/rediscover.json` and its pictures. Without a stage, all of them.

What the stages of `--scale cores` find is kept in `measurements/rediscover/`, from where it goes on on any machine, unless
`--folder` asks for an experiment of its own. Another machine would come to a supernet with other weights, so that its weights
are kept, too, rounded to six significant bits, by which all is judged; bundles are made again where a stage needs them.
"""

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from judged_losses import asked_of, judge, not_judged, read_lines
from kept import keeping, put_back
from record import RESULTS
from rediscover_found import (
    ABLATED,
    COST,
    CROSSED,
    IN_BAND,
    JUDGED_AGAIN,
    JUDGED_TRAINED,
    MACS_BAND,
    QUALITY,
    TIMED,
    TRAINED,
    Found,
    measured_elsewhere,
    ranked_at,
)
from rediscover_picture import draw
from rediscover_tables import write_table
from rediscover_winner import Contest
from refusing import refusing
from rounded_weights import read_weights, write_weights

from experiments.config import SweepConfig, changed_settings, ledger_header, load_config, resolved_yaml
from experiments.errors import InputError
from experiments.evaluator import read_inputs
from experiments.front import spread
from experiments.ledger import Ledger
from experiments.ledger_contents import check_header
from experiments.memory import share_one_arena
from experiments.pipeline import run_sweep
from experiments.progress import Progress, terminal_progress
from experiments.provenance import record_session
from experiments.rediscovery.counterparts import counterparts
from experiments.rediscovery.enrichment import random_designs
from experiments.rediscovery.traits import TRAITS
from experiments.run_folder import read_run
from experiments.supernet_training import first_state, load_supernet, train_supernet, write_supernet
from experiments.trust import measure_trust
from experiments.trust_record import read_trust
from experiments.truths import stratified
from experiments.whole_files import write_whole
from latency_models.fitting import fit
from latency_models.predictor import RECORD_FILE
from search_space import Architecture, design_names, get_space

HERE = Path(__file__).parent
KEPT = HERE / "measurements" / "rediscover"
LEDGER = "ledger.jsonl"
WEIGHTS = "supernet.npz"  # by which all is judged
TRAINED_BY = ("space", "proxy_scale", "data", "seed", "supernet")  # keys that decide these
# What is kept of the folder: the weights, and all that tables and pictures are made of.
KEPT_FILES = (WEIGHTS, f"*/{LEDGER}", "*/sweep.yaml", "base/latency/*", "base/features/*", "base/trust/*.json")
KEPT_FILES += ("base/trust/*/*.json", "*.json", "*.jsonl")
NUM_ABLATED = 24  # designs of each trait
AGAIN = 4  # times the search's samples


@dataclasses.dataclass(frozen=True)
class Size:
    """What differs from one machine to another.

    Attributes:
        changed: keys of `rediscover.yaml`.
        other_scale: a proxy scale, whose ranks are held against the first one's.
        num_ranked: architectures that are ranked at both.
        num_random: designs of the band of MACs that are judged.
        trust: settings of the trust score.
        num_seeds: of each search.
        tuned: updates of each design, and number of designs, of the search that trains before it judges.
        updates: of the winner and the designs beside it, as `Contest` has them.
    """

    changed: tuple[str, ...]
    other_scale: str
    num_ranked: int
    num_random: int
    trust: dict[str, int]
    num_seeds: int
    tuned: tuple[int, int]
    updates: tuple[int, int, int, int]


SCALES = {
    "cores": Size(
        (), "shapes16-narrow", 100, 800, {"num": 16, "num_seeds": 1, "num_steps": 1000, "num_samples": 1000}, 5,
        (400, 40), (400, 100, 50, 100),
    ),
    "gpu": Size(
        ("proxy_scale=shapes32-proxy", "supernet.num_steps=40000", "supernet.batch_size=128", "trials=5000",
         "quality.loss_samples=216", "search.gpus_per_worker=0.4"),
        "shapes16-proxy", 500, 4000, {"num": 48, "num_seeds": 3, "num_steps": 5000, "num_samples": 5000}, 5,
        (2000, 300), (9000, 5000, 2000, 4000),
    ),
    # Every stage in minutes, with results that mean nothing.
    "check": Size(
        ("supernet.num_steps=20", "supernet.warmup_steps=5", "trials=60", "quality.loss_samples=60", "features.num_steps=50",
         "search.num_workers=1"),
        "shapes16-narrow", 6, 40, {"num": 4, "num_seeds": 2, "num_steps": 5, "num_samples": 150}, 2, (3, 16),
        (5, 5, 2, 2),
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One of a scale.

    Attributes:
        folder: of all its runs.
        size: of this scale.
        progress: where to report.
        results: where the table goes.
        address: of a running Ray cluster, on which searches are to run.
    """

    folder: Path
    size: Size
    progress: Progress
    results: Path
    address: str | None = None

    def config(self, name: str, *overrides: str) -> SweepConfig:
        """Of one run."""
        changed = [*self.size.changed, f"run_dir={self.folder / name}", *overrides]
        return load_config(str(HERE / "rediscover.yaml"), changed)

    def sweep(self, name: str, *overrides: str) -> None:
        """A run with the supernet and the predictor of the base, and nothing that another run has found."""
        config = self.config(name, f"start_from.stages={self.folder / 'base'}", *overrides)
        if (self.folder / name / LEDGER).is_file():
            ledger = read_run(self.folder / name).ledger
            check_header(self.folder / name / LEDGER, ledger, ledger_header(config))
            if config.trials is not None and ledger.num_ended >= config.trials:
                return
        self.base()
        run_sweep(config, self.progress, address=self.address)

    def base(self) -> None:
        """Trains the supernet, rounds its weights, and fits the predictor; every stage that needs them begins so.

        Raises:
            InputError: a supernet here has other weights than those that are kept, or these were trained, or the base was
                begun, with other settings.
        """
        config, folder, kept = self.config("base"), self.folder / "base", self.folder / WEIGHTS
        if not kept.is_file():
            runs = (run for run in ("published", "search-0") if (self.folder / run / LEDGER).is_file())
            if judged := [*runs, *(path.name for path in self.folder.glob("*.jsonl"))]:
                raise InputError(
                    f"{kept}: not there, and it has judged what is in {judged[0]}; copy it again, or delete {self.folder}"
                )
            trained = self.config("trained")
            self.supernet(trained)
            write_weights(kept, load_supernet(trained, self.folder / "trained"))
        check_settings(self.config("trained"), TRAINED_BY)
        check_settings(config)
        weights = read_weights(kept, first_state(config).average)
        try:
            found = load_supernet(config, folder)
        except FileNotFoundError:
            with begun(config):
                write_supernet(config, folder, weights)
        else:
            if not all(jax.tree.leaves(jax.tree.map(np.array_equal, weights, found))):
                raise InputError(f"{folder / 'supernet'}: other weights than {kept}; delete it, and its copies in other runs")
        latency = folder / "latency"
        if not (latency / RECORD_FILE).is_file():
            fit(measured_elsewhere()).save(latency)

    def supernet(self, config: SweepConfig) -> None:
        """Trains the supernet of a run that does not search."""
        with begun(config):
            train_supernet(config, Path(config.run_dir), self.progress)

    def search(self) -> None:
        """The default searcher."""
        for seed in range(self.size.num_seeds):
            self.sweep(f"search-{seed}", f"search.seed={seed}")

    def snapfusion(self) -> None:
        """SnapFusion's evolution; a seed only orders the changes of a round, and draws where it begins again at its end."""
        self.sweep("snapfusion-0", "search.searcher=snapfusion")

    def tuned(self) -> None:
        """A search that trains each design on before it judges it.

        It is for the best within a part of Stable Diffusion 1.5's latency, and starts from what the other searches found there.
        """
        updates, num_trials = self.size.tuned
        found = self.found()
        starts = {self.folder / "starts" / f"{design.digest}.json": design for design in found.starts()}
        (self.folder / "starts").mkdir(exist_ok=True)
        for path, design in starts.items():
            write_whole(path, json.dumps(design.to_json()))
        self.sweep(
            "tuned-0",
            f"start_from.designs=[{', '.join(map(str, starts))}]",
            f"trials={num_trials}",
            f"objectives=[{QUALITY.name}]",
            f"limits=[{COST.name} <= {found.most_latency:.1f}]",
            f"quality.fine_tune_steps={updates}",
            "search.population=2",
        )

    def published(self) -> None:
        """Published designs, judged as candidates are."""
        names = design_names()
        self.sweep("published", f"start_from.designs=[{', '.join(names)}]", f"trials={len(names)}", "search.searcher=random")

    def found(self) -> Found:
        """What has been found so far."""
        return Found.read(self.folder, self.config("base"), num_seeds=self.size.num_seeds)

    def band(self) -> None:
        """Random designs of the band of MACs, which fronts may have none in: what do the best have in common?"""
        config, ends = self.config("base"), [("macs", *MACS_BAND)]
        [designs] = random_designs(
            get_space(config.space),
            self.found().costs.columns,
            num=self.size.num_random,
            seed=1,
            bands=ends,
            limits=config.limits,
        )
        self.judge(designs, IN_BAND)

    def ablation(self) -> None:
        """Designs of the fronts in any of the bands without a trait, and the same designs with it.

        So, too, published designs that have no transformer at the finest level.
        """
        found, space = self.found(), get_space(self.config("base").space)
        designs = list({x.digest: x for band in found.bands() for x in band.distinct}.values())
        pairs = {trait.name: spread(counterparts(designs, trait, space), NUM_ABLATED) for trait in TRAITS}
        pairs[CROSSED] = [(found.published[name].architecture, x.architecture) for name, x in found.crossed.items()]
        rows = [
            {"trait": name, "designs": [x.to_json() for x in pair]} for name, of_trait in pairs.items() for pair in of_trait
        ]
        write_whole(self.folder / ABLATED, "".join(f"{json.dumps(row)}\n" for row in rows))

    def again(self) -> None:
        """Published designs, those of the fronts and of the ablation, by samples that the search did not see."""
        found = self.found()
        if not (rows := read_lines(self.folder / ABLATED)):
            raise InputError(f"{self.folder / ABLATED}: not there; run the stage `ablation`")
        ablated = [Architecture.from_json(x) for row in rows for x in row["designs"]]
        asked = [x.architecture for x in (*found.published.values(), *(x for _, x in found.contenders))]
        if found.best_tuned:
            asked.append(found.best_tuned[1].architecture)
        self.judge((*asked, *ablated), JUDGED_AGAIN, fresh=AGAIN)

    def longer(self) -> None:
        """Published designs, winners and some of the fronts by the same samples, each trained on first."""
        asked = [x.architecture for x in self.found().compared_trained.values()]
        self.judge(asked, JUDGED_TRAINED, fresh=AGAIN, updates=self.size.tuned[0])

    def judge(self, designs: Sequence[Architecture], file: str, *, fresh: int = 0, updates: int = 0) -> None:
        """Adds losses by the base's supernet, of designs that have none there yet, as `judge` of `judged_losses.py` does."""
        path = self.folder / file
        if missing := not_judged(designs, path, asked_of(self.config("base"), fresh=fresh, updates=updates)):
            self.base()
            judge(read_inputs(self.folder / "base"), missing, path, progress=self.progress, fresh=fresh, updates=updates)

    def scales(self) -> None:
        """Random architectures by the supernets of two proxy scales, at each measured once.

        The second supernet is not kept, and another machine would train it to other weights, so that what it judges is
        written when all is judged.
        """
        base, other = self.config("base"), self.config("other", f"proxy_scale={self.size.other_scale}")
        designs = stratified(base, self.size.num_ranked, stream=0x5CA1E)
        self.judge(designs, ranked_at(base.proxy_scale))
        path = self.folder / ranked_at(other.proxy_scale)
        if missing := not_judged(designs, path, asked_of(other)):
            self.supernet(other)
            judge(read_inputs(self.folder / "other"), missing, path, progress=self.progress, only_whole=True)

    def trust(self) -> None:
        """The ranking, held against training alone."""
        base, wanted = self.folder / "base", self.size.trust
        known = read_trust(read_run(base)) if (base / LEDGER).is_file() else None
        if known is None or any(getattr(known, key) != value for key, value in wanted.items()):
            self.base()
            measure_trust(base, progress=self.progress, **wanted)

    def timed(self) -> None:
        """The winner and published designs at full width."""
        contest = self.contest()
        if contest.missing(TIMED):
            self.base()
            contest.time()

    def winner(self) -> None:
        """The same, trained and distilled alike."""
        contest = self.contest()
        if contest.missing(TRAINED):
            self.base()
            contest.train()

    def contest(self) -> Contest:
        """Of the winner with published designs."""
        return Contest(self.found(), self.size.updates, self.progress)

    def table(self) -> None:
        """What came of it."""
        found = self.found()
        path = write_table(found, self.results)
        draw(found, path.with_suffix(".png"))


STAGES = ("base", "published", "search", "snapfusion", "band", "ablation", "tuned", "again", "longer")
STAGES += ("timed", "winner", "scales", "trust", "table")


def check_settings(config: SweepConfig, keys: Sequence[str] | None = None) -> None:
    """Refuses a run that was begun with other settings, if it was begun; `keys` are those that count, by default all."""
    path = Path(config.run_dir) / "sweep.yaml"
    changed = changed_settings(load_config(path), config) if path.is_file() else {}
    if told := [words for key, words in changed.items() if keys is None or key in keys]:
        raise InputError(f"{path}: begun with other settings ({'; '.join(told)}); set them back, or use another --folder")


@contextlib.contextmanager
def begun(config: SweepConfig) -> Iterator[None]:
    """Makes the folder of a run that does not search, and locks it while the block runs.

    Raises:
        InputError: it was begun with other settings, or another process has it.
    """
    folder = Path(config.run_dir)
    check_settings(config)
    folder.mkdir(parents=True, exist_ok=True)
    with Ledger.open(folder / LEDGER, header=ledger_header(config)):
        write_whole(folder / "sweep.yaml", resolved_yaml(config))
        record_session(folder)
        yield


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", help=f"Any of {', '.join(STAGES)}.  [default: all, in this order]"
    )
    parser.add_argument("--scale", choices=SCALES, default="cores")
    parser.add_argument(
        "--folder", type=Path, help="Of all runs, from nothing.  [default: runs/rediscover, or runs/rediscover-SCALE]"
    )
    parser.add_argument("--address", help="Of a running Ray cluster, or `auto`; searches run there.")
    found = parser.parse_args(given)
    if unknown := [stage for stage in found.stages if stage not in STAGES]:
        parser.error(f"no stage {unknown[0]!r}; there are {', '.join(STAGES)}")
    return found


def main() -> None:
    """Runs stages."""
    share_one_arena()
    given = arguments()
    is_kept = given.scale == "cores" and given.folder is None
    folder = given.folder or Path("runs") / ("rediscover" if is_kept else f"rediscover-{given.scale}")
    with contextlib.ExitStack() as stack:
        if is_kept:
            with refusing("kept files"):
                put_back(KEPT, folder=folder)
            stack.enter_context(keeping(KEPT_FILES, folder=folder, kept=KEPT))
        progress = stack.enter_context(terminal_progress())
        experiment = Experiment(folder, SCALES[given.scale], progress, RESULTS if is_kept else folder, given.address)
        for stage in given.stages or STAGES:
            with refusing(stage):
                getattr(experiment, stage)()


if __name__ == "__main__":
    main()
