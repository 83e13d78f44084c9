"""Do proxies rank architectures as training each alone does, and which way of training the supernet makes them do so?

Stages, each of which goes on where it was stopped: `truths` (architectures trained alone, three seeds), `baselines` (scores
of untrained networks), `supernets` (one of each mode of training, at equal cost), `proxies` (what each supernet says of the
architectures), and `table`, which gathers all that there is in `measurements/` and writes `results/ranking_DATA.json`.
`--part 1/2` leaves half of a stage to another process.
"""

import argparse
import dataclasses
import itertools
import json
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from record import estimated, exact, show, write_result

from experiments.anchors import chosen_levels, score_inputs
from experiments.bundle import Bundle, write_bundle
from experiments.config import SweepConfig, load_config, with_samples
from experiments.denoising_task import load_examples, training_examples
from experiments.handoff import training_settings
from experiments.progress import Progress, terminal_progress
from experiments.proxies import LEVELS, SAMPLED, Proxies, ProxyValues
from experiments.sample_features import trained_distances
from experiments.subnet_training import SubnetSchedule, SubnetTraining, fresh_parameters
from experiments.supernet_start import start_supernet
from experiments.supernet_training import load_supernet, sweep_supernet, train_supernet
from experiments.sweep_sampling import held_out, sweep_samples
from experiments.truths import TRUTH, measure_truths, stratified, truth_fingerprint
from experiments.whole_files import write_whole
from experiments.zero_cost import zero_cost_scores
from objectives.anchored import AnchoredScore
from objectives.cost import counted_costs
from objectives.denoising import mean_estimate
from objectives.rank import kendall_tau, kendall_tau_at_equal_cost
from objectives.zero_cost import ZERO_COST
from search_space import Architecture, get_scale
from supernet import extract, unet_parameters

MEASUREMENTS = Path(__file__).parent / "measurements"
NUM_TESTED, NUM_ANCHORS, SEEDS, ANCHOR_SEEDS = 32, 12, (0, 1, 2), 2
SCHEDULE = SubnetSchedule(num_steps=800, batch_size=32, learning_rate=1e-3)
FINE_TUNING = SubnetSchedule(num_steps=100, batch_size=32, learning_rate=5e-4)
NUM_SAMPLES = 1000
TEACHER_STEPS = 300
# By mode of training, what differs from fair single paths without any warm-up, and steps; two thousand subnets are trained in
# each, a step of the sandwich being four of them, and of single paths two. `--times` multiplies the steps.
MODES: dict[str, dict[str, Any]] = {
    "single_path": {"num_steps": 1000},
    "warm_up": {"num_steps": 1050, "largest_steps": 100},
    "sandwich": {"num_steps": 500, "mode": "sandwich"},
    "sandwich_distill": {"num_steps": 500, "mode": "sandwich_distill"},
    "recovery": {"num_steps": 875, "recovery_steps": 125},
    "rate_by_complexity": {"num_steps": 1000, "rate_by_complexity": 0.5},
    "stochastic_depth": {"num_steps": 1000, "mode": "stochastic_depth"},
    "stage_distillation": {"num_steps": 850, "stage_distillation": 0.1},
    "small_batches": {"num_steps": 2000, "batch_size": 32},
}
STEPS = ("num_steps", "largest_steps", "recovery_steps")
TUNED = slice(0, NUM_TESTED, 2)  # of the tested, whose weights are judged after a little training too
TUNED_ALL = "warm_up-x1-0"  # the run in which all are


