"""A diffusers `unet/` folder as it lies on disk: its configuration, and where its tensors are; pickles are never opened."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.pickles import PICKLES, pickle_refusal
from experiments.safetensors_stream import StoredTensor, read_header

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
_THEN = "give the folder of that"
_INDEX = "*.safetensors*index*.json"  # a variant's is NAME.safetensors.index.fp16.json
_SCHEDULER = "scheduler_config.json"
_PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
# Stable Diffusion's noise schedule, which is our `scaled_linear`; and what diffusers takes where a key is missing.
_SCHEDULE = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000,
    "trained_betas": None, "rescale_betas_zero_snr": False,
}  # fmt: skip
_DEFAULTS = _SCHEDULE | {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}


@dataclasses.dataclass(frozen=True)
class DiffusersFolder:
    """What a `unet/` folder holds.

    Attributes:
        path: the folder.
        config: the contents of its `config.json`.
        tensors: where each tensor is stored, by its name.
    """

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


def read_folder(path: Path) -> DiffusersFolder:
    """Reads configuration and headers; no tensor is read.

    Raises:
        NotADirectoryError: there is no such folder.
        InputError: a file is missing or damaged, several could be meant, or the weights are a pickle.
    """
    if path.suffix in PICKLES:
        raise pickle_refusal([path], target=WEIGHTS, then=_THEN)
    if not path.is_dir():
        raise NotADirectoryError(f"{path}: there is no such folder; give the one that holds {CONFIG} and its safetensors")
    if not (path / CONFIG).is_file():
        inside = f"; give {path / 'unet'}" if (path / "unet" / CONFIG).is_file() else ""
        raise InputError(f"{path / CONFIG} is missing: it says which architecture the weights are of{inside}")
    if not (files := _weight_files(path)):
        raise InputError(f"{path}: there is no safetensors file in it; put {WEIGHTS} beside {CONFIG}")
    return DiffusersFolder(path, _json_object(path / CONFIG), _tensors(files))


def read_parameterisation(path: Path) -> str:
    """What the network of a `unet/` folder predicts, by the scheduler's configuration in it or beside it; eps without one.

    Raises:
        InputError: that file is damaged, or says another prediction or noise schedule than is known here.
    """
    files = [folder / _SCHEDULER for folder in (path, path.resolve().parent / "scheduler")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return "eps"
    config = _json_object(file)
    for key, supported in _SCHEDULE.items():
        if (value := config.get(key, _DEFAULTS[key])) != supported:
            said = json.dumps(value) if key in config else f"missing, which means {json.dumps(value)}"
            raise InputError(
                f"{file}: key {key!r} is {said}; supported is {json.dumps(supported)}; "
                "move the file away to import without it, then set `schedule` in the bundle's training.yaml"
            )
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in list(_PREDICTIONS):
        raise InputError(
            f"{file}: key 'prediction_type' is {json.dumps(prediction)}; supported is one of {', '.join(_PREDICTIONS)}"
        )
    return _PREDICTIONS[prediction]


def _weight_files(path: Path) -> list[Path]:
    """The safetensors files that hold the network: one, or the shards of an index; none where there is none."""
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    indices = sorted(path.glob(_INDEX))
    single = sorted(path.glob("*.safetensors"))
    if len(indices) == 1:
        return _shards(indices[0])
    if len(indices) > 1 or len(single) > 1:
        names = ", ".join(file.name for file in indices or single)
        raise InputError(f"{path}: {names}: which of them is meant? Leave one, or put the index of the shards beside them")
    pickles = sorted(file for file in path.iterdir() if file.suffix in PICKLES)
    if not single and pickles:
        raise pickle_refusal(pickles, target=WEIGHTS, then=_THEN)
    return single


def _shards(index: Path) -> list[Path]:
    shards = _json_object(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise InputError(f"{index}: key 'weight_map' must map the names of tensors to files; copy the folder again")
    names = sorted(set(shards.values()))
    for name in names:
        if Path(name).name != name:
            raise InputError(f"{index}: {name!r} must be the name of a file beside it")
        if not (index.parent / name).is_file():
            raise InputError(f"{index.parent / name} is missing, and {index.name} names it; copy the folder again")
    return [index.parent / name for name in names]


def _tensors(files: list[Path]) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        found, _ = read_header(file)
        if twice := found.keys() & tensors.keys():
            name = min(twice)
            raise InputError(f"{file}: tensor {name!r} is in {tensors[name].file.name} too; copy the folder again")
        tensors |= found
    return tensors


def _json_object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: this is no JSON ({error}); copy it again") from None
    if not isinstance(value, dict):
        raise InputError(f"{file}: this file must hold a JSON object, got {type(value).__name__}")
    return value
