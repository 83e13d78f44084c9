"""Does a search that was told nothing of published designs come to their choices, MobileDiffusion's above all?

Stages, each of which goes on where it was stopped: `base` (a supernet, and the latency predictor of full-width networks that
was measured on litert-cpu), `published` (published designs, judged as the search judges), `search` (the default searcher,
five seeds), `again` (published designs and those of the fronts, by more samples), `ablation` (designs of the fronts that lack
a trait, and the same with it), `snapfusion` (SnapFusion's evolution on the same evaluator, for as many evaluations),
`scales` (ranks at one proxy scale beside ranks at another), `trust` (how well the ranking agrees with training alone),
`winner` (handed off, trained, distilled and timed beside published designs), and `table`, which writes
`results/rediscover.json` and its picture. Without a stage, all of them.

What the stages of `--scale cores` find is kept in `measurements/rediscover/`, from where it goes on on any machine; supernets
and bundles are made again where they are needed.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench_latency import WIDE_BLOCKS, part_of, read
from bundles import Bundles, Judge, measured
from kept import keep, put_back
from record import RESULTS
from rediscover_picture import draw
from rediscover_tables import COMPARED, JUDGED_AGAIN, WINNER, Found, write_table

from experiments.bundle import read_bundle, read_expected
from experiments.config import SweepConfig, ledger_header, load_config, resolved_yaml
from experiments.evaluator import SupernetEvaluator, read_inputs
from experiments.exports.export import export_bundle
from experiments.front import spread
from experiments.handoff import hand_off
from experiments.ledger import Ledger
from experiments.pipeline import run_sweep
from experiments.progress import Progress, terminal_progress
from experiments.provenance import record_session
from experiments.rediscovery.counterparts import counterparts
from experiments.rediscovery.traits import TRAITS
from experiments.supernet_training import train_supernet
from experiments.trust import measure_trust
from experiments.truths import stratified
from experiments.whole_files import write_whole
from latency_models.fitting import fit
from latency_models.measurements import MeasurementSet
from latency_models.predictor import RECORD_FILE
from objectives import Estimate
from search_space import Architecture, design_names, get_space

HERE = Path(__file__).parent
KEPT = HERE / "measurements" / "rediscover"
# What is kept of the folder: all that tables and pictures are made of.
KEPT_FILES = ("*/ledger.jsonl", "*/sweep.yaml", "base/latency/*", "base/trust/*.json", "base/trust/*/*.json", "*.json")
NUM_ABLATED = 24  # designs of each trait
AGAIN = 5  # times the search's samples


@dataclasses.dataclass(frozen=True)
class Size:
    """What differs from one machine to another.

    Attributes:
        changed: keys of `rediscover.yaml`.
        other_scale: a proxy scale, whose ranks are held against the first one's.
        num_ranked: architectures that are ranked at both.
        trust: settings of the trust score.
        num_seeds: of each search.
        updates: of the winner's training, beside its teacher, of each halving of the steps, and of ADD.
    """

    changed: tuple[str, ...]
    other_scale: str
    num_ranked: int
    trust: dict[str, int]
    num_seeds: int
    updates: tuple[int, int, int, int]


SCALES = {
    "cores": Size(
        (), "shapes16-narrow", 100, {"num": 24, "num_seeds": 2, "num_steps": 600, "num_samples": 1000}, 5, (800, 200, 100, 200)
    ),
    "gpu": Size(
        ("proxy_scale=shapes32-proxy", "supernet.num_steps=40000", "supernet.batch_size=128", "trials=5000",
         "quality.loss_samples=600"),
        "shapes16-proxy", 500, {"num": 48, "num_seeds": 3, "num_steps": 5000, "num_samples": 5000}, 5, (9000, 5000, 2000, 4000),
    ),
    # Every stage in minutes, with results that mean nothing.
    "check": Size(
        ("supernet.num_steps=20", "supernet.warmup_steps=5", "trials=60", "quality.loss_samples=60", "features.num_steps=50",
         "search.num_workers=1"),
        "shapes16-narrow", 6, {"num": 4, "num_seeds": 2, "num_steps": 5, "num_samples": 150}, 2, (5, 5, 2, 2),
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
    """

    folder: Path
    size: Size
    progress: Progress
    results: Path

    def config(self, name: str, *overrides: str) -> SweepConfig:
        """Of one run."""
        changed = [*self.size.changed, f"run_dir={self.folder / name}", *overrides]
        return load_config(str(HERE / "rediscover.yaml"), changed)

    def sweep(self, name: str, *overrides: str) -> None:
        """A run with the supernet and the predictor of the base, and nothing that another run has found."""
        run_sweep(self.config(name, f"start_from.stages={self.folder / 'base'}", *overrides), self.progress)

    def base(self) -> None:
        """Trains the supernet and fits the predictor."""
        self.supernet(self.config("base"))
        latency, measurements = self.folder / "base" / "latency", HERE / "measurements" / "litert_cpu"
        if not (latency / RECORD_FILE).is_file():
            known, wide = read(measurements), MeasurementSet.load(measurements / WIDE_BLOCKS)
            fit(part_of(known.rounds[0], known.fitted).merged(wide)).save(latency)

    def supernet(self, config: SweepConfig) -> None:
        """Trains the supernet of a run that does not search."""
        folder = Path(config.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with Ledger.open(folder / "ledger.jsonl", header=ledger_header(config)):
            write_whole(folder / "sweep.yaml", resolved_yaml(config))
            record_session(folder)
            train_supernet(config, folder, self.progress)

    def search(self) -> None:
        """The default searcher."""
        for seed in range(self.size.num_seeds):
            self.sweep(f"search-{seed}", f"search.seed={seed}")

    def snapfusion(self) -> None:
        """SnapFusion's evolution."""
        for seed in range(self.size.num_seeds):
            self.sweep(f"snapfusion-{seed}", f"search.seed={seed}", "search.searcher=snapfusion")

    def published(self) -> None:
        """Published designs, judged as candidates are."""
        names = design_names()
        self.sweep("published", f"start_from.designs=[{', '.join(names)}]", f"trials={len(names)}", "search.searcher=random")

    def found(self) -> Found:
        """What has been found so far."""
        return Found.read(self.folder, self.config("base"), num_seeds=self.size.num_seeds)

    def again(self) -> None:
        """Published designs and those of the fronts, most of whose samples the search did not see."""
        path, found = self.folder / JUDGED_AGAIN, self.found()
        known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        asked = {x.digest: x.architecture for x in (*found.published.values(), *(x for _, x in found.contenders))}
        missing = [architecture for digest, architecture in asked.items() if digest not in known]
        losses = self.losses("base", missing, num_samples=AGAIN * self.config("base").quality.loss_samples)
        for architecture, loss in zip(missing, losses, strict=True):
            known[architecture.digest] = loss.to_json()
            write_whole(path, json.dumps(known))

    def ablation(self) -> None:
        """Designs of the fronts in any of the bands without a trait, and the same designs with it.

        Measured once: of the fronts as they were then.
        """
        if (path := self.folder / "ablation.json").is_file():
            return
        found, space = self.found(), get_space(self.config("base").space)
        designs = list({x.digest: x for band in found.bands() for x in band.distinct}.values())
        pairs = {trait.name: spread(counterparts(designs, trait, space), NUM_ABLATED) for trait in TRAITS}
        flat = [x for of_trait in pairs.values() for pair in of_trait for x in pair]
        losses = dict(zip((x.digest for x in flat), self.losses("base", flat), strict=True))
        record = [
            {"trait": name, "designs": [x.to_json() for x in pair], "losses": [losses[x.digest].value for x in pair]}
            for name, of_trait in pairs.items()
            for pair in of_trait
        ]
        write_whole(path, json.dumps(record))

    def losses(self, name: str, architectures: Sequence[Architecture], *, num_samples: int | None = None) -> Iterator[Estimate]:
        """The search's objective by the supernet of a run, by as many samples as the search takes or by others."""
        inputs = read_inputs(self.folder / name)
        if num_samples is not None:
            quality = inputs.config.quality.model_copy(update={"loss_samples": num_samples})
            inputs = dataclasses.replace(inputs, config=inputs.config.model_copy(update={"quality": quality}))
        evaluate = SupernetEvaluator(inputs)
        with self.progress.stage(f"Losses by the supernet of {name}", len(architectures)) as stage:
            for architecture in architectures:
                yield evaluate(architecture)["denoising_loss"]
                stage.advance()

    def scales(self) -> None:
        """Random architectures by the supernets of two proxy scales, at each measured once."""
        path, config = self.folder / "scales.json", self.config("other", f"proxy_scale={self.size.other_scale}")
        architectures = stratified(config, self.size.num_ranked, stream=0x5CA1E)
        losses = json.loads(path.read_text("utf-8"))["losses"] if path.is_file() else {}
        for scale, name in ((self.config("base").proxy_scale, "base"), (config.proxy_scale, "other")):
            if scale in losses:
                continue
            if name == "other":
                self.supernet(config)
            losses[scale] = [loss.value for loss in self.losses(name, architectures)]
            write_whole(path, json.dumps({"architectures": [x.to_json() for x in architectures], "losses": losses}))

    def trust(self) -> None:
        """The ranking, held against training alone."""
        measure_trust(self.folder / "base", progress=self.progress, **self.size.trust)

    def winner(self) -> None:
        """The quickest design that is as good as Stable Diffusion 1.5, and published ones trained the same way."""
        found = self.found()
        chosen = found.winner()
        if chosen is None:
            self.progress.say("no design of the fronts is as good as Stable Diffusion 1.5: there is no winner")
            return
        run, winner = chosen
        picks = {name: (self.folder / "published", found.published[name]) for name in COMPARED}
        picks |= {WINNER: (run, winner)}
        bundles = Bundles(self.config("base"), self.folder / "bundles", self.progress)
        bundles.folder.mkdir(exist_ok=True)
        trained, beside, halving, adversarial = self.size.updates
        judge, rows, teacher = None, dict[str, dict[str, Any]](), None
        for name, (of, picked) in picks.items():
            make = functools.partial(hand_off, self.with_supernet(of), picked.digest)
            handed = bundles.made(f"{name}-handed-off", make)
            last = bundles.trained(f"{name}-trained", handed, steps=trained, seed=0)
            if teacher is None:
                teacher = last
            else:
                last = bundles.distilled(f"{name}-taught", last, "knowledge", updates=beside, teacher=teacher)
            eight = bundles.distilled(f"{name}-8", last, "progressive", steps=8, from_steps=32, updates=halving)
            one = bundles.distilled(f"{name}-1", eight, "progressive", steps=1, from_steps=8, updates=halving)
            added = bundles.distilled(f"{name}-add", one, "adversarial", teacher=last, updates=adversarial)
            judge = judge or Judge.of(bundles, read_bundle(last).task)
            latency = read_expected(handed)["in_sweep"]["measured_latency_ms"]
            rows[name] = {
                "design": picked.architecture.to_json(),
                "measured_latency_ms": latency,
                "quality": {
                    f"{steps}_steps": measured(bundles, judge, path.name, steps)
                    for path, steps in ((last, 32), (eight, 8), (added, 1))
                },
            }
        wide = bundles.made("winner-full-width", functools.partial(hand_off, run, winner.digest, scale="deploy"))
        exported = bundles.folder / "winner-full-width-litert"
        if not exported.is_dir():
            export_bundle(wide, to="litert", out=exported)
        rows[WINNER]["exported_bytes"] = sum(path.stat().st_size for path in exported.glob("*.tflite"))
        write_whole(self.folder / "winner.json", json.dumps(rows))

    def with_supernet(self, run: Path) -> Path:
        """A run that has its supernet, which is not kept with it."""
        if not (run / "supernet").is_dir():
            shutil.copytree(self.folder / "base" / "supernet", run / "supernet")
        return run

    def table(self) -> None:
        """What came of it."""
        found = self.found()
        path = write_table(found, self.results)
        draw(found, path.with_suffix(".png"))


STAGES = ("base", "published", "search", "again", "ablation", "snapfusion", "scales", "trust", "winner", "table")


def main() -> None:
    """Runs stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[*STAGES, []], default=STAGES)
    parser.add_argument("--scale", choices=SCALES, default="cores")
    parser.add_argument("--folder", type=Path, help="Of all runs.  [default: runs/rediscover, or runs/rediscover-SCALE]")
    given = parser.parse_args()
    is_kept = given.scale == "cores"
    folder = given.folder or Path("runs") / ("rediscover" if is_kept else f"rediscover-{given.scale}")
    if is_kept:
        put_back(KEPT, folder=folder)
    with terminal_progress() as progress:
        experiment = Experiment(folder, SCALES[given.scale], progress, RESULTS if is_kept else folder)
        for stage in given.stages or STAGES:
            getattr(experiment, stage)()
            if is_kept:
                keep(itertools.chain.from_iterable(map(folder.glob, KEPT_FILES)), folder=folder, kept=KEPT)


if __name__ == "__main__":
    main()
