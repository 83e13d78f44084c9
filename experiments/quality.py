"""Quality of a network: denoising loss at medium noise, and samples with their distance to the data, all with intervals.

Sample i has its own noise, time and prompt, whatever is compared and in whatever batches: differences between networks are
differences of the networks.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from diffusion import get_sampler, guided_denoiser, sample_noise
from experiments.denoising_task import DenoisingTask
from objectives import Estimate
from objectives.denoising import denoising_loss, mean_estimate
from objectives.extractor import CLASSIFIER, FeatureExtractor, MeasureNames, array_digest, features
from objectives.fingerprint import fingerprint
from objectives.frechet import GaussianStatistics, frechet_jackknife, gaussian_statistics
from objectives.jackknife import Jackknifed
from objectives.mmd import KernelReference, gaussian_kernel, kernel_jackknife, median_bandwidth
from supernet.training import COMPILER_OPTIONS

_OF_CLASSIFIER = MeasureNames.of(CLASSIFIER)
SAMPLE_OBJECTIVES = (_OF_CLASSIFIER.frechet, _OF_CLASSIFIER.kid)
_CHUNK = 64  # samples that are computed together: rounding depends on it
_LOSS_SEED, _SAMPLE_SEED = 101, 202
# (network parameters, noisy images, time steps, contexts, anything more such as a route) to a prediction.
Apply = Callable[..., Array]


@dataclasses.dataclass(frozen=True)
class SampleSettings:
    """How samples are drawn: how many, in how many steps, with which sampler and guidance."""

    num_samples: int
    num_steps: int
    sampler: str
    guidance_scale: float


def loss_program(
    task: DenoisingTask,
    apply: Apply,
    images: np.ndarray,
    prompts: np.ndarray,
    *,
    times: Float[np.ndarray | Array, " n"],
    first_sample: int = 0,
    chunk: int = _CHUNK,
) -> Callable[..., Float[np.ndarray, " n"]]:
    """A compiled `(parameters, *extra) -> losses`: the denoising loss of one sample at each of the times.

    Sample i, counted from `first_sample`, is the i-th image of a fixed shuffle (counted round), with the i-th noise.
    """
    index = first_sample + np.arange(len(times))
    order = mixed(len(images))[index % len(images)]
    x0, prompt = jnp.asarray(images[order]), jnp.asarray(prompts[order])
    eps, t = sample_noise(_LOSS_SEED, jnp.asarray(index), x0.shape[1:]), jnp.asarray(times)

    def losses(parameters: Any, part: tuple[Array, ...], *extra: Any) -> Array:
        x0, prompt, eps, t = part
        return denoising_loss(
            lambda x, timestep, context: apply(parameters["network"], x, timestep, context, *extra),
            x0, eps=eps, t=t, context=task.encode(parameters["prompt"], prompt), schedule=task.schedule,
            parameterisation=task.parameterisation,
        )  # fmt: skip

    return _in_chunks(losses, (x0, prompt, eps, t), chunk=chunk)


def sample_program(
    task: DenoisingTask,
    apply: Apply,
    prompts: np.ndarray,
    settings: SampleSettings,
    *,
    seed: int = _SAMPLE_SEED,
    chunk: int = _CHUNK,
) -> Callable[..., Float[np.ndarray, "n height width channels"]]:
    """A compiled `(parameters, *extra) -> images`: sample i follows prompt i, counted round, from the i-th noise."""
    scale, index = task.scale, np.arange(settings.num_samples)
    noise = sample_noise(seed, jnp.asarray(index), (scale.resolution, scale.resolution, scale.in_channels))
    sampler = get_sampler(settings.sampler)

    def draw(parameters: Any, part: tuple[Array, ...], *extra: Any) -> Array:
        noise, prompt = part
        denoiser = guided_denoiser(
            lambda x, timestep, context: apply(parameters["network"], x, timestep, context, *extra),
            task.encode(parameters["prompt"], prompt),
            null_context=task.encode(parameters["prompt"], jnp.zeros_like(prompt)),
            guidance_scale=settings.guidance_scale,
        )
        return sampler(
            denoiser, noise, schedule=task.schedule, parameterisation=task.parameterisation, num_steps=settings.num_steps
        )

    return _in_chunks(draw, (noise, jnp.asarray(prompts[index % len(prompts)])), chunk=chunk)


class UnusableSamplesError(ValueError):
    """Samples that no distance can be taken of: a search takes the architecture as failed, a measurement stops."""


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureDistances:
    """Distances of samples to the data in the features of one extractor.

    Attributes:
        extractor: whose features.
        reference: features of the data.
        is_latent: the data are latents, which may lie anywhere; samples of images are clipped to [-1, 1].
    """

    extractor: FeatureExtractor
    reference: Float[np.ndarray, "n width"]
    is_latent: bool = False

    @staticmethod
    def to(
        images: Float[np.ndarray, "n height width channels"], extractor: FeatureExtractor, *, is_latent: bool = False
    ) -> "FeatureDistances":
        """Distances to these images, or latents."""
        return FeatureDistances(extractor, features(extractor, images), is_latent)

    @property
    def names(self) -> MeasureNames:
        """What the distances are called."""
        return MeasureNames.of(self.extractor.name)

    @cached_property
    def statistics(self) -> GaussianStatistics:
        """Of the images' features."""
        return gaussian_statistics(self.reference)

    @cached_property
    def _mixed(self) -> Float[np.ndarray, "n width"]:
        """The reference in an order that blocks can be cut from."""
        return self.reference[mixed(len(self.reference))]

    @cached_property
    def _kernel_reference(self) -> KernelReference:
        return KernelReference.of(self._mixed)

    @cached_property
    def _gaussian_reference(self) -> KernelReference:
        return KernelReference.of(self._mixed, kernel=gaussian_kernel(median_bandwidth(self._mixed)))

    @cached_property
    def reference_digest(self) -> str:
        """Of the data's features."""
        return array_digest({"reference": self.reference})

    def features_of(self, samples: Float[np.ndarray, "n height width channels"]) -> Float[np.ndarray, "n features"]:
        """Features of samples, which are clipped to [-1, 1] if they are images.

        Raises:
            UnusableSamplesError: a sample or its features are not finite, or all are the same image.
            ValueError: they have another shape than the extractor takes.
        """
        bad = np.flatnonzero(~np.isfinite(samples).all(axis=(1, 2, 3)))
        if len(bad):
            raise UnusableSamplesError(
                f"{len(bad)} of {len(samples)} samples hold numbers that are not finite, the first is sample {bad[0]}: the "
                "network diverged; train it longer, or with a lower learning rate"
            )
        samples = samples if self.is_latent else np.clip(samples, -1, 1)
        if len(samples) > 1 and (samples == samples[0]).all():
            raise UnusableSamplesError(
                f"all {len(samples)} samples are one image, which have no spread to measure: the network ignores its noise; "
                "train it longer"
            )
        found = features(self.extractor, samples)
        bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(bad):
            raise UnusableSamplesError(
                f"extractor {self.extractor.name!r} has features that are not finite of {len(bad)} of {len(samples)} samples, "
                f"the first is sample {bad[0]}; train the network longer, or mend the extractor"
            )
        return found

    def jackknifed(self, samples: np.ndarray, measures: Sequence[str] | None = None) -> dict[str, Jackknifed]:
        """Fréchet distance, kernel distance with a cubic and with a Gaussian kernel, or some of them, by name.

        Raises:
            UnusableSamplesError: a sample is not finite, or all are the same image.
            ValueError: there are too few samples, or they have another shape than the extractor takes.
        """
        found, names = self.features_of(samples), self.names
        known = {
            names.frechet: lambda: frechet_jackknife(found, reference=self.statistics),
            names.kid: lambda: kernel_jackknife(found, reference=self._kernel_reference),
            names.mmd: lambda: kernel_jackknife(found, reference=self._gaussian_reference),
        }
        return {
            name: dataclasses.replace(known[name](), fingerprint=self._fingerprint(name, len(samples)))
            for name in (known if measures is None else measures)
        }

    def measure(self, samples: np.ndarray, measures: Sequence[str] | None = None) -> dict[str, Estimate]:
        """The same with their intervals."""
        return {name: jackknifed.estimate() for name, jackknifed in self.jackknifed(samples, measures).items()}

    def _fingerprint(self, measure: str, n: int) -> str:
        of_latents = {"clipped": False} if self.is_latent else {}
        return fingerprint(**self.extractor.settings(), reference=self.reference_digest, measure=measure, n=n, **of_latents)


