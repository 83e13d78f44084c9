"""Hands an architecture of a finished sweep over to training: one self-contained bundle."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.bundle import TEACHER, Bundle, TrainingSettings, new_folder, refuse_existing, write_bundle
from experiments.bundle_quality import expectations, model_card
from experiments.choosing import choose
from experiments.config import SweepConfig, ledger_header, load_config
from experiments.errors import InputError
from experiments.latency import measure_latency
from experiments.ledger_contents import check_header
from experiments.run_folder import Run, read_run
from experiments.supernet_training import load_supernet, sweep_supernet, sweep_task
from search_space import Architecture
from supernet import extract, unet_parameters


def hand_off(run_dir: Path, pick: str, out: Path, scale: str = "proxy") -> Path:
    """Writes a bundle of one architecture with the supernet's weights, and the supernet's largest subnet as its teacher.

    Args:
        run_dir: the folder of a finished sweep.
        pick: which architecture, as `experiments.choosing.choose` reads it.
        out: the bundle's folder; it must not exist.
        scale: "proxy"; the deploy scale has no trained weights to hand over yet.

    Returns:
        The bundle's folder.

    Raises:
        InputError: `out` exists, nothing fits `pick`, or the scale cannot be handed over.
        FileNotFoundError: the run folder has no finished supernet.
    """
    if scale != "proxy":
        raise InputError(
            "--scale deploy needs a teacher at the deploy scale, and this run has none; "
            "use --scale proxy, which carries the supernet's weights"
        )
    refuse_existing(out)
    run = read_run(run_dir)
    config = load_config(run_dir / "sweep.yaml")
    check_header(run_dir / "ledger.jsonl", run.ledger, ledger_header(config))
    architecture = choose(run, pick).evaluation.architecture
    parameters = load_supernet(config, run_dir)
    largest = sweep_supernet(config).space.largest()
    bundle = _subnet_bundle(
        config, parameters, architecture, f"with weights inherited from the supernet of run {config.name!r}"
    )
    teacher = _subnet_bundle(config, parameters, largest, f"the largest subnet of the supernet of run {config.name!r}")
    measured = _measured(run, config, architecture)
    with new_folder(out) as folder:
        _write(folder / TEACHER, teacher, {})
        _write(folder, bundle, measured)
    return out


def _subnet_bundle(config: SweepConfig, parameters: dict[str, Any], architecture: Architecture, origin: str) -> Bundle:
    weights = unet_parameters(extract(sweep_supernet(config), parameters["network"], architecture))
    return Bundle(architecture, training_settings(config, origin), {"network": weights, "prompt": parameters["prompt"]})


def training_settings(config: SweepConfig, origin: str) -> TrainingSettings:
    """How a network of a sweep's space is trained alone, at the proxy scale."""
    task, distill = sweep_task(config), config.distill
    return TrainingSettings.model_validate(
        {
            "origin": origin,
            "scale": dataclasses.asdict(task.scale),
            "data": config.data,
            "seed": config.seed,
            "schedule": task.schedule_name,
            "parameterisation": task.parameterisation_name,
            "prompt_dropout": task.prompt_dropout,
            "num_steps": distill.num_steps,
            "batch_size": distill.batch_size,
            "learning_rate": distill.learning_rate,
        }
    )


def _measured(run: Run, config: SweepConfig, architecture: Architecture) -> dict[str, Any]:
    """What the sweep found out about the architecture, and its latency measured on the device; for information.

    Promises are about the bundle's own network; these numbers are the sweep's, and the latency is that of the deploy scale.
    """
    best_judged = [*(e for level in reversed(run.levels) for e in level.done), *run.ledger.evaluations]
    evaluation = next(e for e in best_judged if e.digest == architecture.digest)
    return {
        "in_sweep": {
            "fingerprint": evaluation.fingerprint,
            "objectives": {name: x.to_json() for name, x in evaluation.objectives.items()},
            "deploy_scale": config.deploy_scale,
            "device": config.latency.device,
            "measured_latency_ms": measure_latency(config, architecture).to_json(),
        }
    }


def _write(path: Path, bundle: Bundle, more: dict[str, Any]) -> None:
    expected = expectations(bundle)
    write_bundle(path, bundle, expected={**expected, **more}, card=model_card(bundle, expected))
