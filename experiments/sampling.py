"""Draws images with the network of a bundle."""

import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float

from experiments.bundle import Bundle, apply_network, check_has_data, read_bundle
from experiments.data import image_grid
from experiments.denoising_task import all_examples, load_examples
from experiments.quality import SampleSettings, sample_program

_GRID_COLUMNS = 10
_LEAST_PICTURE_PIXELS = 32


def draw_images(bundle: Bundle, prompts: np.ndarray, *, num: int, seed: int) -> Float[np.ndarray, "n height width channels"]:
    """So many images, image i for prompt i counted round, as the bundle's settings say."""
    settings, apply = bundle.settings, functools.partial(apply_network, bundle.network())
    how = SampleSettings(num, settings.sample_steps, settings.sampler, settings.guidance_scale)
    return sample_program(bundle.task, apply, prompts, how, seed=seed)(bundle.parameters)


def sample_bundle(path: Path, out: Path, num: int, *, seed: int = 0) -> Path:
    """Draws images with a bundle's network and saves them as one grid; every class, or the first prompts, in turn."""
    check_has_data(path)
    bundle = read_bundle(path)
    images = draw_images(bundle, _grid_prompts(bundle), num=num, seed=seed)
    return save_grid(images, out)


def save_grid(images: Float[np.ndarray, "n height width channels"], out: Path) -> Path:
    """Saves images that a network drew as one grid, small ones enlarged."""
    if images.shape[-1] not in (1, 3):  # latents: show the first channel, there is no decoder here
        images = images[..., :1]
    enlarge = max(1, _LEAST_PICTURE_PIXELS // images.shape[1])
    grid = image_grid(np.clip(images, -1, 1), columns=_GRID_COLUMNS, scale=enlarge)
    out.parent.mkdir(parents=True, exist_ok=True)
    grid.save(out)
    return out


def _grid_prompts(bundle: Bundle) -> np.ndarray:
    """One prompt for each column: the classes in order, or the first prompts of the validation split."""
    task = bundle.task
    dataset = load_examples(bundle.data, task.scale, split="validation")
    if dataset.info.num_classes is None or not task.scale.vocabulary:
        return all_examples(dataset, task.scale)[1][:_GRID_COLUMNS]
    tokens = np.zeros((dataset.info.num_classes, task.scale.context_length), np.int32)
    tokens[:, 0] = 1 + np.arange(dataset.info.num_classes)
    return tokens
