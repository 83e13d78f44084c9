"""Hands an architecture of a run over to training: one self-contained bundle."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bundle import (
    BLOCK_MAP,
    TEACHER,
    Bundle,
    ScaleSection,
    TrainingSettings,
    read_bundle,
    with_settings,
    write_bundle,
)
from experiments.bundle_folders import new_folder, refuse_existing
from experiments.bundle_quality import expectations, model_card, promise_split
from experiments.choosing import choose
from experiments.config import SweepConfig, ledger_header, load_config
from experiments.data.loading import from_anywhere
from experiments.data_record import open_splits, other_data
from experiments.denoising_task import DenoisingTask, open_examples
from experiments.errors import InputError
from experiments.latency import measure_latency
from experiments.ledger_contents import check_header
from experiments.run_folder import Run, read_run
from experiments.sampling import grid_drawer
from experiments.supernet_start import fresh_supernet, scale_of
from experiments.supernet_training import load_supernet, sweep_supernet, sweep_task
from experiments.training import with_fresh_weights
from search_space import Architecture, get_scale
from search_space.block_map import BlockMap
from supernet import extract, unet_parameters
from supernet.teacher import start_student

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class _HandOff:
    """What is written: the bundle, its teacher (or the folder of one), and which of its blocks is fed by which."""

    bundle: Bundle
    teacher: Bundle | Path | None = None
    feeding: BlockMap = dataclasses.field(default_factory=dict)


def hand_off(
    run_dir: Path,
    pick: str,
    out: Path,
    *,
    scale: str = "proxy",
    teacher: Path | None = None,
    is_timed: bool = True,
    say: Say = lambda _: None,
) -> Path:
    """Writes a bundle of one architecture, with a teacher and the block map to it where there is one.

    At the proxy scale the network has the supernet's weights, and the supernet's largest subnet is its teacher. At the deploy
    scale it has a teacher's weights, by the block map, narrowed to its own widths. Without supernet or teacher its weights are
    fresh.

    Args:
        run_dir: the folder of a run; nothing is written into it.
        pick: which architecture, as `experiments.choosing.choose` reads it.
        out: the bundle's folder; it must not exist.
        scale: "proxy" or "deploy".
        teacher: a bundle at the deploy scale, with the levels and widths of the space's largest network.
        is_timed: whether its latency is measured, where the run's device is here.
        say: is told what a person should know of the choice, the weights, the data and the device.

    Returns:
        The bundle's folder.

    Raises:
        InputError: `out` exists, nothing fits `pick`, or the teacher does not fit.
    """
    refuse_existing(out)
    if teacher is not None and scale != "deploy":
        raise InputError("--teacher goes with --scale deploy; at the proxy scale the supernet's largest subnet is the teacher")
    run, config = read_run(run_dir), load_config(run_dir / "sweep.yaml")
    check_header(run_dir / "ledger.jsonl", run.ledger, ledger_header(config))
    choice = choose(run, pick)
    for note in choice.notes:
        say(f"{choice.evaluation.digest}: {note}")
    architecture = choice.evaluation.architecture
    if scale == "deploy":
        made = _at_deploy_scale(config, architecture, teacher, say)
    else:
        made = _at_proxy_scale(config, run_dir, architecture, say)
    measured = _measured(run, config, architecture, say, is_timed=is_timed)
    runs = scale == "proxy"
    no_loss = "the data set cannot be read here, so that no loss is promised"
    has_data = runs and _can_open(made.bundle, promise_split, say, no_loss)
    if has_data and (told := other_data(run.path, open_splits(config))):
        say(f"{told}: other images are held out now, so that no loss is promised")
        has_data = False
    with new_folder(out) as folder:
        if made.teacher is not None:
            _write_teacher(folder / TEACHER, made.teacher, has_data=has_data)
            (folder / BLOCK_MAP).write_text(json.dumps(made.feeding, indent=2) + "\n", "utf-8")
        samples = "samples/0.png" if has_data else None
        if samples:
            grid_drawer(made.bundle, seed=made.bundle.settings.seed)(made.bundle.parameters, folder / samples)
        _write(folder, made.bundle, measured, runs=runs, has_data=has_data, samples=samples)
    return out


def _at_proxy_scale(config: SweepConfig, run_dir: Path, architecture: Architecture, say: Say) -> _HandOff:
    supernet, name = sweep_supernet(config), config.name
    try:
        parameters = load_supernet(config, run_dir)
    except FileNotFoundError:
        say(f"{run_dir} has no trained supernet: the weights are drawn with seed {config.seed}, and there is no teacher")
        return _HandOff(_fresh(config, sweep_task(config), architecture))

    def bundle(architecture: Architecture, origin: str) -> Bundle:
        weights = unet_parameters(extract(supernet, parameters["network"], architecture))
        settings = training_settings(config, origin)
        return Bundle(architecture, settings, {"network": weights, "prompt": parameters["prompt"]})

    student = bundle(architecture, f"with weights inherited from the supernet of run {name!r}")
    teacher = bundle(supernet.space.largest(), f"the largest subnet of the supernet of run {name!r}")
    names = {block.name for block in teacher.plan.blocks}  # whose weights it shares
    return _HandOff(student, teacher, {x.name: x.name if x.name in names else None for x in student.plan.blocks})


def _at_deploy_scale(config: SweepConfig, architecture: Architecture, path: Path | None, say: Say) -> _HandOff:
    scale = get_scale(config.deploy_scale)
    if path is None:
        say(f"no --teacher is given: the weights are drawn with seed {config.seed}")
        bundle = _fresh(config, dataclasses.replace(sweep_task(config), scale=scale), architecture)
        not_for_it = "training.yaml names no data set, the sweep's is not for this scale"
        is_for_it = _can_open(bundle, lambda _: "train", say, not_for_it)
        return _HandOff(bundle if is_for_it else with_settings(bundle, data=None))
    teacher = read_bundle(path)
    wanted, found = (dataclasses.asdict(x) for x in (scale, scale_of(teacher, config.space)))
    if differing := [
        f"{key} is {found[key]}, not {wanted[key]}" for key in wanted if key != "name" and found[key] != wanted[key]
    ]:
        raise InputError(f"{path}: the teacher is not at deploy scale {scale.name!r}: {', '.join(differing)}; give one that is")
    supernet, parameters = fresh_supernet(teacher, config.space, seed=config.seed)
    try:
        feeding = start_student(supernet, parameters, teacher.plan, teacher.parameters["network"], architecture)
    except ValueError as error:
        raise InputError(f"{path}: {error}; give another teacher") from None
    weights = unet_parameters(extract(supernet, jax.tree.map(jnp.asarray, parameters), architecture))
    origin = f"with the weights of teacher {teacher.architecture.digest}, by the block map"
    settings = teacher.settings.model_copy(update={"origin": origin, "scale": ScaleSection(**wanted), "seed": config.seed})
    student = Bundle(architecture, settings, {"network": weights, "prompt": teacher.parameters["prompt"]})
    say(f"the weights are those of {path}, by the block map; what it does not have is drawn with seed {config.seed}")
    return _HandOff(student, path, feeding)


def _fresh(config: SweepConfig, task: DenoisingTask, architecture: Architecture) -> Bundle:
    settings = training_settings(config, f"with fresh weights of seed {config.seed}", task=task)
    return with_fresh_weights(Bundle(architecture, settings, {}), config.seed)


def _can_open(bundle: Bundle, split_of: Callable[[Bundle], str], say: Say, otherwise: str) -> bool:
    """Whether a split of the data set that a bundle names is here and fits its scale; if not, what that means is said."""
    try:
        open_examples(bundle.data, bundle.task.scale, split=split_of(bundle))
    except (InputError, OSError) as error:
        say(f"{otherwise}: {error}")
        return False
    return True


def training_settings(config: SweepConfig, origin: str, *, task: DenoisingTask | None = None) -> TrainingSettings:
    """How a network of a sweep's space is trained alone; by default at the proxy scale."""
    task, distill = task or sweep_task(config), config.distill
    return TrainingSettings.model_validate(
        {
            "origin": origin,
            "scale": dataclasses.asdict(task.scale),
            "data": from_anywhere(config.data),
            "seed": config.seed,
            "schedule": task.schedule_name,
            "parameterisation": task.parameterisation_name,
            "prompt_dropout": task.prompt_dropout,
            "num_steps": distill.num_steps,
            "batch_size": distill.batch_size,
            "learning_rate": distill.learning_rate,
        }
    )


