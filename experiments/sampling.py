"""Draws images with the network of a bundle."""

import difflib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from experiments.bundle import Bundle, apply_network, check_has_data, read_bundle, with_settings
from experiments.control_file import condition_of, following, read_control
from experiments.data import DatasetInfo, Example, image_grid, prompt_tokens
from experiments.data.image_grid import check_picture
from experiments.data.splits import ALL
from experiments.denoising_task import all_examples, open_examples
from experiments.errors import InputError
from experiments.lora_file import with_lora
from experiments.memory import keep_freed_memory
from experiments.quality import Apply, SampleSettings, sample_program
from experiments.whole_files import naming

_GRID_COLUMNS = 10
_LEAST_PICTURE_PIXELS = 32


def draw_images(bundle: Bundle, prompts: np.ndarray, *, num: int, seed: int) -> Float[np.ndarray, "n height width channels"]:
    """So many images, image i for prompt i counted round, as the bundle's settings say."""
    return sampler_of(bundle, prompts, num=num, seed=seed)(bundle.parameters)


def sampler_of(
    bundle: Bundle, prompts: np.ndarray, *, num: int, seed: int, apply: Apply | None = None
) -> Callable[..., Float[np.ndarray, "n height width channels"]]:
    """A compiled `(parameters, *extra) -> images`, as `draw_images`; `apply` runs another network than the bundle's alone."""
    keep_freed_memory()
    settings, apply = bundle.settings, apply or functools.partial(apply_network, bundle.network())
    how = SampleSettings(num, settings.sample_steps, settings.sampler, settings.guidance_scale)
    return sample_program(bundle.task, apply, prompts, how, seed=seed)


def grid_drawer(bundle: Bundle, *, seed: int, num: int = 40) -> Callable[[dict[str, Any], Path], Path]:
    """A function (parameters, file) that draws the same noise and prompts with other weights of a bundle, as one grid."""
    draw = sampler_of(bundle, _grid_prompts(bundle), num=num, seed=seed)
    return lambda parameters, out: save_grid(draw(parameters), out)


def sample_bundle(
    path: Path,
    out: Path,
    num: int,
    *,
    seed: int = 0,
    prompts: Sequence[str] = (),
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    lora: Path | None = None,
    condition: Path | None = None,
) -> Path:
    """Draws images with a bundle's network and saves them as one grid.

    Args:
        path: the bundle.
        out: the picture.
        num: how many images.
        seed: of the noise.
        prompts: captions or names of classes, in turn; without any, every class, or the first prompts of the data set.
        num_steps: calls of the network; by default as `training.yaml` says.
        guidance_scale: by default as `training.yaml` says.
        lora: `lora.safetensors` of a bundle that was trained from this one, whose updates are added to the network.
        condition: a picture, whose condition the network follows by the plug-in of the bundle.

    Raises:
        InputError: the bundle is damaged or names no data set, the picture's name says no known format, a prompt is none of
            what its network has learned, it cannot be guided, the updates are not of this bundle, or as `read_control` and
            `condition_of`.
    """
    check_has_data(path)
    check_picture(out)
    asked = {"sample_steps": num_steps, "guidance_scale": guidance_scale}
    bundle = with_settings(read_bundle(path), **{key: value for key, value in asked.items() if value is not None})
    if bundle.settings.guidance_scale != 1.0:
        check_can_be_guided(bundle, otherwise="--guidance 1")
    bundle = with_lora(bundle, path, lora) if lora else bundle
    encoded = _encoded(bundle, prompts) if prompts else _grid_prompts(bundle)
    if condition is None:
        return save_grid(draw_images(bundle, encoded, num=num, seed=seed), out)
    name, plug_in = read_control(path)
    follow = following(bundle, condition_of(bundle, condition, name))
    return save_grid(sampler_of(bundle, encoded, num=num, seed=seed, apply=follow)(bundle.parameters, plug_in), out)


def shown_split(info: DatasetInfo) -> str:
    """What pictures of a training are drawn for: the validation split, and of a set that has none the training images."""
    return "validation" if info.split_sizes.get("validation") else "train"


def check_can_be_guided(bundle: Bundle, *, otherwise: str) -> None:
    """Raises InputError where a network was trained with a prompt always, so that it predicts nothing without one."""
    if bundle.settings.prompt_dropout == 0:
        raise InputError(
            f"network {bundle.architecture.digest}: prompt_dropout is 0 in its training.yaml, so that it cannot be guided; "
            f"use one that was trained with 0.1, or {otherwise}"
        )


def save_grid(images: Float[np.ndarray, "n height width channels"], out: Path) -> Path:
    """Saves images that a network drew as one grid, small ones enlarged."""
    if images.shape[-1] not in (1, 3):  # latents: show the first channel, there is no decoder here
        images = images[..., :1]
    enlarge = max(1, _LEAST_PICTURE_PIXELS // images.shape[1])
    grid = image_grid(np.clip(images, -1, 1), columns=_GRID_COLUMNS, scale=enlarge)
    out.parent.mkdir(parents=True, exist_ok=True)
    with naming(out):
        grid.save(out)
    return out


def _encoded(bundle: Bundle, prompts: Sequence[str]) -> np.ndarray:
    scale, info = bundle.task.scale, open_examples(bundle.data, bundle.task.scale, split=ALL).info
    return np.stack([prompt_tokens(_prompted(prompt, info), scale.context_length, words=info.words) for prompt in prompts])


def _prompted(prompt: str, info: DatasetInfo) -> Example:
    if info.context_shape is not None:
        raise InputError(f"prompt {prompt!r}: data set {info.name!r} holds prompts that are encoded already; leave it out")
    if info.has_captions:
        return {"caption": prompt}
    names = info.label_names or tuple(map(str, range(info.num_classes or 0)))
    if prompt in names:
        return {"label": names.index(prompt)}
    nearest = difflib.get_close_matches(prompt, names, n=1, cutoff=0)
    remedy = f"did you mean {nearest[0]!r}?" if nearest else "it has no prompts; leave it out"
    raise InputError(f"prompt {prompt!r} is no class of data set {info.name!r}; {remedy}")


def _grid_prompts(bundle: Bundle) -> np.ndarray:
    """One prompt for each column: the classes in order, or the first prompts of what is shown."""
    task = bundle.task
    info = open_examples(bundle.data, task.scale, split=ALL).info
    if info.num_classes is None or info.has_captions or not task.scale.vocabulary:
        dataset = open_examples(bundle.data, task.scale, split=shown_split(info))
        return all_examples(dataset.at(range(min(len(dataset), _GRID_COLUMNS))), task.scale)[1]
    labels = range(info.num_classes)
    return np.stack([prompt_tokens({"label": label}, task.scale.context_length) for label in labels])
