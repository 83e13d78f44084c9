"""Brings a diffusers UNet in as a bundle, and takes a bundle out as a diffusers folder, one tensor at a time.

Numbers are copied as they are stored, whatever their type, so that what was imported is exported bit by bit.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from experiments.bundle import WEIGHTS as BUNDLE_WEIGHTS
from experiments.bundle import Bundle, TrainingSettings, check_weights, open_bundle, write_description
from experiments.bundle_folders import new_folder, refuse_existing
from experiments.bundle_quality import expectations, model_card
from experiments.diffusers_folder import CONFIG, WEIGHTS, DiffusersFolder, read_folder, read_parameterisation
from experiments.errors import InputError
from experiments.safetensors_stream import (
    FLOATS,
    StoredTensor,
    TensorType,
    mismatch,
    read_header,
    shapes_of,
    write_safetensors,
)
from search_space import layer_plan
from supernet.diffusers_config import DEFAULT_CONTEXT_LENGTH, DiffusersUNet, unet_from_config
from supernet.diffusers_export import unet_to_config
from supernet.diffusers_tensors import Correspondence, correspondences

# In the header of an imported bundle's weights: the choice of diffusers' configuration that our architecture does not have.
_LINEAR_PROJECTIONS = "use_linear_projection"
Reader = Callable[[str], np.ndarray]  # a tensor by its name


def import_weights(folder: Path, out: Path, *, context_length: int = DEFAULT_CONTEXT_LENGTH) -> Path:
    """Writes the network of a diffusers `unet/` folder as a bundle, without data and without a promise of a loss.

    Args:
        folder: `config.json`, and safetensors in one file or in shards.
        out: the bundle's folder; it must not exist.
        context_length: tokens of a prompt, which the configuration does not say.

    Returns:
        The bundle's folder.

    Raises:
        InputError: the configuration cannot be computed here, or the tensors are not those that it asks for.
    """
    refuse_existing(out)
    source = read_folder(folder)
    unet, table = _understood(source, context_length)
    bundle = Bundle(unet.architecture.canonical(), _settings(source.path, unet), {})
    expected = expectations(bundle, runs=False)  # its weights are never in memory
    types, read = _ours(source.tensors, table)
    metadata = {_LINEAR_PROJECTIONS: json.dumps(unet.has_linear_projections)}
    with new_folder(out) as partial:
        write_safetensors(partial / BUNDLE_WEIGHTS, types, read, metadata=metadata)
        card = model_card(bundle, expected)
        write_description(partial, bundle.architecture, bundle.settings, expected=expected, card=card)
    return out


def export_weights(path: Path, out: Path) -> Path:
    """Writes the network of a bundle as a diffusers `unet/` folder, in the types that the bundle stores.

    Args:
        path: the bundle.
        out: the new folder; it must not exist.

    Returns:
        The new folder.

    Raises:
        InputError: diffusers cannot express the architecture; the message names the stages and fields.
    """
    refuse_existing(out)
    with new_folder(out) as partial:
        write_diffusers(path, partial)
    return out


def write_diffusers(path: Path, folder: Path, *, dtype: str | None = None) -> tuple[str, ...]:
    """Writes the files of a diffusers `unet/` folder into one that exists.

    Args:
        path: the bundle.
        folder: where they go.
        dtype: of all tensors, as safetensors names it; as the bundle stores them where it is not given.

    Returns:
        The names of the files.

    Raises:
        InputError: diffusers cannot express the architecture (the message names the stages and fields), or the weights were
            changed.
    """
    bundle, stored = open_bundle(path)
    check_weights(path)
    _, metadata = read_header(path / BUNDLE_WEIGHTS)
    has_linear_projections = metadata.get(_LINEAR_PROJECTIONS) == "true"
    try:
        config = unet_to_config(DiffusersUNet(bundle.architecture, bundle.task.scale, has_linear_projections))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    table = correspondences(bundle.plan, has_linear_projections=has_linear_projections)
    types, read = _theirs(stored, table, dtype)
    write_safetensors(folder / WEIGHTS, types, read, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    return WEIGHTS, CONFIG


def _understood(source: DiffusersFolder, context_length: int) -> tuple[DiffusersUNet, tuple[Correspondence, ...]]:
    """The network of a folder and its tensors, held to what is stored there."""
    try:
        unet = unet_from_config(source.config, context_length=context_length)
        plan = layer_plan(unet.architecture, unet.scale)
    except ValueError as error:
        raise InputError(f"{source.path / CONFIG}: {error}") from None
    table = correspondences(plan, has_linear_projections=unet.has_linear_projections)
    if problem := mismatch(shapes_of(source.tensors), {entry.tensor: entry.shape for entry in table}):
        raise InputError(f"{source.path}: the weights are not those of {CONFIG}: {problem}; nothing was written")
    return unet, table


def _settings(folder: Path, unet: DiffusersUNet) -> TrainingSettings:
    return TrainingSettings.model_validate(
        {
            "origin": f"imported from {'/'.join(folder.resolve().parts[-2:])}",
            "scale": dataclasses.asdict(unet.scale),
            "data": None,
            "schedule": "scaled_linear",
            "parameterisation": read_parameterisation(folder),
            "prompt_dropout": 0.0,  # it has dropped prompts for the context of an empty one, and never seen our zeros
        }
    )


def _ours(stored: Mapping[str, StoredTensor], table: tuple[Correspondence, ...]) -> tuple[dict[str, TensorType], Reader]:
    """The tensors of a bundle, and how to read each of them from a diffusers folder."""
    holding = {f"network/{path}": (entry, path) for entry in table for path in entry.paths}

    def read(name: str) -> np.ndarray:
        entry, path = holding[name]
        return entry.to_ours(stored[entry.tensor].read())[path]

    types = {}
    for name, (entry, path) in holding.items():
        kind = stored[entry.tensor].type
        shape = entry.to_ours(np.broadcast_to(np.zeros((), np.int8), kind.shape))[path].shape
        types[name] = TensorType(kind.dtype, shape)
    return types, read


def _theirs(
    stored: Mapping[str, StoredTensor], table: tuple[Correspondence, ...], dtype: str | None
) -> tuple[dict[str, TensorType], Reader]:
    """The tensors of a diffusers folder in a type, or in those that are stored; and how to read each of them from a bundle."""
    by_name = {entry.tensor: entry for entry in table}

    def parts(name: str) -> list[StoredTensor]:
        return [stored[f"network/{path}"] for path in by_name[name].paths]

    types = {name: TensorType(dtype or parts(name)[0].type.dtype, entry.shape) for name, entry in by_name.items()}

    def read(name: str) -> np.ndarray:
        tensor = by_name[name].to_theirs([part.read() for part in parts(name)])
        return tensor.astype(FLOATS[types[name].dtype], copy=False)

    return types, read