def loss_estimate(losses: Float[np.ndarray, " n"], *, num_images: int) -> Estimate:
    """The mean denoising loss; losses of one image are no independent observations, and are averaged first."""
    return mean_estimate(image_losses(losses, num_images=num_images))


def image_losses(losses: Float[np.ndarray, " n"], *, num_images: int) -> Float[np.ndarray, " images"]:
    """The mean loss on each image; sample i is of image i, counted round."""
    of_image = np.arange(len(losses)) % num_images
    return np.bincount(of_image, weights=losses) / np.bincount(of_image)


def mixed(n: int) -> np.ndarray:
    """A fixed shuffle of n positions: data sets may be stored class by class."""
    return np.random.default_rng(_LOSS_SEED).permutation(n)


def _in_chunks(function: Callable[..., Array], data: tuple[Array, ...], *, chunk: int) -> Callable[..., np.ndarray]:
    """A function of `(parameters, *extra)` that maps a function of `(parameters, batch, *extra)` over the data.

    A fixed number of samples at a time on each device of this process, the last chunks filled up: one program however many
    samples there are, and the same numbers to the bit however many devices.
    """
    devices = jax.local_devices()
    size = chunk * len(devices)
    num, missing = len(data[0]), -len(data[0]) % size
    filled = [jnp.concatenate([x, jnp.repeat(x[:1], missing, 0)]) for x in data]
    chunks = [tuple(x[start : start + size] for x in filled) for start in range(0, num, size)]
    of_each = lambda parameters, part, extra: function(parameters, part, *extra)  # noqa: E731
    mesh = Mesh(np.array(devices), ("samples",))
    if len(devices) > 1:
        everywhere, split = PartitionSpec(), PartitionSpec("samples")
        of_each = jax.shard_map(
            of_each, mesh=mesh,
            in_specs=(everywhere, split, everywhere), out_specs=split, check_vma=False,
        )  # fmt: skip
    compiled = jax.jit(of_each, compiler_options=COMPILER_OPTIONS)

    def mapped(parameters: Any, *extra: Any) -> np.ndarray:
        if len(devices) > 1:
            parameters, extra = jax.device_put((parameters, extra), NamedSharding(mesh, PartitionSpec()))
        return np.concatenate([compiled(parameters, part, extra) for part in chunks])[:num]

    return mapped
