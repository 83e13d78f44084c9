"""Trains the supernet of a sweep and keeps it in the run folder, resumable from the last checkpoint."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.checkpoints import Checkpoints
from experiments.config import SweepConfig
from experiments.denoising_task import DenoisingTask, load_examples, training_examples
from experiments.errors import InputError
from experiments.memory import keep_freed_memory
from experiments.progress import Progress
from experiments.supernet_start import load_start
from experiments.training_curve import DivergedError, SeriesLog, TrainingCurve
from objectives.cost import counted_costs
from search_space import Architecture, get_scale, get_space
from supernet import Supernet, training_lowering
from supernet.paths import Paths, training_paths
from supernet.training import (
    Gradient,
    TrainState,
    adam_with_warmup,
    initial_state,
    path_gradient,
    training_step,
    warmup_and_decay,
)

_CHECKPOINTS = Path("supernet") / "checkpoints"
_CHECKPOINTS_PER_RUN = 4


def sweep_task(config: SweepConfig) -> DenoisingTask:
    """What the networks of a sweep learn, at its proxy scale."""
    return DenoisingTask(get_scale(config.proxy_scale))


def sweep_supernet(config: SweepConfig) -> Supernet:
    """The supernet of a sweep."""
    return Supernet(get_space(config.space), get_scale(config.proxy_scale), training_lowering())


def load_supernet(config: SweepConfig, run_dir: Path) -> dict[str, Any]:
    """The trained supernet's averaged parameters: `network` and `prompt`.

    Raises:
        FileNotFoundError: the run folder holds no finished supernet.
        InputError: its checkpoint cannot be read.
    """
    folder = run_dir / _CHECKPOINTS
    if folder.is_dir():
        with Checkpoints(folder) as checkpoints:
            if checkpoints.last_step() == config.supernet.num_steps:
                try:
                    return checkpoints.read(config.supernet.num_steps, _abstract_state(config)).average
                except InputError as error:
                    raise InputError(f"{error}; delete it and run the sweep again, which goes on from the one before") from None
    raise FileNotFoundError(f"{run_dir / 'supernet'}: there is no finished supernet; run the sweep again to train it")


def write_supernet(config: SweepConfig, run_dir: Path, average: dict[str, Any]) -> None:
    """Puts averaged parameters that come from elsewhere in the place of those that the training would end with.

    Args:
        config: of the sweep.
        run_dir: which has no supernet.
        average: what `load_supernet` is to return.

    Raises:
        InputError: they cannot be written.
    """
    state = dataclasses.replace(first_state(config), parameters=average, average=average)
    with Checkpoints(run_dir / _CHECKPOINTS) as checkpoints:
        checkpoints.save(config.supernet.num_steps, state)


def train_supernet(config: SweepConfig, run_dir: Path, progress: Progress, log: SeriesLog | None = None) -> None:
    """Trains until `supernet.num_steps`, from the last checkpoint on; `supernet/history.json` holds the loss over time.

    Raises:
        InputError: a checkpoint cannot be written, none of those that there are can be read, or the training diverges.
    """
    settings = config.supernet
    with Checkpoints(run_dir / _CHECKPOINTS) as checkpoints:
        if checkpoints.last_step() == settings.num_steps:
            return
        done, state = checkpoints.restore(_abstract_state(config), progress) or (0, first_state(config))
        save_every = max(1, settings.num_steps // _CHECKPOINTS_PER_RUN)
        with (
            TrainingCurve(run_dir / "supernet", num_steps=settings.num_steps, done=done, log=log) as curve,
            progress.stage("Training the supernet", settings.num_steps, done=done) as stage,
        ):
            for step, trained, loss in _steps(config, state, done):
                try:
                    note = curve.add(step, {"loss": loss})
                except DivergedError as error:
                    key = f"{run_dir / 'sweep.yaml'}: key 'supernet.learning_rate' is {settings.learning_rate:g}"
                    raise InputError(f"{key}, and {error}, in another --run-dir") from None
                if note:
                    stage.advance(0, note=note)
                stage.advance()
                if step % save_every == 0 or step == settings.num_steps:
                    curve.save()
                    checkpoints.save(step, trained)


def _steps(config: SweepConfig, state: TrainState, done: int) -> Any:
    """Yields (number of steps done, state, loss) from the given state on."""
    keep_freed_memory()
    settings, task, supernet = config.supernet, sweep_task(config), sweep_supernet(config)
    step_function, rate = _compiled_step(config, task, supernet), _rates(config, supernet)
    noisy_batch = jax.jit(task.noisy_batch)
    dataset = load_examples(config.data, task.scale, split="train")
    examples = training_examples(dataset, task.scale, batch_size=settings.batch_size, seed=config.seed, start_step=done)
    paths = training_paths(
        supernet.space, settings.mode, largest_steps=settings.largest_steps, seed=config.seed, num_steps=settings.num_steps,
        recovery_steps=settings.recovery_steps or 0,
    )  # fmt: skip
    for _ in range(done):
        next(paths)
    for number in range(done + 1, settings.num_steps + 1):
        chosen = next(paths)
        inputs, target = noisy_batch(jnp.uint32(config.seed), jnp.uint32(number), *next(examples))
        state, loss = step_function(
            state,
            inputs,
            target,
            jnp.asarray(np.stack([supernet.route(supernet.space.decode(genotype)) for genotype in chosen.genotypes])),
            jnp.int32(chosen.num_paths),
            jnp.asarray(chosen.in_place),
            rate=rate(number, chosen),
        )
        yield number, state, loss


def _compiled_step(config: SweepConfig, task: DenoisingTask, supernet: Supernet) -> Any:
    weight = config.supernet.stage_distillation
    gradient = _denoising_gradient(task, supernet) if weight is None else _taught_gradient(config, task, supernet, weight)
    return training_step(gradient, _optimizer(config), ema_decay=config.supernet.ema_decay)


def _denoising_gradient(task: DenoisingTask, supernet: Supernet) -> Gradient:
    predict = functools.partial(task.predict, supernet.apply)
    return path_gradient(predict, lambda prediction, target, _: jnp.mean((prediction - target) ** 2))


def _taught_gradient(config: SweepConfig, task: DenoisingTask, supernet: Supernet, weight: float) -> Gradient:
    """With the distance of each stage to the same stage of the largest subnet that the supernet started from."""
    teacher, largest = first_state(config).parameters, jnp.asarray(supernet.route(supernet.space.largest()))
    predict = functools.partial(task.predict, supernet.features)

    def loss(found: Any, wanted: Any, route: Any) -> Any:
        (prediction, streams), (target, taught) = found, wanted
        channels = supernet.channels(route)
        distances = [_stage_distance(x, taught[name], channels[name]) for name, x in streams.items()]
        return jnp.mean((prediction - target) ** 2) + weight * sum(distances) / len(distances)

    gradient = path_gradient(predict, loss)

    def with_teacher(parameters: Any, inputs: Any, target: Any, *paths: Any) -> Any:
        return gradient(parameters, inputs, (target, predict(teacher, inputs, largest)[1]), *paths)

    return with_teacher


def _stage_distance(stream: Any, taught: Any, channels: Any) -> Any:
    """Mean squared distance over the channels that there are, in units of the teacher's mean square.

    Source: Li et al. 2020 (DNA), block-wise supervision; here the blocks of a stage see the subnet's stream, not the teacher's.
    """
    is_there = jnp.arange(stream.shape[-1]) < channels
    return jnp.mean((stream - taught) ** 2, where=is_there) / jnp.mean(taught**2, where=is_there)


def _rates(config: SweepConfig, supernet: Supernet) -> Callable[[int, Paths], float]:
    """What a step's learning rate is multiplied by: that of large subnets decays less, that of small ones more.

    Source: Jeon et al. 2025 (subnet-aware dynamic supernet training), the complexity-aware learning rate; complexity is here
    where the logarithm of MACs lies between those of the smallest and the largest subnet.
    """
    settings, scale, space = config.supernet, supernet.scale, supernet.space
    if settings.rate_by_complexity is None:
        return lambda number, chosen: 1.0
    spread = settings.rate_by_complexity

    def log_macs(architectures: list[Architecture]) -> np.ndarray:
        return np.log(np.asarray(counted_costs(architectures, scale)["macs"], np.float64))

    decay = warmup_and_decay(1.0, warmup_steps=settings.warmup_steps, num_steps=settings.num_steps)
    low, high = log_macs([space.smallest(), space.largest()])

    def rate(number: int, chosen: Paths) -> float:
        if number <= settings.warmup_steps:
            return 1.0
        found = log_macs([space.decode(genotype) for genotype in chosen.genotypes[: chosen.num_paths]])
        complexity = (np.mean(found) - low) / (high - low) if high > low else 0.5
        return np.asarray(decay(number - 1)).item() ** (spread * (1 - 2 * complexity))

    return rate


def _optimizer(config: SweepConfig) -> Any:
    settings = config.supernet
    return adam_with_warmup(settings.learning_rate, warmup_steps=settings.warmup_steps, num_steps=settings.num_steps)


def first_state(config: SweepConfig) -> TrainState:
    """Fresh, or from where the sweep says that the supernet starts."""
    state = _fresh_state(config)
    if config.supernet.start is None:
        return state
    return initial_state(load_start(Path(config.supernet.start), state.parameters), _optimizer(config))


def _abstract_state(config: SweepConfig) -> TrainState:
    return jax.eval_shape(lambda: _fresh_state(config))


def _fresh_state(config: SweepConfig) -> TrainState:
    supernet, task = sweep_supernet(config), sweep_task(config)
    parameters = {"network": supernet.initial_parameters(config.seed), "prompt": task.prompt_parameters(config.seed)}
    return initial_state(parameters, _optimizer(config))
