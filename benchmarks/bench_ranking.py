"""Do proxies rank architectures as training each alone does, and which way of training the supernet makes them do so?

Stages, each of which goes on where it was stopped: `truths` (architectures trained alone, three seeds), `supernets` (one of
each mode of training, at equal cost), `proxies` (what each supernet says of the architectures), `table` (rank correlations).
`--part 1/2` leaves half of a stage's work to another process.
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

from experiments.bundle import Bundle, write_bundle
from experiments.config import SweepConfig, load_config, with_samples
from experiments.denoising_task import load_examples, training_examples
from experiments.handoff import training_settings
from experiments.progress import Progress, terminal_progress
from experiments.proxies import Proxies
from experiments.sample_features import sweep_classifier, sweep_distances
from experiments.subnet_training import SubnetSchedule, SubnetTraining, fresh_parameters
from experiments.supernet_start import start_supernet
from experiments.supernet_training import load_supernet, sweep_supernet, train_supernet
from experiments.sweep_sampling import held_out, sweep_samples
from experiments.truths import TRUTH, measure_truths, stratified
from experiments.whole_files import write_whole
from objectives.features import classifier_extractor
from search_space import Architecture
from supernet import extract, unet_parameters

NUM_TESTED, NUM_ANCHORS, SEEDS = 32, 12, (0, 1, 2)
SCHEDULE = SubnetSchedule(num_steps=800, batch_size=32, learning_rate=1e-3)
FINE_TUNING = SubnetSchedule(num_steps=100, batch_size=32, learning_rate=5e-4)
NUM_SAMPLES = 1000
TEACHER_STEPS = 300
# By mode of training, what differs from fair single paths without any warm-up, and steps; two thousand subnets are trained in
# each, a step of the sandwich being four of them, and of single paths two.
MODES: dict[str, dict[str, Any]] = {
    "single_path": {"num_steps": 1000},
    "warm_up": {"num_steps": 1050, "largest_steps": 100},
    "sandwich": {"num_steps": 500, "mode": "sandwich"},
    "sandwich_distill": {"num_steps": 500, "mode": "sandwich_distill"},
    "recovery": {"num_steps": 875, "recovery_steps": 125},
    "rate_by_complexity": {"num_steps": 1000, "rate_by_complexity": 0.5},
    "stochastic_depth": {"num_steps": 1000, "mode": "stochastic_depth"},
    "stage_distillation": {"num_steps": 850, "stage_distillation": 0.1},
    "four_times": {"num_steps": 4000},
}
TUNED = slice(0, NUM_TESTED, 2)  # of the tested, whose weights are judged after a little training too
TUNED_ALL = "warm_up"  # the mode in which all are


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("truths", "supernets", "proxies"))
    parser.add_argument("--data", default="digits")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--seed", type=int, default=0, help="of the supernets")
    parser.add_argument("--part", default="1/1")
    given = parser.parse_args()
    folder = Path("runs") / "ranking" / given.data
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(given.data, [f"run_dir={folder}"])
    part, parts = map(int, given.part.split("/"))
    modes = given.modes.split(",")[part - 1 :: parts]
    with terminal_progress() as progress:
        match given.stage:
            case "truths":
                truths(config, folder, chosen(config)[part - 1 :: parts], progress)
            case "supernets":
                for mode in modes:
                    train_supernet(
                        mode_config(config, folder, mode, given.seed), mode_folder(folder, mode, given.seed), progress
                    )
            case "proxies":
                for mode in modes:
                    proxies(config, folder, mode, given.seed, progress)


def chosen(config: SweepConfig) -> list[Architecture]:
    """The architectures that are tested, then the anchors."""
    tested = stratified(config, NUM_TESTED, stream=1)
    return [*tested, *stratified(config, NUM_ANCHORS, stream=2, excluded=tested)]


def truths(config: SweepConfig, folder: Path, architectures: list[Architecture], progress: Progress) -> np.ndarray:
    distances = sweep_distances(config, classifier_extractor(sweep_classifier(config, folder, progress)))
    return measure_truths(
        config, architectures, distances, schedule=SCHEDULE, seeds=SEEDS, num_samples=NUM_SAMPLES,
        folder=folder / "truths", progress=progress,
    )[1]  # fmt: skip


def mode_folder(folder: Path, mode: str, seed: int) -> Path:
    return folder / "supernets" / f"{mode}-{seed}"


def mode_config(config: SweepConfig, folder: Path, mode: str, seed: int) -> SweepConfig:
    """The sweep with its supernet trained so."""
    changed: dict[str, Any] = {"mode": "single_path", "largest_steps": 0, **MODES[mode]}
    if "stage_distillation" in changed:
        changed["start"] = str(teacher(config, folder, seed))
    section = type(config.supernet).model_validate({**config.supernet.model_dump(), **changed})
    return config.model_copy(update={"supernet": section, "seed": seed})


def teacher(config: SweepConfig, folder: Path, seed: int) -> Path:
    """A supernet whose largest subnet has been trained alone."""
    bundle, start = folder / f"teacher-{seed}", folder / f"start-{seed}"
    if not start.is_dir():
        supernet = sweep_supernet(config)
        schedule = dataclasses.replace(SCHEDULE, num_steps=TEACHER_STEPS, batch_size=64)
        largest, dataset = supernet.space.largest(), load_examples(config.data, supernet.scale, split="train")
        examples = training_examples(dataset, supernet.scale, batch_size=schedule.batch_size, seed=seed)
        train = SubnetTraining(config, schedule)
        parameters = train(fresh_parameters(config, largest, seed), largest, examples, seed=seed)
        weights = unet_parameters(extract(supernet, parameters["network"], largest))
        settings = training_settings(config, f"trained alone for {TEACHER_STEPS} steps")
        bundle.mkdir(exist_ok=True)
        write_bundle(bundle, Bundle(largest, settings, {**parameters, "network": weights}), expected={}, card="")
        start_supernet(bundle, config.space, start, seed=seed)
    return start


def proxies(config: SweepConfig, folder: Path, mode: str, seed: int, progress: Progress) -> None:
    """Everything that one supernet says of every architecture, a file for each."""
    kept = mode_folder(folder, mode, seed) / "proxies"
    kept.mkdir(exist_ok=True)
    supernet, distances = (
        sweep_supernet(config),
        sweep_distances(config, classifier_extractor(sweep_classifier(config, folder, progress))),
    )
    shared = load_supernet(mode_config(config, folder, mode, seed), mode_folder(folder, mode, seed))
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
    tuned = architectures if mode == TUNED_ALL else architectures[TUNED]
    with progress.stage(f"Proxies of {mode}", len(architectures) + len(tuned)) as stage:
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


if __name__ == "__main__":
    main()
