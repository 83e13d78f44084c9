"""The evaluator of a sweep: quality of any architecture of the space, with the weights that the supernet holds for it."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.anchors import QualityPredictor, read_predictor
from experiments.config import SweepConfig, judged_at, load_config
from experiments.config_sections import RungSection
from experiments.latency import Costs
from experiments.memory import trim_memory
from experiments.proxies import Proxies
from experiments.quality import FeatureDistances, image_losses, loss_program
from experiments.sample_features import judged_objectives, run_distances
from experiments.subnet_training import tuning, tuning_batches
from experiments.supernet_training import load_supernet, sweep_supernet, sweep_task
from experiments.sweep_sampling import held_out, sweep_samples
from latency_models.predictor import Predictor
from objectives import Estimate
from objectives.denoising import mean_estimate, mid_band_times
from objectives.objective import PREDICTED
from search_space import Architecture, get_scale


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationInputs:
    """All that quality is measured with; it travels to a worker, which needs no file beside it.

    Attributes:
        config: the sweep, as far as one of its rungs or its search goes.
        parameters: of the supernet and of its prompt encoder.
        images: held-out images.
        prompts: of the images.
        distances: of samples, where any are judged.
        predictor: of quality, where it is predicted.
        costs: of architectures, where quality is predicted.
        batches: on which each architecture is trained before it is judged.
    """

    config: SweepConfig
    parameters: dict[str, Any]
    images: np.ndarray
    prompts: np.ndarray
    distances: FeatureDistances | None
    predictor: QualityPredictor | None = None
    costs: Costs | None = None
    batches: Sequence[tuple[np.ndarray, np.ndarray]] = ()


def read_inputs(run_dir: Path, rung: RungSection | None = None) -> EvaluationInputs:
    """Reads them from a run folder whose supernet, and classifier where samples are judged, are trained."""
    config = judged_at(load_config(run_dir / "sweep.yaml"), rung)
    distances = predictor = costs = None
    if judged_objectives(config):
        distances = run_distances(config, run_dir)
    if PREDICTED in config.objectives:
        costs = Costs(get_scale(config.deploy_scale), Predictor.load(run_dir / "latency"))
        predictor = read_predictor(config, run_dir, costs.columns)
    shared = jax.tree.map(np.asarray, load_supernet(config, run_dir))
    return EvaluationInputs(config, shared, *held_out(config), distances, predictor, costs, tuning_batches(config))


class SupernetEvaluator:
    """Measures the quality objectives of a sweep; each program compiles once, for all architectures."""

    def __init__(self, inputs: EvaluationInputs) -> None:
        """Prepares the programs; nothing is compiled yet."""
        config, prompts = inputs.config, inputs.prompts
        task, supernet = sweep_task(config), sweep_supernet(config)
        self._supernet = supernet
        self._shared = jax.tree.map(jnp.asarray, inputs.parameters)
        self._losses = None
        if "denoising_loss" in config.objectives:
            times = mid_band_times(config.quality.loss_samples)
            losses, num_images = loss_program(task, supernet.apply, inputs.images, prompts, times=times), len(inputs.images)
            self._losses = lambda parameters, route: image_losses(losses(parameters, route), num_images=num_images)
        self._is_compiled = False
        self._tune = tuning(config, inputs.batches)
        self._draw, self._distances = None, inputs.distances
        self._measured = [name for name in judged_objectives(config) if name != PREDICTED]
        if self._measured:
            self._draw = sweep_samples(config, supernet.apply, prompts)
        self._predicted = None
        if inputs.predictor is not None:
            assert inputs.distances is not None
            assert inputs.costs is not None
            proxies = Proxies(config, self._shared, inputs.images, prompts, inputs.distances, levels=inputs.predictor.levels)
            self._predicted = proxies, inputs.predictor, inputs.costs

    def __call__(self, architecture: Architecture) -> dict[str, Estimate]:
        """Estimates by objective name."""
        route = jnp.asarray(self._supernet.route(architecture))
        parameters = self._tune(self._shared, architecture)
        estimates: dict[str, Estimate] = {}
        if self._losses is not None:
            estimates["denoising_loss"] = mean_estimate(self._losses(parameters, route))
        if self._draw is not None:
            assert self._distances is not None
            estimates |= self._distances.measure(self._draw(parameters, route), self._measured)
        if self._predicted is not None:
            proxies, predict, costs = self._predicted
            of_one = {name: float(column[0]) for name, column in costs.columns([architecture]).items()}
            estimates[PREDICTED] = predict(proxies(parameters, architecture), of_one)
        if not self._is_compiled:
            trim_memory()  # the first call compiled
            self._is_compiled = True
        return estimates

    def image_losses(self, architecture: Architecture) -> Float[np.ndarray, " images"]:
        """The denoising loss on each held-out image, the same noise for all architectures; `denoising_loss` is their mean.

        Raises:
            ValueError: it is no objective of the sweep.
        """
        if self._losses is None:
            raise ValueError("denoising_loss is no objective of this sweep; measure one that has it")
        route = jnp.asarray(self._supernet.route(architecture))
        return self._losses(self._tune(self._shared, architecture), route)


class SupernetEvaluators:
    """Builds evaluators of a run folder; its files are read here, once one is needed, and travel to where one is built."""

    def __init__(self, run_dir: Path, rung: RungSection | None = None) -> None:
        """Reads nothing yet; without a rung, the evaluators are those of the search."""
        self._run_dir = run_dir
        self._rung = rung

    def __call__(self) -> SupernetEvaluator:
        """An evaluator in this process."""
        return SupernetEvaluator(self._inputs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent elsewhere, it has what it needs with it, and knows of no folder."""
        return functools.partial, (SupernetEvaluator, self._inputs)

    @functools.cached_property
    def _inputs(self) -> EvaluationInputs:
        return read_inputs(self._run_dir, self._rung)