def _measured(run: Run, config: SweepConfig, architecture: Architecture, say: Say, *, is_timed: bool) -> dict[str, Any]:
    """What the sweep found out about the architecture, and its latency measured on the device if it is timed; for information.

    Promises are about the bundle's own network; these numbers are the sweep's, and the latency is that of the deploy scale.
    """
    best_judged = [*(e for level in reversed(run.levels) for e in level.done), *run.ledger.evaluations]
    evaluation = next(e for e in best_judged if e.digest == architecture.digest)
    latency = measured_on = None
    if is_timed:
        try:
            found, measured_on = measure_latency(config, run.path, architecture)
            latency = found.to_json()
        except (ValueError, OSError) as error:  # of a device that is not here, or does not take the network
            say(f"its latency is not measured: {error}")
    return {
        "in_sweep": {
            "fingerprint": evaluation.fingerprint,
            "objectives": {name: x.to_json() for name, x in evaluation.objectives.items()},
            "deploy_scale": config.deploy_scale,
            "device": run.latency_device,
            "measured_latency_ms": latency,
            "measured_on": measured_on,
        }
    }


def _write_teacher(path: Path, teacher: Bundle | Path, *, has_data: bool) -> None:
    """Writes a teacher's bundle, or copies its files as they are."""
    if isinstance(teacher, Bundle):
        _write(path, teacher, {}, has_data=has_data)
        return
    path.mkdir()
    for file in (file for file in teacher.iterdir() if file.is_file()):
        shutil.copyfile(file, path / file.name)


def _write(
    path: Path, bundle: Bundle, more: dict[str, Any], *, has_data: bool, runs: bool = True, samples: str | None = None
) -> None:
    expected = expectations(bundle if has_data else with_settings(bundle, data=None), runs=runs)
    write_bundle(path, bundle, expected={**expected, **more}, card=model_card(bundle, expected, samples=samples))
