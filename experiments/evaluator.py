"""The evaluator of a sweep: quality of any architecture of the space, with the weights that the supernet holds for it."""

from pathlib import Path

import jax.numpy as jnp

from experiments.config import SweepConfig, load_config
from experiments.denoising_task import all_examples, load_examples
from experiments.feature_training import load_classifier
from experiments.memory import trim_memory
from experiments.quality import FeatureDistances, SampleSettings, loss_estimate, loss_program, mixed, sample_program
from experiments.sample_features import judged_objectives, labelled_images
from experiments.supernet_training import load_supernet, sweep_supernet, sweep_task
from objectives import Estimate
from search_space import Architecture


def sample_settings(config: SweepConfig) -> SampleSettings:
    """How a sweep draws samples."""
    quality = config.quality
    return SampleSettings(quality.num_samples, quality.num_steps, quality.sampler, quality.guidance_scale)


class SupernetEvaluator:
    """Measures the quality objectives of a sweep; each program compiles once, for all architectures."""

    def __init__(self, run_dir: str | Path) -> None:
        """Loads what a finished run folder holds: settings, supernet, and the classifier where samples are judged."""
        run_dir = Path(run_dir)
        config = load_config(run_dir / "sweep.yaml")
        task, supernet = sweep_task(config), sweep_supernet(config)
        self._supernet = supernet
        self._parameters = load_supernet(config, run_dir)
        images, prompts = all_examples(load_examples(config.data, task.scale, split="validation"), task.scale)
        self._losses = loss_program(task, supernet.apply, images, prompts, num_samples=config.quality.loss_samples)
        self._num_images = len(images)
        self._draw = None
        self._is_compiled = False
        if judged_objectives(config):
            self._draw = sample_program(task, supernet.apply, prompts[mixed(len(prompts))], sample_settings(config))
            self._distances = FeatureDistances(load_classifier(run_dir / "features"), labelled_images(config).images)

    def __call__(self, architecture: Architecture) -> dict[str, Estimate]:
        """Estimates by objective name."""
        route = jnp.asarray(self._supernet.route(architecture))
        estimates = {"denoising_loss": loss_estimate(self._losses(self._parameters, route), num_images=self._num_images)}
        if self._draw is not None:
            estimates |= self._distances.measure(self._draw(self._parameters, route))
        if not self._is_compiled:
            trim_memory()  # the first call compiled
            self._is_compiled = True
        return estimates
