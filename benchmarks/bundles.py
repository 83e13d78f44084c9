"""Bundles that a benchmark makes once, and what they are judged by."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.bundle import Bundle, read_bundle, with_settings, write_bundle
from experiments.bundle_quality import bundle_loss, promise_split
from experiments.config import SweepConfig
from experiments.data.dataset import Attribute
from experiments.denoising_task import all_examples, load_examples
from experiments.distilling.distill import distill_bundle
from experiments.distilling.methods import METHODS
from experiments.handoff import training_settings
from experiments.progress import Progress
from experiments.quality import FeatureDistances
from experiments.sample_features import data_classifier, labelled_images, sweep_distances
from experiments.sampling import draw_images
from experiments.training import train_bundle, with_fresh_weights
from experiments.whole_files import write_whole
from objectives.agreement import agreement, attribute_values, read_attributes
from objectives.coverage import class_coverage, recall
from objectives.extractor import FeatureExtractor, features, function_extractor
from objectives.features import Classifier, classifier_extractor, logits
from search_space import Architecture

NUM_SAMPLES = 2000
PIXEL_FEATURES = 48


@dataclasses.dataclass(frozen=True)
class Bundles:
    """Where bundles are kept, and how they are made.

    Attributes:
        config: of the sweep whose data and space it is.
        folder: of all bundles.
        progress: where to report.
    """

    config: SweepConfig
    folder: Path
    progress: Progress

    def made(self, name: str, make: Callable[[Path], Any]) -> Path:
        """The bundle of a name, which is made once; `seconds.json` has the CPU time, unless an earlier process began it."""
        path = self.folder / name
        if not path.is_dir():
            begun, is_begun = time.process_time(), path.with_name(f"{name}.partial").exists()
            make(path)
            if not is_begun:
                (path / "seconds.json").write_text(json.dumps(time.process_time() - begun), "utf-8")
        return path

    def fresh(self, name: str, architecture: Architecture, seed: int, **settings: Any) -> Path:
        """A bundle of weights that were drawn."""

        def make(path: Path) -> None:
            bundle = Bundle(architecture, training_settings(self.config, "fresh weights"), {})
            write_bundle(path, with_fresh_weights(with_settings(bundle, **settings), seed), expected={}, card="")

        return self.made(name, make)

    def trained(self, name: str, source: Path, **keys: Any) -> Path:
        """A bundle that was trained on the data alone."""
        make = lambda path: train_bundle(source, progress=self.progress, out=path, **keys)  # noqa: E731
        return self.made(name, make)

    def distilled(self, name: str, source: Path, method: str, *, seed: int = 0, data: str | None = None, **keys: Any) -> Path:
        """A bundle that a method has distilled."""
        settings: Any = METHODS[method].settings.model_validate({"method": method, **keys})

        def make(path: Path) -> None:
            distill_bundle(source, settings, data=data, seed=seed, progress=self.progress, out=path)

        return self.made(name, make)


@dataclasses.dataclass(frozen=True, eq=False)
class Judge:
    """What images are judged by: features of a classifier, and pixels, which no method has learned from as such."""

    classifier: Classifier
    attributes: tuple[Attribute, ...]
    prompts: np.ndarray
    wanted: np.ndarray
    distances: dict[str, FeatureDistances]

    @classmethod
    def of(cls, bundles: Bundles, task: Any, *, features: Path | None = None) -> "Judge":
        """For the data of the bundles; `features` is the folder of a classifier, by default one beside them."""
        data = bundles.config.data
        classifier = data_classifier(
            features or bundles.folder / "features", data, task.scale, seed=0, num_steps=bundles.config.features.num_steps,
            progress=bundles.progress,
        )  # fmt: skip
        images = labelled_images(data, task.scale, seed=0).images
        held_out = load_examples(data, task.scale, split="test" if data == "digits" else "validation")
        _, prompts = all_examples(held_out, task.scale)
        labels = np.array([example["label"] for example in held_out])
        order = np.random.default_rng(0).permutation(len(prompts))
        index = order[np.arange(NUM_SAMPLES) % len(prompts)]
        extractors = {"classifier": classifier_extractor(classifier), "pixels": pixel_extractor(images)}
        distances = {name: sweep_distances(bundles.config, extractor) for name, extractor in extractors.items()}
        return cls(classifier, held_out.info.attributes, prompts[index], labels[index], distances)

    def measure(self, bundle: Bundle) -> dict[str, Any]:
        """Everything about a network, by name."""
        samples = np.clip(draw_images(bundle, self.prompts, num=NUM_SAMPLES, seed=7), -1, 1)
        found: dict[str, Any] = {"denoising_loss": bundle_loss(bundle, split=promise_split(bundle)).to_json()}
        for name, distances in self.distances.items():
            measure = f"frechet_{name}"
            found[measure] = distances.measure(samples, [measure])[measure].to_json()
            found[f"recall_{name}"] = recall(distances.reference, features(distances.extractor, samples))
        if self.attributes:
            names = tuple(attribute.name for attribute in self.attributes)
            sizes = tuple(len(attribute.values) for attribute in self.attributes)
            read = read_attributes(self.classifier, samples, sizes)
            agreed = agreement(read, attribute_values(self.wanted, sizes), names)
            found |= {name: jackknifed.estimate().to_json() for name, jackknifed in agreed.items()}
        else:
            read = np.asarray(logits(self.classifier, jnp.asarray(samples)))
            found["class_coverage"] = class_coverage(read.argmax(axis=1), self.wanted)
        return found


def pixel_extractor(images: np.ndarray) -> FeatureExtractor:
    """The largest principal components of the pixels of the training images."""
    flat = images.reshape(len(images), -1)
    centre = flat.mean(axis=0)
    _, _, axes = np.linalg.svd(flat - centre, full_matrices=False)
    parameters = (jnp.asarray(axes[:PIXEL_FEATURES].T), jnp.asarray(centre))
    return function_extractor("pixels", lambda p, x: (x.reshape(len(x), -1) - p[1][None]) @ p[0], parameters)


def measured_file(bundles: Bundles, name: str, num_steps: int, guidance: float = 1.0) -> Path:
    """Where `measured` keeps what it knows."""
    guided = "" if guidance == 1.0 else f"-guided-{guidance:g}"
    return bundles.folder / name / f"measured-{num_steps}{guided}.json"


def measured(bundles: Bundles, judge: Judge, name: str, num_steps: int, guidance: float = 1.0) -> dict[str, Any]:
    """What is known of a bundle when it samples in so many steps with so much guidance; measured once."""
    path = measured_file(bundles, name, num_steps, guidance)
    if not path.is_file():
        bundle = with_settings(read_bundle(bundles.folder / name), sample_steps=num_steps, guidance_scale=guidance)
        write_whole(path, json.dumps(judge.measure(bundle)))
    return json.loads(path.read_text("utf-8"))
