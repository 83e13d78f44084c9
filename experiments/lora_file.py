"""The file of low-rank updates beside the weights that they have led to: `lora.safetensors`, which the bundle before takes."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp

from experiments.bundle import WEIGHTS, Bundle, file_sha256
from experiments.errors import InputError
from experiments.safetensors_stream import read_header, type_of, write_safetensors
from supernet.adapters import updates_between, with_updates

LORA = "lora.safetensors"


def write_lora(path: Path, before: Bundle, after: Bundle, *, rank: int, base: str) -> None:
    """Writes the updates with which one bundle's network becomes another's.

    Args:
        path: the file.
        before: the bundle that was trained.
        after: what it has become.
        rank: of the updates, at most.
        base: SHA-256 of the weights of `before`.
    """
    updates = updates_between(before.parameters["network"], after.parameters["network"], rank=rank)
    types = {name: type_of(x) for name, x in updates.items()}
    write_safetensors(path, types, updates.__getitem__, metadata={"architecture": after.architecture.digest, "base": base})


def with_lora(bundle: Bundle, path: Path, file: Path) -> Bundle:
    """A bundle with the updates of a file added to its network.

    Args:
        bundle: as it was read.
        path: its folder.
        file: `lora.safetensors` of a bundle that was trained from this one.

    Raises:
        InputError: the file is damaged or missing, or its updates are of other weights or lead to another architecture.
    """
    stored, metadata = read_header(file)
    for key, own in (("base", file_sha256(path / WEIGHTS)), ("architecture", bundle.architecture.digest)):
        if metadata.get(key) != own:
            raise InputError(
                f"{file}: its updates are of {key} {metadata.get(key, 'unknown'):.16}, that of {path} is {own:.16}; "
                "give the bundle that they were trained from"
            )
    updates = {name: jnp.asarray(tensor.read()) for name, tensor in stored.items()}
    network = with_updates(bundle.parameters["network"], updates)
    return dataclasses.replace(bundle, parameters={**bundle.parameters, "network": network})
