"""Cheap measures of an architecture with shared weights, from which its quality when trained alone is to be told.

Two rungs: R0, the denoising loss by bands of noise levels (milliseconds), and R1, what 256 samples are like (about a second):
how far each is from the sample that the largest subnet draws from the same noise, and how far all of them are from the data.
Noise, times and prompts are the same for every architecture.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.config import SweepConfig, with_samples
from experiments.evaluator import sweep_samples
from experiments.quality import FeatureDistances, loss_program
from experiments.supernet_training import sweep_supernet, sweep_task
from objectives.denoising import mid_band_times
from objectives.features import features
from objectives.frechet import frechet_distance, gaussian_statistics
from objectives.sliced_wasserstein import sliced_wasserstein
from search_space import Architecture

R1 = ("paired_distance", "sliced_wasserstein", "frechet")
NUM_LOSSES, NUM_SAMPLES = 1920, 256


@dataclasses.dataclass(frozen=True, eq=False)
class Losses:
    """Denoising losses of one architecture, and the noise level (time) of each."""

    values: Float[np.ndarray, " n"]
    times: Float[np.ndarray, " n"]

    def mean(self, low: float, high: float) -> float:
        """Over the levels from `low` up to `high`."""
        return float(self.values[(low <= self.times) & (self.times < high)].mean())


class Proxies:
    """Measures architectures of a sweep; each program compiles once."""

    def __init__(
        self, config: SweepConfig, shared: Any, images: np.ndarray, prompts: np.ndarray, distances: FeatureDistances
    ) -> None:
        """Draws the samples of the largest subnet, to which the others are compared.

        Args:
            config: of the sweep.
            shared: the supernet's parameters and its prompt encoder's.
            images: held out.
            prompts: of the images.
            distances: of samples to the data.
        """
        self._supernet, self._distances = sweep_supernet(config), distances
        self._times = np.asarray(mid_band_times(NUM_LOSSES, 0.0, 1.0))
        self._losses = loss_program(
            sweep_task(config), self._supernet.apply, images, prompts, num_samples=NUM_LOSSES, band=(0.0, 1.0)
        )
        self._draw = sweep_samples(with_samples(config, NUM_SAMPLES), self._supernet.apply, prompts)
        self._of_largest = self._features(shared, self._supernet.space.largest())
        self._spread = float(np.sum(np.var(distances.reference, axis=0)))

    def losses(self, parameters: Any, architecture: Architecture) -> Losses:
        """R0: losses at noise levels spread evenly from none to all."""
        return Losses(self._losses(parameters, jnp.asarray(self._supernet.route(architecture))), self._times)

    def sampled(self, parameters: Any, architecture: Architecture) -> dict[str, float]:
        """R1: by name, in the features of the distances.

        `paired_distance` is the mean squared distance to the largest subnet's sample from the same noise, in units of the
        variance of the data; the others are distances of all samples to the data.
        """
        found, reference = self._features(parameters, architecture), self._distances.reference
        return {
            "paired_distance": float(np.mean(np.sum((found - self._of_largest) ** 2, axis=1))) / self._spread,
            "sliced_wasserstein": sliced_wasserstein(found, reference),
            "frechet": frechet_distance(gaussian_statistics(found), self._distances.statistics),
        }

    def _features(self, parameters: Any, architecture: Architecture) -> np.ndarray:
        samples = self._draw(parameters, jnp.asarray(self._supernet.route(architecture)))
        return features(self._distances.classifier, jnp.asarray(np.clip(samples, -1, 1)))
