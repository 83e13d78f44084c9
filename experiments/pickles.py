"""Pickles are never opened: they can run any code. What is said instead."""

from collections.abc import Sequence
from pathlib import Path

from experiments.errors import InputError

PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})


def pickle_refusal(files: Sequence[Path], *, target: str, then: str) -> InputError:
    """What to do with weights that are a pickle: write them to the safetensors file `target`, `then` go on."""
    return InputError(
        f"{', '.join(map(str, files))}: this is a pickle, which can run any code when it is opened, so it is not opened here; "
        "on a machine where you trust it, load it with torch.load(FILE, weights_only=True), write it with "
        f"safetensors.torch.save_file(WEIGHTS, {target!r}), and {then}"
    )