@dataclasses.dataclass(frozen=True)
class Run:
    """One supernet: its mode of training, how many times the mode's steps it takes, and its seed."""

    mode: str
    times: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.mode}-x{self.times}-{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", nargs="?", default="table", choices=("truths", "baselines", "supernets", "proxies", "table"))
    parser.add_argument("--data", default="digits")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--times", type=int, default=1, help="how many times as long the supernets are trained")
    parser.add_argument("--seed", type=int, default=0, help="of the supernets")
    parser.add_argument("--part", default="1/1")
    given = parser.parse_args()
    folder = Path("runs") / "ranking" / given.data
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(given.data, [f"run_dir={folder}"])
    scatter(folder, given.data)
    part, parts = map(int, given.part.split("/"))
    runs = [Run(mode, given.times, given.seed) for mode in given.modes.split(",")][part - 1 :: parts]
    with terminal_progress() as progress:
        match given.stage:
            case "truths":
                truths(config, folder, chosen(config)[part - 1 :: parts], progress)
            case "baselines":
                baselines(config, folder, progress)
            case "supernets":
                for run in runs:
                    train_supernet(run_config(config, folder, run), run_folder(folder, run), progress)
            case "proxies":
                for run in runs:
                    proxies(config, folder, run, progress)
            case "table":
                table(config, folder, given.data, progress)


def chosen(config: SweepConfig) -> list[Architecture]:
    """The architectures that are tested, then the anchors."""
    tested = stratified(config, NUM_TESTED, stream=1)
    return [*tested, *stratified(config, NUM_ANCHORS, stream=2, excluded=tested)]


def truths(config: SweepConfig, folder: Path, architectures: list[Architecture], progress: Progress) -> None:
    """Trains architectures alone, anchors with fewer seeds."""
    distances = trained_distances(config, folder, progress)
    tested = [x for x in architectures if x in chosen(config)[:NUM_TESTED]]
    for asked, seeds in ((architectures, SEEDS[:ANCHOR_SEEDS]), (tested, SEEDS)):
        measure_truths(
            config, asked, distances, schedule=SCHEDULE, seeds=seeds, num_samples=NUM_SAMPLES,
            folder=folder / "truths", progress=progress,
        )  # fmt: skip


def baselines(config: SweepConfig, folder: Path, progress: Progress) -> None:
    """Zero-cost scores of every architecture, a file for each."""
    score, architectures = zero_cost_scores(config), chosen(config)
    (folder / "baselines").mkdir(exist_ok=True)
    with progress.stage("Zero-cost scores", len(architectures)) as stage:
        for architecture in architectures:
            path = folder / "baselines" / f"{architecture.digest}.json"
            if not path.is_file():
                write_whole(path, json.dumps(score(architecture)))
            stage.advance()


def run_folder(folder: Path, run: Run) -> Path:
    return folder / "supernets" / run.name


def run_config(config: SweepConfig, folder: Path, run: Run) -> SweepConfig:
    """The sweep with its supernet trained so."""
    changed: dict[str, Any] = {"mode": "single_path", "largest_steps": 0, "batch_size": 64, **MODES[run.mode]}
    changed |= {key: changed[key] * run.times for key in STEPS if key in changed}
    if "stage_distillation" in changed:
        changed["start"] = str(teacher(config, folder, run))
    section = type(config.supernet).model_validate({**config.supernet.model_dump(), **changed})
    return config.model_copy(update={"supernet": section, "seed": run.seed})


def teacher(config: SweepConfig, folder: Path, run: Run) -> Path:
    """A supernet whose largest subnet has been trained alone."""
    bundle, start = folder / f"teacher-x{run.times}-{run.seed}", folder / f"start-x{run.times}-{run.seed}"
    if not start.is_dir():
        supernet = sweep_supernet(config)
        schedule = dataclasses.replace(SCHEDULE, num_steps=TEACHER_STEPS * run.times, batch_size=64)
        largest, dataset = supernet.space.largest(), load_examples(config.data, supernet.scale, split="train")
        examples = training_examples(dataset, supernet.scale, batch_size=schedule.batch_size, seed=run.seed)
        train = SubnetTraining(config, schedule)
        parameters = train(fresh_parameters(config, largest, run.seed), largest, examples, seed=run.seed)
        weights = unet_parameters(extract(supernet, parameters["network"], largest))
        settings = training_settings(config, f"trained alone for {schedule.num_steps} steps")
        bundle.mkdir(exist_ok=True)
        write_bundle(bundle, Bundle(largest, settings, {**parameters, "network": weights}), expected={}, card="")
        start_supernet(bundle, config.space, start, seed=run.seed)
    return start


def proxies(config: SweepConfig, folder: Path, run: Run, progress: Progress) -> None:
    """Everything that one supernet says of every architecture, a file for each."""
    kept = run_folder(folder, run) / "proxies"
    kept.mkdir(exist_ok=True)
    supernet, distances = sweep_supernet(config), trained_distances(config, folder, progress)
    shared = load_supernet(run_config(config, folder, run), run_folder(folder, run))
    images, prompts = held_out(config)
    measured = Proxies(with_samples(config, 256), shared, images, prompts, distances)
    draw = sweep_samples(with_samples(config, NUM_SAMPLES), supernet.apply, prompts)
    tune, dataset = SubnetTraining(config, FINE_TUNING), load_examples(config.data, supernet.scale, split="train")
    examples = training_examples(dataset, supernet.scale, batch_size=FINE_TUNING.batch_size, seed=100)
    batches = list(itertools.islice(examples, FINE_TUNING.num_steps))

    def told(parameters: Any, architecture: Architecture) -> dict[str, Any]:
        begun = time.process_time()
        losses = measured.losses(parameters, architecture)
        seconds = {"losses": time.process_time() - begun}
        begun = time.process_time()
        sampled = measured.sampled(parameters, architecture)
        seconds["sampled"] = time.process_time() - begun
        samples = draw(parameters, jnp.asarray(supernet.route(architecture)))
        return {
            "losses": losses,
            **sampled,
            TRUTH: distances.measure(samples, [TRUTH])[TRUTH].to_json(),
            "seconds": seconds,
        }

    architectures = chosen(config)
    tuned = architectures if run.name == TUNED_ALL else architectures[TUNED]
    with progress.stage(f"Proxies of {run.name}", len(architectures) + len(tuned)) as stage:
        for architecture in architectures:
            path = kept / f"{architecture.digest}.json"
            if not path.is_file():
                write_whole(path, json.dumps(told(shared, architecture)))
            stage.advance()
        for architecture in tuned:
            path = kept / f"{architecture.digest}-tuned.json"
            if not path.is_file():
                write_whole(path, json.dumps(told(tune(shared, architecture, batches, seed=100), architecture)))
            stage.advance()


def gathered(folder: Path) -> dict[str, Any]:
    """What has been measured, by the paths of its files."""
    kept = [*folder.glob("truths/*/*.json"), *folder.glob("baselines/*.json"), *folder.glob("supernets/*/proxies/*.json")]
    return {str(path.relative_to(folder)): json.loads(path.read_text("utf-8")) for path in sorted(kept)}


def scatter(folder: Path, data: str) -> None:
    """Puts back what was measured before, so that it is not measured again."""
    path = MEASUREMENTS / f"ranking_{data}.json"
    for name, content in (json.loads(path.read_text("utf-8")) if path.is_file() else {}).items():
        if not (folder / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, json.dumps(content))


def table(config: SweepConfig, folder: Path, data: str, progress: Progress) -> None:
    """Gathers the measurements and writes every rank correlation."""
    measured = gathered(folder)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(content)}" for name, content in measured.items())
    write_whole(MEASUREMENTS / f"ranking_{data}.json", f"{{\n{lines}\n}}\n")
    architectures = chosen(config)
    distances = trained_distances(config, folder, progress)
    kept = f"truths/{truth_fingerprint(with_samples(config, NUM_SAMPLES), SCHEDULE, distances)}"
    truths, of_anchors = (_truths(measured, kept, some) for some in (architectures[:NUM_TESTED], architectures[NUM_TESTED:]))
    if not truths.shape[1] or not of_anchors.shape[1]:
        print(f"kept: {len(measured)} measurements; no seed is complete yet")
        return
    columns = counted_costs(architectures, get_scale(config.deploy_scale))
    costs = {name: np.asarray(columns[name], np.float64) for name in ("macs", "parameters")}
    untrained = [measured.get(f"baselines/{x.digest}.json") for x in architectures]
    if None not in untrained:
        costs |= {name: np.array([scores[name] for scores in untrained if scores]) for name in ZERO_COST}
    numbers: dict[str, Any] = {}
    for one, other in itertools.combinations(range(truths.shape[1]), 2):
        numbers[f"seed_{one}_with_seed_{other}"] = estimated(kendall_tau(truths[:, one], truths[:, other]), "tau")
    alone = truths.mean(axis=1)[TUNED]
    numbers["quality_alone"] = _quality(alone)
    for name, cost in costs.items():
        numbers |= _taus(name, -cost, truths, costs["macs"])
    for run in sorted((folder / "supernets").glob("*")):
        for suffix in ("", "-tuned"):
            records = [measured.get(f"supernets/{run.name}/proxies/{x.digest}{suffix}.json") for x in architectures]
            if None not in records:
                numbers |= _of_supernet(f"{run.name}{suffix}", records, truths, of_anchors, costs["macs"])
        numbers |= _worth(run.name, measured, architectures, alone)
    path = write_result(
        f"ranking_{data}",
        shows=f"Kendall's tau of scores with the Frechet distance of {NUM_TESTED} architectures trained alone for "
        f"{SCHEDULE.num_steps} steps (mean of {truths.shape[1]} seeds), over all pairs and over those within 1.5 times each "
        f"other's MACs; {NUM_ANCHORS} anchors choose the band of noise levels and fit the score. By mode of supernet training, "
        f"each of which trained 2,000 subnets a batch, times what stands after x; what weights are worth is told for 16.",
        command=f"python benchmarks/bench_ranking.py table --data {data}",
        numbers=numbers,
    )
    show(path, numbers)


