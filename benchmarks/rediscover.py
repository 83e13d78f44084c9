"""Does a search that was told nothing of published designs come to their choices, MobileDiffusion's above all?

Stages, each of which goes on where it was stopped: `base` (one supernet, and the latency predictor of full-width networks that
was measured on litert-cpu), `search` (the default searcher, five seeds), `snapfusion` (SnapFusion's evolution on the same
evaluator, for as many evaluations), `published` (the published designs, judged as the search judges), `trust` (how well the
ranking agrees with training alone), and `table`, which writes `results/rediscover.json`. Without a stage, all of them.
"""

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench_latency import WIDE_BLOCKS, part_of, read
from record import estimated, exact, show, write_result

from experiments.config import SweepConfig, ledger_header, load_config, resolved_yaml
from experiments.evaluation import Evaluation
from experiments.latency import Costs
from experiments.ledger import Ledger
from experiments.pipeline import run_sweep
from experiments.progress import Progress, terminal_progress
from experiments.provenance import record_session
from experiments.rediscovery.enrichment import Enrichment, enrichments, random_designs
from experiments.rediscovery.position import hypervolumes, position
from experiments.rediscovery.traits import TRAITS
from experiments.run_folder import Run, read_run
from experiments.supernet_training import train_supernet
from experiments.trust import measure_trust
from experiments.whole_files import write_whole
from latency_models.fitting import fit
from latency_models.measurements import MeasurementSet
from latency_models.predictor import Predictor
from objectives import get_objective
from search_space import design_names, get_design, get_scale, get_space

