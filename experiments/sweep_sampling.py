"""What quality of a sweep's networks is measured on: held-out images, and samples drawn for their prompts."""

from collections.abc import Callable

import numpy as np

from experiments.config import SweepConfig
from experiments.denoising_task import all_examples, load_examples
from experiments.quality import Apply, SampleSettings, mixed, sample_program
from experiments.supernet_training import sweep_task


def sweep_samples(config: SweepConfig, apply: Apply, prompts: np.ndarray) -> Callable[..., np.ndarray]:
    """A compiled `(parameters, *extra) -> images` that draws as a sweep does, for held-out prompts."""
    quality = config.quality
    settings = SampleSettings(quality.num_samples, quality.num_steps, quality.sampler, quality.guidance_scale)
    return sample_program(sweep_task(config), apply, prompts[mixed(len(prompts))], settings)


def held_out(config: SweepConfig) -> tuple[np.ndarray, np.ndarray]:
    """The images that quality is measured on, and their prompts."""
    scale = sweep_task(config).scale
    return all_examples(load_examples(config.data, scale, split="validation"), scale)
