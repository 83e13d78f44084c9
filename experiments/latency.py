"""Latency of a sweep's architectures: measures a few on the device at the deploy scale, and predicts all others."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.config import SweepConfig
from experiments.errors import InputError
from experiments.progress import Progress
from latency_models.device import Device, default_device, get_device
from latency_models.fitting import fit
from latency_models.measure import (
    Measurement,
    choose_architectures,
    load_measurements,
    measure,
    save_measurements,
)
from latency_models.predictor import Predictor
from latency_models.timing import TimingProtocol
from objectives import Estimate
from objectives.cost import cost_estimates, counted_costs
from objectives.objective import OBJECTIVES
from search_space import Architecture, LayerPlan, Scale, get_scale, get_space, layer_plan
from supernet import XLA, UNet
from supernet.initializer import random_initializer


def network_function(plan: LayerPlan, *, seed: int = 0) -> tuple[Any, tuple[np.ndarray, ...]]:
    """A stand-alone network with random weights as a JAX function, and example inputs at batch 1.

    Weights are random, every one of them: constants that repeat would be folded into a smaller graph.
    """
    draw = random_initializer(seed)

    def noisy(shape: tuple[int, ...], *, std: float, mean: float = 0.0) -> jax.Array:
        return draw(shape, std=std or 0.05, mean=mean)

    unet = UNet(plan, init=noisy, lowering=XLA)
    scale, rng = plan.scale, np.random.default_rng(seed)
    inputs = (
        rng.standard_normal((1, scale.resolution, scale.resolution, scale.in_channels), np.float32),
        np.full((1,), 500.0, np.float32),
        rng.standard_normal((1, scale.context_length, scale.context_width), np.float32),
    )
    return unet.__call__, inputs


def fit_predictor(config: SweepConfig, run_dir: Path, progress: Progress) -> Predictor:
    """Measures and fits, or loads what the run folder holds; measurements survive a kill.

    Raises:
        InputError: the device is not known or not usable here.
    """
    folder = run_dir / "latency"
    path = folder / "predictor.json"
    if path.is_file():
        return Predictor.load(path)
    folder.mkdir(parents=True, exist_ok=True)
    device = _device(config)
    scale = get_scale(config.deploy_scale)
    rng = np.random.default_rng(config.seed)
    plans = [
        layer_plan(x, scale)
        for x in choose_architectures(get_space(config.space), scale, config.latency.num_architectures, rng)
    ]
    saved = folder / "measurements.json"
    known = load_measurements(saved) if saved.is_file() else []
    kept: list[Measurement] = list(known)
    with progress.stage(f"Measuring latency on {device.name}", len(plans)) as stage:

        def keep(measured: list[Measurement]) -> None:
            kept.extend(measured)
            save_measurements(saved, kept)
            stage.advance(len(measured))

        protocol = TimingProtocol(rounds=config.latency.rounds)
        measured = measure(device, _builds(plans), protocol=protocol, known=known, progress=keep)
    predictor = fit(plans, [m.timing for m in measured], fingerprint=device.fingerprint())
    predictor.save(path)
    return predictor


def measure_latency(config: SweepConfig, architecture: Architecture) -> Estimate:
    """One architecture's latency in milliseconds, measured on the sweep's device at its deploy scale.

    Raises:
        InputError: the device is not known or not usable here.
    """
    device = _device(config)
    plan = layer_plan(architecture, get_scale(config.deploy_scale))
    protocol = TimingProtocol(rounds=config.latency.rounds)
    timing = measure(device, _builds([plan]), protocol=protocol)[0].timing
    return Estimate(timing.ms, timing.low, timing.high, timing.n)


def _device(config: SweepConfig) -> Device:
    if config.latency.device == "auto":
        return default_device()
    try:
        return get_device(config.latency.device)
    except ValueError as error:
        raise InputError(f"latency.device: {error}") from None


def _builds(plans: Sequence[LayerPlan]) -> Iterator[tuple[LayerPlan, Any, Sequence[Any]]]:
    for plan in plans:
        yield (plan, *network_function(plan))


def held_out_text(predictor: Predictor) -> str:
    """The predictor's held-out error in one line."""
    score = predictor.held_out
    return (
        f"latency predictor, {score.n} held-out networks of {score.smallest_ms:.1f} to {score.largest_ms:.1f} ms: mean error "
        f"{score.mape:.1%}, {score.within_10:.0%} within 10 %, rank correlation {score.spearman:.3f}"
    )


def _objectives_among(estimates: dict[str, Estimate]) -> dict[str, Estimate]:
    """Those of the counts that are objectives; the rest are parts of their sums."""
    return {x.name: estimates[x.name] for x in OBJECTIVES if x.name in estimates}


class Costs:
    """Costs of architectures at the deploy scale: counted, or predicted with an interval; a pure function of both."""

    def __init__(self, scale: Scale, predictor: Predictor | None) -> None:
        self._scale = scale
        self._predictor = predictor

    def __call__(self, architecture: Architecture) -> dict[str, Estimate]:
        """Estimates by objective name, one architecture."""
        plan = layer_plan(architecture, self._scale)
        estimates = _objectives_among(cost_estimates(plan))
        if self._predictor:
            ms, low, high = self._predictor.predict([plan])
            estimates["latency_ms"] = Estimate(float(ms[0]), float(low[0]), float(high[0]), self._predictor.held_out.n)
        return estimates

    def columns(self, architectures: Sequence[Architecture]) -> dict[str, np.ndarray]:
        """Values by objective name, many architectures."""
        columns = counted_costs(architectures, self._scale)
        if self._predictor:
            columns["latency_ms"] = self._predictor.predict([layer_plan(x, self._scale) for x in architectures])[0]
        return columns