def _truths(measured: dict[str, Any], kept: str, architectures: list[Architecture]) -> np.ndarray:
    """[architecture, seed], as far as there are truths of all with the seeds before."""
    columns = ([measured.get(f"{kept}/{x.digest}-{seed}.json") for x in architectures] for seed in SEEDS)
    complete = itertools.takewhile(lambda column: None not in column, columns)
    return np.array([[truth["value"] for truth in column if truth] for column in complete]).reshape(-1, len(architectures)).T


def _of_supernet(name: str, records: list[Any], truths: np.ndarray, of_anchors: np.ndarray, macs: np.ndarray) -> dict[str, Any]:
    """Taus of single proxies, and of scores fitted on the anchors, of one supernet."""
    losses = np.array([record["losses"] for record in records])
    anchors = slice(NUM_TESTED, None)
    levels = chosen_levels(losses[anchors], of_anchors)
    scores = {
        "loss_mid_band": losses[:, 9:12].mean(axis=1),
        "loss_chosen_band": losses[:, levels].mean(axis=1),
        "loss_all_levels": losses.mean(axis=1),
        **{key: np.array([record[key] for record in records]) for key in SAMPLED},
        "frechet_1000": np.array([record[TRUTH]["value"] for record in records]),
    }
    inputs = [
        score_inputs(ProxyValues(row[levels], {key: record[key] for key in SAMPLED}), {"macs": cost})
        for row, record, cost in zip(losses, records, macs, strict=True)
    ]
    for title, keys in {"fitted_loss_macs": ("loss", "macs"), "fitted": tuple(inputs[0])}.items():
        seen = np.array([[row[key] for key in keys] for row in inputs])
        score = AnchoredScore(keys, seen[anchors], of_anchors)
        scores[title] = np.array([score(row).value for row in seen])
    found: dict[str, Any] = {f"{name}_chosen_band_begins": exact(levels.start / LEVELS, "noise level", n=NUM_ANCHORS)}
    for key, score in scores.items():
        found |= _taus(f"{name}_{key}", score, truths, macs)
    for part in ("losses", "sampled"):
        seconds = float(np.median([record["seconds"][part] for record in records]))
        found[f"{name}_seconds_{part}"] = exact(seconds, "s of CPU on one core", n=len(records))
    return found


