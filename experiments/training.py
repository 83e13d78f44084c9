"""Trains the network of a bundle on its data: the one phase of plain training, and bundles that phases make."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp

from experiments.bundle import WEIGHTS, Bundle, file_sha256, read_bundle_with, with_settings, write_bundle
from experiments.bundle_folders import WORK, check_made_by, refuse_existing, resumable_folder
from experiments.bundle_quality import expectations, model_card
from experiments.control_file import CONTROL_PART, left_out, write_control
from experiments.denoising_task import open_examples
from experiments.fitting import Parameters, Phase, single_loss, training_apply
from experiments.fitting_loop import fit_phases
from experiments.lora_file import LORA, write_lora
from experiments.progress import Progress, silent_progress
from experiments.trackers.bundle_log import log_bundle
from experiments.trackers.tracker import Tracking, untracked
from experiments.training_curve import log_history
from supernet import UNet, unet_parameters
from supernet.initializer import random_initializer


def denoising_phase(bundle: Bundle, num_steps: int) -> Phase:
    """Training on the data alone."""
    task = bundle.task

    def fitting(bundle: Bundle) -> Any:
        apply = training_apply(bundle)

        def loss(parameters: Parameters, batch: Any) -> Any:
            inputs, target = batch
            return jnp.mean((task.predict(apply, parameters, inputs) - target) ** 2), {}

        return single_loss(bundle, loss, task.noisy_batch, num_steps=num_steps)

    return Phase("Training", num_steps, fitting)


def with_fresh_weights(bundle: Bundle, seed: int) -> Bundle:
    """A bundle's architecture before any training."""
    network = unet_parameters(UNet(bundle.plan, init=random_initializer(seed)))
    return dataclasses.replace(bundle, parameters={"network": network, "prompt": bundle.task.prompt_parameters(seed)})


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

    What an interruption leaves is gone on with when it is called again in the same way.

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
    bundle, progress = read_bundle_with(path, data), progress or silent_progress()
    if note := left_out(path):
        progress.say(note)
    steps = steps or bundle.settings.num_steps
    asked = {"method": {"method": "train", "updates": steps}, **identity(bundle, path), "seed": seed}
    then = f"trained for {steps} steps"
    return fit_into(
        out, bundle, lambda _: [denoising_phase(bundle, steps)], asked=asked, then=then, progress=progress, tracking=tracking
    )


def identity(bundle: Bundle, path: Path) -> dict[str, Any]:
    """What a training takes of a bundle: its weights, by their digest, its architecture and its settings."""
    settings = bundle.settings.model_dump(mode="json", exclude={"origin", "scale"})
    return {"bundle": file_sha256(path / WEIGHTS), "architecture": bundle.architecture.digest, "settings": settings}


def fit_into(
    out: Path,
    bundle: Bundle,
    phases: Callable[[Path], list[Phase]],
    *,
    asked: dict[str, Any],
    then: str,
    progress: Progress | None,
    tracking: Tracking = untracked,
    keeps_finished: bool = False,
    again: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Trains phases, and writes a new bundle with what is now to be expected of it, and the losses over time.

    Args:
        out: the new folder.
        bundle: where training starts.
        phases: from a folder that outlasts interruptions to what is trained.
        asked: for, its `seed` among it; a training that was interrupted is gone on with where all of it is the same.
        then: what was done to the bundle, for its origin.
        progress: is told of every step.
        tracking: opens the log of losses and promises.
        keeps_finished: whether what the same request has made already is left as it is, and no error.
        again: keys of `training.yaml` that were for this training alone, as the new bundle has them.

    Raises:
        InputError: as `resumable_folder` and `fit_phases`; or the data set cannot be read.
    """
    examples = open_examples(bundle.data, bundle.task.scale, split="train")
    asked = {**asked, "images": {"number": len(examples), "digest": examples.digest()}}
    if keeps_finished and out.is_dir():
        check_made_by(out, asked)
        return out
    progress = progress or silent_progress()
    about = {"seed": asked["seed"], "out": str(out), "architecture": bundle.architecture.digest}
    given = {key: value for key, value in asked["method"].items() if value is not None}
    with resumable_folder(out, asked) as folder, tracking(folder, {**asked["settings"], **given, **about}) as log:
        curve_log = functools.partial(log, "training")
        log_history(folder, curve_log)
        planned = phases(folder / WORK)
        handed_on = fit_phases(bundle, planned, seed=asked["seed"], folder=folder, progress=progress, log=curve_log)
        trained = dataclasses.replace(handed_on, parameters={part: handed_on.parameters[part] for part in bundle.parameters})
        described = with_settings(trained, origin=f"{bundle.settings.origin}, then {then}", lora_rank=None, **again)
        expected = expectations(described)
        samples = max(folder.glob("samples/*.png")).relative_to(folder).as_posix()
        write_bundle(folder, described, expected=expected, card=model_card(described, expected, samples=samples))
        if CONTROL_PART in handed_on.parameters:
            write_control(folder, handed_on.parameters[CONTROL_PART], condition=asked["method"]["condition"])
        elif (rank := bundle.settings.lora_rank) is not None and trained.architecture == bundle.architecture:
            write_lora(folder / LORA, bundle, trained, rank=rank * len(planned), base=asked["bundle"])
        elif rank is not None:
            progress.say(f"{LORA} is not written: the network is another than the one that its updates would be added to")
        log_bundle(folder, log)
    return out