HERE = Path(__file__).parent
SEEDS = range(5)
BAND = ("macs", 150e9, 220e9)  # where MobileDiffusion lies
LATENCY_SPREAD = 1.25  # of its predicted latency, up and down: the other band
NUM_RANDOM = 2000
TRUST = {"num": 24, "num_seeds": 2, "num_steps": 800, "num_samples": 1000}
# What is changed for another machine than two cores.
SCALES: dict[str, list[str]] = {
    "cores": [],
    "gpu": ["proxy_scale=shapes32-proxy", "supernet.num_steps=40000", "supernet.batch_size=128", "trials=5000"],
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One of a scale.

    Attributes:
        folder: of all its runs.
        changed: keys of the sweep that its scale changes.
        progress: where to report.
    """

    folder: Path
    changed: list[str]
    progress: Progress

    def config(self, name: str, *overrides: str) -> SweepConfig:
        """Of one run."""
        return load_config(str(HERE / "rediscover.yaml"), [*self.changed, f"run_dir={self.folder / name}", *overrides])

    def sweep(self, name: str, *overrides: str) -> None:
        """A run with the supernet and the predictor of the base, and nothing that another run has found."""
        run_sweep(self.config(name, f"start_from.stages={self.folder / 'base'}", *overrides), self.progress)

    def base(self) -> None:
        """Trains the supernet and fits the predictor."""
        config = self.config("base")
        folder = Path(config.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with Ledger.open(folder / "ledger.jsonl", header=ledger_header(config)):
            write_whole(folder / "sweep.yaml", resolved_yaml(config))
            record_session(folder)
            train_supernet(config, folder, self.progress)
            measured = HERE / "measurements" / "litert_cpu"
            known = read(measured)
            wide = MeasurementSet.load(measured / WIDE_BLOCKS)
            fit(part_of(known.rounds[0], known.fitted).merged(wide)).save(folder / "latency")

    def search(self) -> None:
        """The default searcher."""
        for seed in SEEDS:
            self.sweep(f"search-{seed}", f"search.seed={seed}")

    def snapfusion(self) -> None:
        """SnapFusion's evolution."""
        for seed in SEEDS:
            self.sweep(f"snapfusion-{seed}", f"search.seed={seed}", "search.searcher=snapfusion")

    def published(self) -> None:
        """Published designs, judged as candidates are."""
        names = design_names()
        self.sweep("published", f"start_from.designs=[{', '.join(names)}]", f"trials={len(names)}", "search.searcher=random")

    def trust(self) -> None:
        """The ranking, held against training alone."""
        measure_trust(self.folder / "base", progress=self.progress, **TRUST)

    def table(self) -> None:
        """What came of it."""
        config = self.config("base")
        costs = Costs(get_scale(config.deploy_scale), Predictor.load(self.folder / "base" / "latency"))
        runs = {name: [read_run(self.folder / f"{name}-{seed}") for seed in SEEDS] for name in ("search", "snapfusion")}
        numbers = evidence(runs["search"], config, costs)
        numbers |= standing(runs["search"], read_run(self.folder / "published"))
        numbers |= agreement(runs)
        path = write_result(
            "rediscover",
            shows=f"Fronts of {config.trials} evaluations in space {config.space}, quality judged at {config.proxy_scale}, "
            f"latency predicted at {config.deploy_scale}; {len(SEEDS)} seeds of the search. Odds ratios: how much more often "
            f"designs of the fronts have a trait of MobileDiffusion's than {NUM_RANDOM} random ones in the same band, by "
            "Fisher's exact test, p-values adjusted by Holm. Published designs beside the front of all seeds.",
            command="python benchmarks/rediscover.py table",
            numbers=numbers,
        )
        show(path, numbers)


STAGES = ("base", "search", "snapfusion", "published", "trust", "table")


def evidence(runs: Sequence[Run], config: SweepConfig, costs: Costs) -> dict[str, Any]:
    """Enrichment of every trait, in the band of MACs and in that of MobileDiffusion's latency."""
    space, numbers = get_space(config.space), dict[str, Any]()
    front = list({member.digest: member.architecture for run in runs for member in run.front}.values())
    latency = float(costs.columns([get_design("mobilediffusion").architecture])["latency_ms"][0])
    for name, least, most in (BAND, ("latency_ms", latency / LATENCY_SPREAD, latency * LATENCY_SPREAD)):
        known = costs.columns(front)[name]
        inside = [front[i] for i in np.flatnonzero((known >= least) & (known <= most))]
        random = random_designs(
            space, costs.columns, num=NUM_RANDOM, seed=0, band=(name, least, most), limits=config.limits
        )  # fmt: skip
        numbers[f"{name}_band_designs_of_fronts"] = exact(len(inside), "designs", n=len(front))
        for found in enrichments(inside, random, TRAITS) if inside else ():
            numbers[f"{name}_band: {found.trait.name}"] = odds(found)
    return numbers


def odds(found: Enrichment) -> dict[str, Any]:
    """A row of the table; an end that is infinite is None."""
    value, low, high = (x if math.isfinite(x) else None for x in (found.odds_ratio, found.low, found.high))
    shares = {"front": list(found.found), "random": list(found.random)}
    tested = {"p_value": found.p_value, "adjusted": found.adjusted}
    return {"value": value, "unit": "odds ratio", "n": found.found[1], "low": low, "high": high, **shares, **tested}


def standing(runs: Sequence[Run], published: Run) -> dict[str, Any]:
    """Each published design beside the front of all seeds together."""
    quality, cost = (get_objective(name) for name in ("denoising_loss", "latency_ms"))
    members: list[Evaluation] = [member for run in runs for member in run.front]
    names: dict[str, str] = {get_design(name).architecture.canonical().digest: name for name in design_names()}
    numbers = {}
    for outcome in published.with_status("done"):
        found, name = position(outcome, members, quality=quality, cost=cost), names[outcome.digest]
        for objective in (quality, cost):
            numbers[f"{name}_{objective.name}"] = estimated(outcome.objectives[objective.name], objective.unit or "1")
        numbers[f"{name}_is_dominated"] = exact(int(found.is_dominated), "1", n=len(members))
        if found.cost_ratio is not None:
            numbers[f"{name}_latency_over_the_quickest_as_good"] = exact(found.cost_ratio, "1", n=len(members))
        if found.quality_lost is not None:
            numbers[f"{name}_loss_over_the_best_as_quick"] = estimated(found.quality_lost, "1")
    return numbers


def agreement(runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Hypervolume of each seed's front, and by how much seeds differ."""
    flat = [(name, run) for name, of_name in runs.items() for run in of_name]
    found = hypervolumes([run.front for _, run in flat], flat[0][1].objectives)
    numbers = {}
    for name in runs:
        values = [value for (of, _), value in zip(flat, found, strict=True) if of == name]
        numbers |= {f"{name}_hypervolume_{seed}": exact(value, "1", n=1) for seed, value in enumerate(values)}
        numbers[f"{name}_hypervolume_spread"] = exact((max(values) - min(values)) / float(np.mean(values)), "1", n=len(values))
    return numbers


def main() -> None:
    """Runs stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[*STAGES, []], default=STAGES)
    parser.add_argument("--scale", choices=SCALES, default="cores")
    parser.add_argument("--folder", type=Path, default=Path("runs") / "rediscover")
    given = parser.parse_args()
    with terminal_progress() as progress:
        experiment = Experiment(given.folder, SCALES[given.scale], progress)
        for stage in given.stages or STAGES:
            getattr(experiment, stage)()


if __name__ == "__main__":
    main()
