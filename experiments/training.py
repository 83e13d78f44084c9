"""Trains the network of a bundle on its data; distillation adds a teacher's terms to the same loop."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bundle import Bundle, apply_network, new_folder, read_bundle_with, refuse_existing, write_bundle
from experiments.bundle_quality import expectations, model_card
from experiments.denoising_task import load_examples, training_examples
from experiments.progress import Progress, silent_progress
from experiments.trackers.bundle_log import log_bundle
from experiments.trackers.tracker import Tracking, untracked
from experiments.training_curve import TrainingCurve
from supernet import UNet, unet_parameters
from supernet.initializer import random_initializer
from supernet.training import adam_with_warmup, initial_state, training_step

# (parameters, (noisy images, time steps, prompts), target) to a number.
BundleLoss = Callable[[Any, Any, Any], Any]


def denoising_bundle_loss(bundle: Bundle) -> BundleLoss:
    """The denoising loss of a bundle's network."""
    task, apply = bundle.task, functools.partial(apply_network, bundle.network())

    def loss(parameters: Any, inputs: Any, target: Any) -> Any:
        return jnp.mean((task.predict(apply, parameters, inputs) - target) ** 2)

    return loss


def with_fresh_weights(bundle: Bundle, seed: int) -> Bundle:
    """A bundle's architecture before any training."""
    network = unet_parameters(UNet(bundle.plan, init=random_initializer(seed)))
    return dataclasses.replace(bundle, parameters={"network": network, "prompt": bundle.task.prompt_parameters(seed)})


def fit_bundle(
    bundle: Bundle,
    loss: BundleLoss,
    *,
    steps: int,
    seed: int,
    title: str,
    progress: Progress,
    extra_parameters: dict[str, Any] | None = None,
    curve: TrainingCurve | None = None,
) -> Bundle:
    """Trains for so many steps; returns the bundle with averaged weights.

    Args:
        bundle: where training starts.
        loss: what is minimised, over the bundle's parameters and the extra ones.
        steps: number of updates.
        seed: of batches, noise and times.
        title: of the progress bar.
        progress: is told of every step.
        extra_parameters: trained beside the bundle's and dropped afterwards.
        curve: takes the losses.
    """
    settings, task = bundle.settings, bundle.task
    optimizer = adam_with_warmup(settings.learning_rate, warmup_steps=settings.warmup_steps, num_steps=steps)
    step_function = training_step(jax.value_and_grad(loss), optimizer, ema_decay=settings.ema_decay)
    state = initial_state({**bundle.parameters, **(extra_parameters or {})}, optimizer)
    noisy_batch = jax.jit(task.noisy_batch)
    dataset = load_examples(bundle.data, task.scale, split="train")
    examples = training_examples(dataset, task.scale, batch_size=settings.batch_size, seed=seed)
    curve = curve or TrainingCurve(None, num_steps=steps)
    with progress.stage(title, steps) as stage:
        for number in range(1, steps + 1):
            inputs, target = noisy_batch(jnp.uint32(seed), jnp.uint32(number), *next(examples))
            state, value = step_function(state, inputs, target)
            if note := curve.add(number, value):
                stage.advance(0, note=note)
            stage.advance()
    trained = {part: state.average[part] for part in bundle.parameters}
    return dataclasses.replace(bundle, parameters=trained)


def train_bundle(
    path: Path,
    *,
    data: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    out: Path | None = None,
    tracking: Tracking = untracked,
) -> Path:
    """Trains the network of a bundle on its data, from its weights on; writes a bundle and returns its folder.

    Args:
        path: the bundle.
        data: name of a data set, or a folder; by default as `training.yaml` says.
        steps: number of updates; by default as `training.yaml` says.
        seed: of batches, noise and times.
        progress: is told of every step.
        out: folder of the new bundle; by default `trained` in the bundle's.
        tracking: opens the log of losses and promises.
    """
    out = out or path / "trained"
    refuse_existing(out)
    bundle = read_bundle_with(path, data)
    steps = steps or bundle.settings.num_steps
    return fit_into(
        out, bundle, denoising_bundle_loss(bundle), then=f"trained for {steps} steps", steps=steps, seed=seed,
        title="Training", progress=progress or silent_progress(), tracking=tracking,
    )  # fmt: skip


def fit_into(
    out: Path, bundle: Bundle, loss: BundleLoss, *, then: str, steps: int, seed: int, tracking: Tracking, **settings: Any
) -> Path:
    """Trains as `fit_bundle`, and writes a new bundle with what is now to be expected of it, and the loss over time.

    Args:
        out: the new folder.
        bundle: where training starts.
        loss: what is minimised.
        then: what was done to the bundle, for its origin.
        steps: number of updates.
        seed: of batches, noise and times.
        tracking: opens the log of losses and promises.
        settings: the other arguments of `fit_bundle`.
    """
    described = bundle.settings.model_copy(update={"origin": f"{bundle.settings.origin}, then {then}"})
    tracked = {**described.model_dump(mode="json"), "architecture": bundle.architecture.digest}
    with (
        new_folder(out) as folder,
        tracking({**tracked, "num_steps": steps, "seed": seed}) as log,
        TrainingCurve(folder, num_steps=steps, log=functools.partial(log, "training")) as curve,
    ):
        trained = fit_bundle(bundle, loss, steps=steps, seed=seed, curve=curve, **settings)
        trained = dataclasses.replace(trained, settings=described)
        expected = expectations(trained)
        write_bundle(folder, trained, expected=expected, card=model_card(trained, expected))
        curve.save()
        log_bundle(folder, log)
    return out
