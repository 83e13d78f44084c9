"""What the search's scores are to tell: how good architectures are once each has been trained alone.

The truth of an architecture is the Fréchet distance of samples of the network trained from fresh weights. Seeds differ, so
the same architecture is trained once for every seed.
"""

import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.config import SweepConfig, with_samples
from experiments.denoising_task import load_examples, training_examples
from experiments.errors import InputError
from experiments.json_files import read_json
from experiments.limits import violations
from experiments.progress import Progress, duration
from experiments.quality import FeatureDistances, UnusableSamplesError
from experiments.subnet_training import SubnetSchedule, SubnetTraining, fresh_parameters
from experiments.supernet_training import sweep_supernet
from experiments.sweep_sampling import held_out, sweep_samples
from experiments.whole_files import write_whole
from objectives import Estimate
from objectives.cost import counted_costs
from objectives.fingerprint import fingerprint
from search_space import Architecture, get_scale, get_space

TRUTH = "frechet_classifier"
_DRAWS_PER_STRATUM = 50
_TIMED_STEPS = 5


def stratified(
    config: SweepConfig, num: int, *, stream: int, excluded: Sequence[Architecture] = (), key: str = "--n"
) -> list[Architecture]:
    """One random architecture of each of so many strata of MACs at the deploy scale, the cheapest first.

    Args:
        config: of the sweep: its space, limits and seed.
        num: architectures.
        stream: draws with another one are independent.
        excluded: are not drawn.
        key: that says how many, for messages.

    Raises:
        InputError: too few random architectures keep the limits that can be counted.
    """
    space, rng = get_space(config.space), np.random.default_rng([config.seed, stream])
    drawn = {x.digest: x for x in (space.sample(rng) for _ in range(_DRAWS_PER_STRATUM * num))}
    for architecture in excluded:
        drawn.pop(architecture.digest, None)
    architectures = list(drawn.values())
    columns = counted_costs(architectures, get_scale(config.deploy_scale))
    keeps = np.flatnonzero(np.zeros(len(architectures)) + violations(columns, config.limits) == 0)
    if len(keeps) < num:
        raise InputError(
            f"{key} {num}: only {len(keeps)} of {len(architectures)} random architectures keep the limits; ask for fewer"
        )
    order = keeps[np.argsort(columns["macs"][keeps], kind="stable")]
    return [architectures[rng.choice(stratum)] for stratum in np.array_split(order, num)]


def stand_alone_schedule(config: SweepConfig, num_steps: int) -> SubnetSchedule:
    """Trained alone as the supernet is trained, for so many steps."""
    settings = config.supernet
    return SubnetSchedule(num_steps, settings.batch_size, settings.learning_rate, settings.ema_decay)


def truth_fingerprint(config: SweepConfig, schedule: SubnetSchedule, distances: FeatureDistances) -> str:
    """Names all that decides a truth but the architecture and the seed; how the supernet is trained does not."""
    drawn = {"num_samples", "num_steps", "sampler", "guidance_scale"}
    return fingerprint(
        **config.model_dump(mode="json", include={"space": True, "proxy_scale": True, "data": True, "quality": drawn}),
        trained_alone=vars(schedule),
        **distances.extractor.settings(),
    )


def measure_truths(
    config: SweepConfig,
    architectures: Sequence[Architecture],
    distances: FeatureDistances,
    *,
    schedule: SubnetSchedule,
    seeds: Sequence[int],
    num_samples: int,
    folder: Path,
    progress: Progress,
) -> tuple[str, Float[np.ndarray, "architectures seeds"]]:
    """The fingerprint of the truths, and all of them; each is kept as it is found, and NaN where a network diverged.

    Args:
        config: of the sweep.
        architectures: what is trained.
        distances: of samples to the data.
        schedule: of each training.
        seeds: of fresh weights and batches.
        num_samples: that judge each.
        folder: where they are kept, by fingerprint.
        progress: where to report.

    Raises:
        InputError: a kept file is no truth.
    """
    judged = with_samples(config, num_samples)
    name = truth_fingerprint(judged, schedule, distances)
    kept = folder / name
    kept.mkdir(parents=True, exist_ok=True)
    train, supernet = SubnetTraining(config, schedule), sweep_supernet(config)
    dataset = load_examples(config.data, supernet.scale, split="train")
    draw = sweep_samples(judged, supernet.apply, held_out(config)[1])
    truths = np.empty((len(architectures), len(seeds)))

    def trained(architecture: Architecture, seed: int, num_steps: int, on_step: Callable[[], None] = lambda: None) -> Any:
        examples = training_examples(dataset, supernet.scale, batch_size=schedule.batch_size, seed=seed)
        fresh = fresh_parameters(config, architecture, seed)
        return train(fresh, architecture, itertools.islice(examples, num_steps), seed=seed, on_step=on_step)

    num_left = sum(not _file(kept, x, seed).is_file() for x in architectures for seed in seeds)
    if num_left:
        seconds = _seconds_a_step(lambda num_steps: trained(architectures[len(architectures) // 2], seeds[0], num_steps))
        budget = duration(num_left * schedule.num_steps * seconds)
        progress.say(f"{num_left} trainings of {schedule.num_steps} steps: about {budget} of CPU")
    num_done = (truths.size - num_left) * schedule.num_steps
    with progress.stage("Training alone", truths.size * schedule.num_steps, done=num_done) as stage:
        for column, row in np.ndindex(truths.T.shape):  # all with one seed first
            architecture, seed = architectures[row], seeds[column]
            path = _file(kept, architecture, seed)
            if not path.is_file():
                parameters = trained(architecture, seed, schedule.num_steps, stage.advance)
                samples = draw(parameters, jnp.asarray(supernet.route(architecture)))
                write_whole(path, f"{json.dumps(_truth(samples, distances).to_json())}\n")
            truths[row, column] = _read_truth(path)
            stage.advance(0, note=f"{architecture.digest} with seed {seed}: {TRUTH} {truths[row, column]:.4g}")
    return name, truths


def _file(folder: Path, architecture: Architecture, seed: int) -> Path:
    return folder / f"{architecture.digest}-{seed}.json"


def _seconds_a_step(train: Callable[[int], Any]) -> float:
    """CPU time of one step, beyond what a training takes besides."""
    jax.block_until_ready(train(1))  # compiles
    times = []
    for num_steps in (1, _TIMED_STEPS + 1):
        begun = time.process_time()
        jax.block_until_ready(train(num_steps))
        times.append(time.process_time() - begun)
    return max(times[1] - times[0], 0.0) / _TIMED_STEPS


def _truth(samples: np.ndarray, distances: FeatureDistances) -> Estimate:
    try:
        return distances.measure(samples, [TRUTH])[TRUTH]
    except UnusableSamplesError:
        return Estimate(float("nan"), n=len(samples))


def _read_truth(path: Path) -> float:
    found = read_json(path)
    try:
        return Estimate.from_json(found).value
    except ValueError as error:
        raise InputError(f"{path}: {error}; delete the file, the same command measures it again") from None