def _worth(name: str, measured: dict[str, Any], architectures: list[Architecture], alone: np.ndarray) -> dict[str, Any]:
    """Mean Fréchet distance of sixteen architectures with inherited weights, and after a little training; and less alone."""
    found: dict[str, Any] = {}
    for suffix, title in (("", "inherited"), ("-tuned", f"after_{FINE_TUNING.num_steps}_steps")):
        records = [measured.get(f"supernets/{name}/proxies/{x.digest}{suffix}.json") for x in architectures[TUNED]]
        if None not in records:
            distances = np.array([record[TRUTH]["value"] for record in records if record])
            found[f"{name}_quality_{title}"] = _quality(distances)
            found[f"{name}_quality_{title}_less_alone"] = _quality(distances - alone)
    return found


def _quality(distances: np.ndarray) -> dict[str, Any]:
    return estimated(mean_estimate(distances), TRUTH)


def _taus(name: str, score: np.ndarray, truths: np.ndarray, macs: np.ndarray) -> dict[str, Any]:
    truth, score, macs = truths.mean(axis=1), score[:NUM_TESTED], macs[:NUM_TESTED]
    return {
        f"{name}_tau": estimated(kendall_tau(score, truth), "tau"),
        f"{name}_tau_equal_macs": estimated(kendall_tau_at_equal_cost(score, truth, cost=macs), "tau"),
    }


if __name__ == "__main__":
    main()
