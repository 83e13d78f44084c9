"""Do adapters work on a network of one step? LoRA learns a style, a plug-in makes it follow edges; on digits, with intervals.

From the students that `bench_distillation.py` keeps. The style is italics: digits whose rows are moved, written as a folder of
images. What was not trained on judges: validation and test images, of the style, and for their edges.
"""

import argparse
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench_distillation import Bench, write_images
from record import show, single, write_result

from diffusion import sample_noise
from experiments.bundle import Bundle, read_bundle
from experiments.config import load_config
from experiments.control_file import controlled_apply, read_control
from experiments.denoising_task import all_examples, load_examples
from experiments.distilling.noised import denoised
from experiments.progress import terminal_progress
from experiments.quality import FeatureDistances
from experiments.sample_features import data_classifier
from experiments.sampling import draw_images
from objectives.conditions import CONDITIONS, correlation
from objectives.denoising import mean_estimate
from objectives.features import Classifier, classifier_extractor, logits

DATA, CONDITION = "digits", "edges"
STUDENTS = ("adversarial", "ufogen")
HELD_OUT = ("validation", "test")
SLANT = 0.4  # pixels that a row is moved further than the one below it
LORA_UPDATES, CONTROL_UPDATES = 600, 600
LORA: dict[str, Any] = {"lora_rank": 4, "learning_rate": 1e-3, "discriminator_rate": 0.6}
WHOLE: dict[str, Any] = {"learning_rate": 1e-4, "discriminator_rate": 6.0}  # all weights, for as many updates
NUM_SAMPLES = 2000


def slanted(images: np.ndarray) -> np.ndarray:
    """Italics: images [n, height, width, channels] with each row moved, between pixels linearly."""
    _, height, width, _ = images.shape
    moved = np.empty_like(images)
    for row in range(height):
        places = np.clip(np.arange(width) - SLANT * ((height - 1) / 2 - row), 0, width - 1)
        below = np.minimum(places.astype(int), width - 2)
        share = (places - below).astype(images.dtype)[:, None]
        moved[:, row] = (1 - share) * images[:, row, below] + share * images[:, row, below + 1]
    return moved


