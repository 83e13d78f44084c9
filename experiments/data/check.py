"""What was understood of a data set, said in words and shown as a grid, before anything is trained on it."""

import dataclasses
import os
import pathlib

import numpy as np

from experiments.data.dataset import DatasetInfo
from experiments.data.folder import MixedSizesError
from experiments.data.image_grid import check_picture, image_grid
from experiments.data.loading import load_dataset
from experiments.data.splits import ALL
from experiments.data.tally import Tally, count_examples
from experiments.errors import InputError

GRID_COLUMNS = 8
GRID_SIDE = 512  # the grid is enlarged while it stays below this many pixels
PREVIEW_RESOLUTION = 64
MAX_LISTED = 10
LATENT_SPREAD = (0.5, 2.0)  # a standard deviation outside these is far from the unit variance that training expects


@dataclasses.dataclass(frozen=True)
class DatasetCheck:
    """What was found out about a data set.

    Attributes:
        report: for people, lines of text; every example that cannot be read is among them.
        refusal: names the first example that cannot be read, the remedy, and how many more there are; None where all can.
    """

    report: str
    refusal: str | None


def check_dataset(
    name_or_dir: str | os.PathLike[str],
    *,
    grid_path: str | os.PathLike[str],
    resolution: int | None = None,
    channels: int | None = None,
) -> DatasetCheck:
    """Reads a data set (all its splits, up to 10,000 examples spread over it), draws a grid of up to 64, and reports.

    Images of several sizes are shown at 64x64 when no resolution is given. No grid is saved of a set that cannot be trained
    on as it is.

    Args:
        name_or_dir: as for `load_dataset`.
        grid_path: where the grid is saved, a .png.
        resolution: side of the square images, as training will use it.
        channels: 1 or 3, as training will use it.

    Raises:
        InputError: the set cannot be opened, or not one example can be read.
    """
    advice, grid = list[str](), pathlib.Path(grid_path)
    check_picture(grid)
    try:
        dataset = load_dataset(name_or_dir, split=ALL, resolution=resolution, channels=channels)
    except MixedSizesError:
        dataset = load_dataset(name_or_dir, split=ALL, resolution=PREVIEW_RESOLUTION, channels=channels)
        advice.append(f"the images have several sizes: give a resolution; here {PREVIEW_RESOLUTION} was taken")
    tally = count_examples(dataset)
    if tally.refusals and not tally.num_read:
        raise InputError(_refusal(tally.refusals))
    lines = _report(dataset.info, tally, advice)
    if tally.refusals:
        lines += [f"unreadable: {refusal}" for refusal in tally.refusals]
        return DatasetCheck("\n".join(lines), f"{_refusal(tally.refusals)}; no grid was saved")
    _save_grid(np.stack(tally.pictures), grid, is_latent=dataset.info.is_latent)
    return DatasetCheck("\n".join([*lines, f"grid of {len(tally.pictures)}: {grid}"]), None)


def _refusal(refusals: list[str]) -> str:
    return refusals[0] + (f"; {len(refusals) - 1} more cannot be read" if len(refusals) > 1 else "")


def _report(info: DatasetInfo, tally: Tally, advice: list[str]) -> list[str]:
    height, width, channels = info.image_shape
    what = "latents" if info.is_latent else "images"
    mean = tally.total / tally.num_values
    deviation = np.sqrt(max(tally.total_squares / tally.num_values - mean**2, 0.0))
    lines = [
        f"{info.name}: {_KINDS[info.kind]} in {info.location}",
        f"{what}: {info.num_examples} ({', '.join(f'{key} {size}' for key, size in info.split_sizes.items())}), "
        f"used as {height}x{width}x{channels}",
    ]
    if info.sizes is not None:
        named = dataclasses.asdict(info.sizes).items()
        listed = ", ".join(f"{which} {height}x{width}" for which, (height, width) in named)
        lines.append(f"sizes on disk (height x width): {listed}")
    lines += [
        f"values: {tally.lowest:.3g} to {tally.highest:.3g}, mean {mean:.3g}, standard deviation {deviation:.3g} "
        f"(n={tally.num_read} of {info.num_examples} read)",
        f"prompts: {_prompts(info, tally)}",
        "first rows:",
        *(f"  {row}" for row in tally.rows),
    ]
    if info.is_latent and not LATENT_SPREAD[0] <= deviation <= LATENT_SPREAD[1]:
        advice = [*advice, f"latents should have a standard deviation near 1, these have {deviation:.3g}: scale them"]
    return [*lines, *(f"note: {note}" for note in (*info.notes, *advice))]


_KINDS = {
    "tfds": "a prepared TFDS set",
    "folder": "a folder of images",
    "npz": "latents in npz",
    "array_record": "latents in array_record",
    "generated": "a generated set",
}


def _prompts(info: DatasetInfo, tally: Tally) -> str:
    parts = []
    if info.context_shape is not None:
        parts.append("encoded context of {}x{} (tokens x width)".format(*info.context_shape))
    if info.has_captions:
        parts.append(f"{tally.num_captions} captions, the longest of {tally.longest_caption} bytes")
    if info.num_classes is not None:
        counts = [tally.labels[label] for label in range(info.num_classes)]
        names = info.label_names or tuple(str(label) for label in range(info.num_classes))
        listed = ", ".join(f"{name} {count}" for name, count in list(zip(names, counts, strict=True))[:MAX_LISTED])
        parts.append(f"{info.num_classes} class labels ({listed}{', ...' if len(names) > MAX_LISTED else ''})")
    if info.attributes:
        first, *others = ((attribute.name, len(attribute.values)) for attribute in info.attributes)
        listed = ", ".join([f"{first[0]} ({first[1]} values)", *(f"{name} ({count})" for name, count in others)])
        parts.append(f"labels say: {listed}")
    return "; ".join(parts) or "none, the empty prompt for all"


def _save_grid(pictures: np.ndarray, path: pathlib.Path, *, is_latent: bool) -> None:
    if pictures.shape[3] not in (1, 3) or is_latent:
        # A latent has no colours: its first channels are shown, three if it has them, stretched to their range.
        pictures = pictures[..., : 3 if pictures.shape[3] >= 3 else 1]
        low, high = pictures.min(), pictures.max()
        pictures = (pictures - low) / max(float(high - low), 1e-12) * 2 - 1
    scale = max(1, GRID_SIDE // (GRID_COLUMNS * (pictures.shape[2] + 1)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image_grid(pictures, columns=GRID_COLUMNS, scale=scale).save(path)
    except OSError as error:
        raise InputError(f"{path}: the grid cannot be saved there ({error}); choose another place") from None
