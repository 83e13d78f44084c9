"""The evaluator of a sweep: quality of any architecture of the space, with the weights that the supernet holds for it."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import RungSection, SweepConfig, judged_at, load_config
from experiments.denoising_task import all_examples, load_examples
from experiments.feature_training import load_classifier
from experiments.memory import trim_memory
from experiments.quality import Apply, FeatureDistances, SampleSettings, loss_estimate, loss_program, mixed, sample_program
from experiments.sample_features import judged_objectives, sweep_distances
from experiments.supernet_training import load_supernet, sweep_supernet, sweep_task
from objectives import Estimate
from objectives.features import classifier_extractor
from search_space import Architecture


def sweep_samples(config: SweepConfig, apply: Apply, prompts: np.ndarray) -> Callable[..., np.ndarray]:
    """A compiled `(parameters, *extra) -> images` that draws as a sweep does, for held-out prompts."""
    quality = config.quality
    settings = SampleSettings(quality.num_samples, quality.num_steps, quality.sampler, quality.guidance_scale)
    return sample_program(sweep_task(config), apply, prompts[mixed(len(prompts))], settings)


def held_out(config: SweepConfig) -> tuple[np.ndarray, np.ndarray]:
    """The images that quality is measured on, and their prompts."""
    scale = sweep_task(config).scale
    return all_examples(load_examples(config.data, scale, split="validation"), scale)


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationInputs:
    """All that quality is measured with; it travels to a worker, which needs no file beside it.

    Attributes:
        config: the sweep, as far as one of its rungs or its search goes.
        parameters: of the supernet and of its prompt encoder.
        images: held-out images.
        prompts: of the images.
        distances: of samples, where any are judged.
    """

    config: SweepConfig
    parameters: dict[str, Any]
    images: np.ndarray
    prompts: np.ndarray
    distances: FeatureDistances | None


def read_inputs(run_dir: Path, rung: RungSection | None = None) -> EvaluationInputs:
    """Reads them from a run folder whose supernet, and classifier where samples are judged, are trained."""
    config = judged_at(load_config(run_dir / "sweep.yaml"), rung)
    distances = None
    if judged_objectives(config):
        distances = sweep_distances(config, classifier_extractor(load_classifier(run_dir / "features")))
    return EvaluationInputs(
        config,
        jax.tree.map(np.asarray, load_supernet(config, run_dir)),
        *held_out(config),
        distances,
    )


class SupernetEvaluator:
    """Measures the quality objectives of a sweep; each program compiles once, for all architectures."""

    def __init__(self, inputs: EvaluationInputs) -> None:
        """Prepares the programs; nothing is compiled yet."""
        config, prompts = inputs.config, inputs.prompts
        task, supernet = sweep_task(config), sweep_supernet(config)
        self._supernet = supernet
        self._parameters = jax.tree.map(jnp.asarray, inputs.parameters)
        self._losses = None
        if "denoising_loss" in config.objectives:
            self._losses = loss_program(task, supernet.apply, inputs.images, prompts, num_samples=config.quality.loss_samples)
        self._num_images = len(inputs.images)
        self._is_compiled = False
        self._judged = None  # samples drawn, the distances that measure them, and which of them
        if inputs.distances is not None:
            draw = sweep_samples(config, supernet.apply, prompts)
            self._judged = draw, inputs.distances, judged_objectives(config)

    def __call__(self, architecture: Architecture) -> dict[str, Estimate]:
        """Estimates by objective name."""
        route = jnp.asarray(self._supernet.route(architecture))
        estimates: dict[str, Estimate] = {}
        if self._losses is not None:
            losses = self._losses(self._parameters, route)
            estimates["denoising_loss"] = loss_estimate(losses, num_images=self._num_images)
        if self._judged is not None:
            draw, distances, names = self._judged
            estimates |= distances.measure(draw(self._parameters, route), names)
        if not self._is_compiled:
            trim_memory()  # the first call compiled
            self._is_compiled = True
        return estimates


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
