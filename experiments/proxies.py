"""Cheap measures of an architecture with shared weights, from which its quality when trained alone is to be told.

Two rungs: R0, the denoising loss by noise level (a tenth of a second), and R1, what a few hundred samples are like: how far
each is from the sample that the largest subnet draws from the same noise, and how far all of them are from the data.
Noise, times and prompts are the same for every architecture.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.config import SweepConfig
from experiments.errors import InputError
from experiments.quality import FeatureDistances, UnusableSamplesError, loss_program
from experiments.supernet_training import sweep_supernet, sweep_task
from experiments.sweep_sampling import sweep_samples
from objectives.denoising import mid_band_times
from objectives.frechet import frechet_distance, gaussian_statistics
from objectives.sliced_wasserstein import sliced_wasserstein
from search_space import Architecture

LEVELS = 20  # of noise, from none to all
SAMPLED = ("paired_distance", "sliced_wasserstein", "frechet")
_LOSSES_PER_LEVEL = 128  # two chunks: a band of three levels takes a fifth of what 256 samples in eight steps take


@dataclasses.dataclass(frozen=True)
class ProxyValues:
    """What one architecture shows.

    Attributes:
        losses: R0, mean denoising loss at each level of noise that is looked at.
        sampled: R1, by name, in the features of the distances: `paired_distance` is the mean squared distance to the sample
            that the largest subnet draws from the same noise by the shared weights, in units of the variance of the data;
            `sliced_wasserstein` and `frechet` are distances of all samples to the data.
    """

    losses: Sequence[float]
    sampled: dict[str, float]


class Proxies:
    """Measures architectures of a sweep; each program compiles once."""

    def __init__(
        self,
        config: SweepConfig,
        shared: Any,
        images: np.ndarray,
        prompts: np.ndarray,
        distances: FeatureDistances,
        *,
        levels: range = range(LEVELS),
    ) -> None:
        """Draws the samples of the largest subnet, to which the others are compared.

        Args:
            config: of the sweep.
            shared: the supernet's parameters and its prompt encoder's.
            images: held out.
            prompts: of the images.
            distances: of samples to the data.
            levels: of noise that are looked at; what is seen at one does not depend on which others are.

        Raises:
            InputError: the largest subnet draws nothing that others can be compared to.
        """
        self._supernet, self._distances = sweep_supernet(config), distances
        times = [mid_band_times(_LOSSES_PER_LEVEL, level / LEVELS, (level + 1) / LEVELS) for level in levels]
        self._losses = loss_program(
            sweep_task(config), self._supernet.apply, images, prompts, times=np.concatenate(times),
            first_sample=levels.start * _LOSSES_PER_LEVEL,
        )  # fmt: skip
        self._draw = sweep_samples(config, self._supernet.apply, prompts)
        try:
            self._of_largest = self._features(shared, self._supernet.space.largest())
        except UnusableSamplesError as error:
            raise InputError(f"the largest subnet, to which others are compared: {error}") from None
        self._spread = float(np.sum(np.var(distances.reference, axis=0)))

    def __call__(self, parameters: Any, architecture: Architecture) -> ProxyValues:
        """Both rungs."""
        return ProxyValues(self.losses(parameters, architecture), self.sampled(parameters, architecture))

    def losses(self, parameters: Any, architecture: Architecture) -> list[float]:
        """R0."""
        losses = self._losses(parameters, jnp.asarray(self._supernet.route(architecture)))
        return losses.reshape(-1, _LOSSES_PER_LEVEL).mean(axis=1).tolist()

    def sampled(self, parameters: Any, architecture: Architecture) -> dict[str, float]:
        """R1.

        Raises:
            UnusableSamplesError: samples are not finite, or all are the same image.
        """
        found, reference = self._features(parameters, architecture), self._distances.reference
        values = (
            float(np.mean(np.sum((found - self._of_largest) ** 2, axis=1))) / self._spread,
            sliced_wasserstein(found, reference),
            frechet_distance(gaussian_statistics(found), self._distances.statistics),
        )
        return dict(zip(SAMPLED, values, strict=True))

    def _features(self, parameters: Any, architecture: Architecture) -> np.ndarray:
        return self._distances.features_of(self._draw(parameters, jnp.asarray(self._supernet.route(architecture))))