def split_of(data: str, task: Any, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, prompts and labels of a split."""
    dataset = load_examples(data, task.scale, split=split)
    return (*all_examples(dataset, task.scale), np.array([example["label"] for example in dataset]))


def held_out(data: str, task: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of all splits that nothing was trained on."""
    images, prompts, labels = zip(*(split_of(data, task, split) for split in HELD_OUT), strict=True)
    return np.concatenate(images), np.concatenate(prompts), np.concatenate(labels)


def agreement(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Share of images that are read as what was asked for."""
    read = np.asarray(logits(classifier, jnp.asarray(np.clip(images, -1, 1)))).argmax(axis=1)
    return single(mean_estimate((read == labels).astype(float)).to_json())


def style_numbers(bench: Bench, student: str) -> dict[str, Any]:
    """A student that learns the style by low-rank updates, by all weights, and not at all."""
    task = read_bundle(bench.folder / student).task
    style = bench.folder / "italics"
    bench.made("italics", functools.partial(write_images, bench, change=slanted))
    judge = data_classifier(
        bench.folder / "italics-features", str(style), task.scale, seed=0, num_steps=bench.config.features.num_steps,
        progress=bench.progress,
    )  # fmt: skip
    images, prompts, labels = held_out(str(style), task)
    distances = FeatureDistances.to(images, classifier_extractor(judge))
    index = np.random.default_rng(0).permutation(len(prompts))[np.arange(NUM_SAMPLES) % len(prompts)]
    made = {"unadapted": bench.folder / student}
    for name, keys in (("lora", LORA), ("whole", WHOLE)):
        keys = {**keys, "teacher": bench.base(), "updates": LORA_UPDATES, "data": str(style)}
        made[name] = bench.distilled(f"{student}-italics-{name}", bench.folder / student, "ufogen", **keys)
    numbers = {f"{student}_style_real_agreement": agreement(judge, images, labels)}
    for name, path in made.items():
        samples = draw_images(read_bundle(path), prompts[index], num=NUM_SAMPLES, seed=7)
        found = distances.measure(samples, ["frechet_classifier"])["frechet_classifier"]
        numbers[f"{student}_style_{name}_frechet"] = single(found.to_json())
        numbers[f"{student}_style_{name}_agreement"] = agreement(judge, samples, labels[index])
    weights, lora = (made["lora"] / f"{name}.safetensors" for name in ("weights", "lora"))
    numbers[f"{student}_lora_bytes_share"] = single(lora.stat().st_size / weights.stat().st_size)
    return numbers


def control_numbers(bench: Bench, student: str) -> dict[str, Any]:
    """A student that follows edges of held-out images by a plug-in, and without it from the same noise."""
    keys: dict[str, Any] = {"condition": CONDITION, "teacher": bench.base(), "updates": CONTROL_UPDATES}
    path = bench.distilled(f"{student}-control", bench.folder / student, "control", **keys)
    bundle = read_bundle(path)
    judge = data_classifier(
        bench.folder / "features", DATA, bundle.task.scale, seed=0, num_steps=bench.config.features.num_steps,
        progress=bench.progress,
    )  # fmt: skip
    images, prompts, labels = held_out(DATA, bundle.task)
    edges = CONDITIONS[CONDITION]
    wanted = np.asarray(edges(jnp.asarray(images)))
    drawn = {
        "without": draw_images(bundle, prompts, num=len(prompts), seed=7),
        "control": controlled_images(bundle, path, prompts, wanted, seed=7),
    }
    distances = FeatureDistances.to(split_of(DATA, bundle.task, "train")[0], classifier_extractor(judge))
    numbers = {f"{student}_control_real_agreement": agreement(judge, images, labels)}
    for name, samples in drawn.items():
        found = correlation(np.asarray(edges(jnp.asarray(np.clip(samples, -1, 1)))), wanted)
        numbers[f"{student}_{name}_correlation_of_edges"] = single(mean_estimate(found).to_json())
        numbers[f"{student}_{name}_agreement"] = agreement(judge, samples, labels)
        frechet = distances.measure(samples, ["frechet_classifier"])["frechet_classifier"]
        numbers[f"{student}_{name}_frechet"] = single(frechet.to_json())
    return numbers


def controlled_images(bundle: Bundle, path: Path, prompts: np.ndarray, conditions: np.ndarray, *, seed: int) -> np.ndarray:
    """One image for each prompt and condition, in one step, from the noise that `draw_images` starts from."""
    task, (_, plug_in) = bundle.task, read_control(path)
    apply = controlled_apply(bundle, conditions.shape[-1])

    def of_plug_in(network: Any, x: Any, timestep: Any, context: Any) -> Any:
        return apply(network, plug_in, x, timestep, context, jnp.asarray(conditions))

    scale, n = task.scale, len(prompts)
    noise = sample_noise(seed, jnp.arange(n), (scale.resolution, scale.resolution, scale.in_channels))
    draw = jax.jit(
        lambda parameters: denoised(task, of_plug_in, parameters, noise, t=jnp.ones(n), prompts=jnp.asarray(prompts))
    )
    return np.asarray(draw(bundle.parameters))


def main() -> None:
    """Trains what is not there yet, measures all of it, and writes what came out."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    numbers: dict[str, Any] = {}
    with terminal_progress() as progress:
        bench = Bench(load_config(DATA), Path("runs") / "distillation" / DATA, progress)
        for student in STUDENTS:
            numbers |= style_numbers(bench, student) | control_numbers(bench, student)
    path = write_result(
        f"adapters_{DATA}",
        shows=f"Adapters of one-step students on {DATA}. LoRA (rank {LORA['lora_rank']}, {LORA_UPDATES} updates of UFOGen) on "
        "digits in italics: Frechet distance to held-out ones in the features of their classifier, and share of samples that "
        "it reads as what was asked for, beside the student as it was and training of all weights. A plug-in for edges "
        f"({CONTROL_UPDATES} updates): correlation of the samples' edges with those of held-out digits that were asked for, "
        "beside the same noise without it.",
        command="python benchmarks/bench_adapters.py",
        numbers=numbers,
    )
    show(path, numbers)


if __name__ == "__main__":
    main()
