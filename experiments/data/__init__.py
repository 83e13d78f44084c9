"""Data sets: the digits, any prepared TFDS set, a folder of images, or latents that were encoded beforehand.

`load_dataset` opens one; `as_arrays` reads a small one into memory and `batches` streams any, shuffled and resumable;
`prompt_tokens` turns a label or a caption into tokens; `write_latents` stores latents; `check_dataset` says what was
understood; `image_grid` draws pictures. Grain, TFDS and Pillow are imported only when they are needed.
"""

from experiments.data.batching import batches
from experiments.data.check import check_dataset
from experiments.data.dataset import Arrays, Dataset, DatasetInfo, Example, as_arrays, prompt_tokens
from experiments.data.image_grid import image_grid
from experiments.data.latent_writer import write_latents
from experiments.data.loading import load_dataset

__all__ = [
    "Arrays",
    "Dataset",
    "DatasetInfo",
    "Example",
    "as_arrays",
    "batches",
    "check_dataset",
    "image_grid",
    "load_dataset",
    "prompt_tokens",
    "write_latents",
]
