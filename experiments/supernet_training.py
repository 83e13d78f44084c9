"""Trains the supernet of a sweep and keeps it in the run folder, resumable from the last checkpoint."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from experiments.config import SweepConfig
from experiments.denoising_task import DenoisingTask, load_examples, training_examples
from experiments.progress import Progress
from experiments.supernet_start import load_start
from experiments.whole_files import write_whole
from search_space import get_scale, get_space
from supernet import Supernet, training_lowering
from supernet.paths import training_paths
from supernet.training import TrainState, adam_with_warmup, initial_state, path_gradient, training_step

_CHECKPOINTS_PER_RUN = 4
_HISTORY_POINTS = 200


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
    """
    missing = f"{run_dir / 'supernet'}: there is no finished supernet; run the sweep again to train it"
    if not (run_dir / "supernet" / "checkpoints").is_dir():
        raise FileNotFoundError(missing)
    with _checkpoints(run_dir) as manager:
        if manager.latest_step() != config.supernet.num_steps:
            raise FileNotFoundError(missing)
        abstract = jax.eval_shape(lambda: _fresh_state(config))
        return _restore(manager, config.supernet.num_steps, abstract).average


def train_supernet(config: SweepConfig, run_dir: Path, progress: Progress) -> None:
    """Trains until `supernet.num_steps`, from the last checkpoint on; `supernet/history.json` holds the loss over time."""
    settings = config.supernet
    with _checkpoints(run_dir) as manager:
        done = manager.latest_step() or 0
        if done >= settings.num_steps:
            return
        history_path = run_dir / "supernet" / "history.json"
        history = [point for point in _read_history(history_path) if point["step"] <= done]
        state = _restore(manager, done, jax.eval_shape(lambda: _fresh_state(config))) if done else first_state(config)
        every = max(1, settings.num_steps // _HISTORY_POINTS)
        save_every = max(1, settings.num_steps // _CHECKPOINTS_PER_RUN)
        losses: list[Any] = []
        with progress.stage("Training the supernet", settings.num_steps, done=done) as stage:
            for step, trained, loss in _steps(config, state, done):
                losses.append(loss)
                if step % every == 0 or step == settings.num_steps:
                    history.append({"step": step, "loss": float(np.mean(losses))})
                    losses.clear()
                    stage.advance(0, note=f"loss {history[-1]['loss']:.4f}")
                stage.advance()
                if step % save_every == 0 or step == settings.num_steps:
                    write_whole(history_path, json.dumps(history) + "\n")
                    manager.save(step, args=ocp.args.StandardSave(trained))
        manager.wait_until_finished()


def _steps(config: SweepConfig, state: TrainState, done: int) -> Any:
    """Yields (number of steps done, state, loss) from the given state on."""
    settings, task, supernet = config.supernet, sweep_task(config), sweep_supernet(config)
    step_function = _compiled_step(config, task, supernet)
    noisy_batch = jax.jit(task.noisy_batch)
    dataset = load_examples(config.data, task.scale, split="train")
    examples = training_examples(dataset, task.scale, batch_size=settings.batch_size, seed=config.seed, start_step=done)
    paths = training_paths(supernet.space, settings.mode, largest_steps=settings.largest_steps, seed=config.seed)
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
        )
        yield number, state, loss


def _compiled_step(config: SweepConfig, task: DenoisingTask, supernet: Supernet) -> Any:
    def predict(parameters: Any, inputs: Any, route: Any) -> Any:
        x_t, timestep, prompts = inputs
        context = task.encode(parameters["prompt"], prompts)
        return supernet.apply(parameters["network"], x_t, timestep, context, route)

    gradient = path_gradient(predict, lambda prediction, target: jnp.mean((prediction - target) ** 2))
    return training_step(gradient, _optimizer(config), ema_decay=config.supernet.ema_decay)


def _optimizer(config: SweepConfig) -> Any:
    settings = config.supernet
    return adam_with_warmup(settings.learning_rate, warmup_steps=settings.warmup_steps, num_steps=settings.num_steps)


def first_state(config: SweepConfig) -> TrainState:
    """Fresh, or from where the sweep says that the supernet starts."""
    state = _fresh_state(config)
    if config.supernet.start is None:
        return state
    return initial_state(load_start(Path(config.supernet.start), state.parameters), _optimizer(config))


def _fresh_state(config: SweepConfig) -> TrainState:
    supernet, task = sweep_supernet(config), sweep_task(config)
    parameters = {"network": supernet.initial_parameters(config.seed), "prompt": task.prompt_parameters(config.seed)}
    return initial_state(parameters, _optimizer(config))


def _checkpoints(run_dir: Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=1, create=True)
    return ocp.CheckpointManager((run_dir / "supernet" / "checkpoints").absolute(), options=options)


def _restore(manager: ocp.CheckpointManager, step: int, abstract: TrainState) -> TrainState:
    restored = manager.restore(step, args=ocp.args.StandardRestore(abstract))
    return jax.tree.map(jnp.asarray, restored)


def _read_history(path: Path) -> list[dict[str, float]]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else []
