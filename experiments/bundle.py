"""The hand-off bundle: one architecture with its weights, how to train it, and what to expect of it, as plain files.

`architecture.json`, `weights.safetensors` (keys `network/...` and `prompt/...`), `training.yaml`, `expected.json`,
`README.md`; and `teacher/`, the network that it is distilled from, where there is one, with `block_map.json`: by block of this
network, the teacher's block that it corresponds to, or null. No search code stands behind it.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
import yaml
from pydantic import Field, model_validator

from experiments.config_fields import Count, CountOrNone, Fraction, Name, NotNegative, Positive, Section, Seed
from experiments.config_reading import Document, read_document, read_text, validated
from experiments.data.loading import from_anywhere
from experiments.denoising_task import DenoisingTask
from experiments.errors import InputError
from experiments.safetensors_stream import StoredTensor, mismatch, read_header, shapes_of, type_of, write_safetensors
from search_space import Architecture, LayerPlan, Scale, layer_plan
from supernet import XLA, Lowering, UNet, load_unet, training_lowering, unet_parameters
from supernet.initializer import abstract_initializer

ARCHITECTURE, WEIGHTS, TRAINING, EXPECTED = "architecture.json", "weights.safetensors", "training.yaml", "expected.json"
TEACHER, BLOCK_MAP = "teacher", "block_map.json"
EXPECTED_SCHEMA = 1
WEIGHTS_DIGEST = "weights_sha256"
ALWAYS_PROMISED = ("parameters", "macs")
# A prediction where the network was run, and the loss where there are data to measure it on.
PROMISES = (*ALWAYS_PROMISED, "prediction", "denoising_loss")


class ScaleSection(Section):
    """The scale of the network, every field of it: see `search_space.Scale`."""

    name: Name
    resolution: Count
    in_channels: Count
    out_channels: Count
    base_width: Count
    context_length: Count
    context_width: Count
    time_features: Count
    time_width: Count
    vocabulary: CountOrNone
    norm_groups: Count | None
    norm_group_size: Count | None
    norm_epsilon: Positive
    num_heads: Count | None
    head_width: Count | None
    shared_projections: bool = Field(default=True, strict=True)
    prompt_layers: CountOrNone = 0
    dtype: Literal["float32"]


class TrainingSettings(Section):
    """How a bundle is trained: `training.yaml`.

    Attributes:
        origin: where the weights come from, for people.
        scale: of the network.
        data: name of a data set, or a folder; None where weights were imported without one.
        seed: of the hand-off's samples, and of where low-rank updates start.
        schedule: of the noise.
        parameterisation: what the network predicts.
        prompt_dropout: share of prompts that are dropped in training, for guidance.
        warmup_steps: in which the learning rate rises from 0.
        ema_decay: of the weights that are kept.
        accumulation: equal parts of a batch that are computed one after the other, for less memory.
        precision: in which training computes; weights, losses and what is saved stay float32.
        remat: whether a gradient computes blocks again, for less memory.
        lora_rank: of the updates of the network's kernels that training learns in place of its weights; None: all weights.
        output_weight: of the distance to the teacher's output, when distilling.
        feature_weight: of the mean distance to the teacher's streams, when distilling.
        sampler: that draws images; `sample_steps` and `guidance_scale` belong to it.
    """

    origin: Name
    scale: ScaleSection
    data: Name | None
    seed: Seed = 0
    schedule: Literal["cosine", "scaled_linear"] = "cosine"
    parameterisation: Literal["eps", "x0", "v"] = "v"
    prompt_dropout: Fraction = 0.1
    num_steps: Count = 1000
    batch_size: Count = 64
    learning_rate: Positive = 5e-4
    warmup_steps: CountOrNone = 50
    ema_decay: Fraction = 0.999
    accumulation: Count = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    remat: bool = Field(default=False, strict=True)
    lora_rank: Count | None = None
    output_weight: NotNegative = 1.0
    feature_weight: NotNegative = 0.5
    sampler: Literal["ddim", "dpmpp_2m"] = "ddim"
    sample_steps: Annotated[int, Field(ge=1, strict=True)] = 16
    guidance_scale: NotNegative = 1.0

    @model_validator(mode="after")
    def _accumulates_equal_parts(self) -> "TrainingSettings":
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"accumulation must divide batch_size={self.batch_size}, got {self.accumulation}; use 1, or another divisor"
            )
        return self


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle in memory; `parameters` are `network` and `prompt`, each by path."""

    architecture: Architecture
    settings: TrainingSettings
    parameters: dict[str, dict[str, Any]]

    @property
    def task(self) -> DenoisingTask:
        """What the network learns."""
        s = self.settings
        return DenoisingTask(Scale(**s.scale.model_dump()), s.schedule, s.parameterisation, s.prompt_dropout)

    @property
    def data(self) -> str:
        """Its data set; `check_has_data` tells a person where there is none."""
        assert self.settings.data is not None
        return self.settings.data

    @property
    def plan(self) -> LayerPlan:
        """The network's layer plan."""
        return layer_plan(self.architecture, self.task.scale)

    def network(self, lowering: Lowering | None = None, *, remat: bool = False) -> UNet:
        """The network without weights; `apply_network` runs it with some."""
        return UNet(self.plan, init=abstract_initializer, lowering=lowering or training_lowering(), remat=remat)


def apply_network(network: UNet, parameters: dict[str, Any], x: Any, timestep: Any, context: Any) -> Any:
    """The prediction of a network with the given parameters."""
    return load_unet(network, parameters)(x, timestep, context)


def with_settings(bundle: Bundle, **changes: Any) -> Bundle:
    """The bundle with other keys of `training.yaml`.

    Raises:
        InputError: a value is out of its range, or does not go with the others.
    """
    settings = {**bundle.settings.model_dump(mode="json"), **changes}
    return dataclasses.replace(bundle, settings=validated(Document(settings, TRAINING, {}), TrainingSettings))


def write_bundle(path: Path, bundle: Bundle, *, expected: dict[str, Any], card: str) -> None:
    """Writes the files of a bundle into a folder, which is made where it is missing."""
    path.mkdir(parents=True, exist_ok=True)
    flat = {f"{part}/{name}": x for part, of in bundle.parameters.items() for name, x in of.items()}
    types = {name: type_of(x) for name, x in flat.items()}
    write_safetensors(path / WEIGHTS, types, lambda name: np.asarray(flat[name]))
    write_description(path, bundle.architecture, bundle.settings, expected=expected, card=card)


def write_description(
    path: Path, architecture: Architecture, settings: TrainingSettings, *, expected: dict[str, Any], card: str
) -> None:
    """Writes every file of a bundle into the folder that holds its weights, whose digest is promised too."""
    expected = {**expected, WEIGHTS_DIGEST: file_sha256(path / WEIGHTS)}
    (path / ARCHITECTURE).write_text(json.dumps(architecture.to_json(), indent=2) + "\n", "utf-8")
    (path / TRAINING).write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), "utf-8")
    (path / "README.md").write_text(card, "utf-8")
    (path / EXPECTED).write_text(json.dumps(expected, indent=2, allow_nan=False) + "\n", "utf-8")


def read_bundle(path: Path, *, as_written: bool = True) -> Bundle:
    """Reads a bundle, and holds its weights to its architecture; whatever they are stored in, they become float32.

    Args:
        path: its folder.
        as_written: whether its weights have to be those that it was written with.

    Raises:
        NotADirectoryError: there is no such folder.
        FileNotFoundError: a file of it is missing.
        InputError: a file is damaged, or the weights belong to another architecture or were changed.
    """
    bundle, stored = open_bundle(path)
    if as_written:
        check_weights(path)
    for name, tensor in stored.items():
        part, _, rest = name.partition("/")
        bundle.parameters[part][rest] = jnp.asarray(tensor.read(), jnp.float32)
    try:
        bundle.task.check_prompt_parameters(bundle.parameters["prompt"])
    except ValueError as error:
        raise InputError(f"{path / WEIGHTS}: {error}; copy the bundle again, or make it anew") from None
    return bundle


def open_bundle(path: Path) -> tuple[Bundle, dict[str, StoredTensor]]:
    """A bundle without its weights, and where these are stored ("network/...", "prompt/..."), held to its architecture.

    Raises:
        NotADirectoryError: there is no such folder.
        FileNotFoundError: a file of it is missing.
        InputError: a file is damaged, or the weights belong to another architecture.
    """
    settings = read_settings(path)
    try:
        architecture = Architecture.from_json(json.loads((path / ARCHITECTURE).read_text("utf-8"))).canonical()
    except ValueError as error:
        raise InputError(f"{path / ARCHITECTURE}: {error}") from None
    bundle = Bundle(architecture, settings, {"network": {}, "prompt": {}})
    stored, _ = read_header(path / WEIGHTS)
    for name in stored:
        if name.partition("/")[0] not in bundle.parameters:
            raise InputError(
                f"{path / WEIGHTS}: tensor {name!r} is not of this format; its name must begin with network/ or prompt/"
            )
    try:
        shapes = {name: tuple(array.shape) for name, array in unet_parameters(bundle.network(XLA)).items()}
    except ValueError as error:
        raise InputError(f"{path / TRAINING}: scale: {error}") from None
    network = {name.removeprefix("network/"): tensor for name, tensor in stored.items() if name.startswith("network/")}
    if problem := mismatch(shapes_of(network), shapes):
        raise InputError(
            f"{path / WEIGHTS}: {problem}; the weights belong to another architecture: copy the bundle again, or make it anew"
        )
    return bundle, stored


def read_settings(path: Path) -> TrainingSettings:
    """The settings of a bundle, whose other files are there too.

    Raises:
        NotADirectoryError: there is no such folder.
        FileNotFoundError: a file of it is missing.
        InputError: the settings are damaged.
    """
    if not path.is_dir():
        raise NotADirectoryError(
            f"{path}: there is no such bundle; `pocketunet handoff RUN --pick knee --out {path}` or "
            f"`pocketunet weights import DIR --out {path}` makes one"
        )
    for name in (ARCHITECTURE, WEIGHTS, TRAINING):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path / name} is missing; make the bundle anew")
    return validated(read_document(read_text(path / TRAINING), source=str(path / TRAINING)), TrainingSettings)


def read_bundle_with(path: Path, data: str | None) -> Bundle:
    """A bundle that is to be trained, on its own data set or on another one.

    Raises:
        InputError: as `read_bundle`; or there is no data set.
    """
    if data is None:
        check_has_data(path)
        return read_bundle(path)
    return with_settings(read_bundle(path), data=from_anywhere(data))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights(path: Path) -> None:
    """Raises InputError where weights are not those that `expected.json` has the digest of; older bundles have none."""
    expected = _read_expected(path)
    written = expected.get(WEIGHTS_DIGEST) if isinstance(expected, dict) else None
    if written is not None and written != file_sha256(path / WEIGHTS):
        raise InputError(
            f"{path / WEIGHTS}: it is not the file that the bundle was written with (by {WEIGHTS_DIGEST} in {EXPECTED}); "
            f"copy the bundle again, or make it anew; where the change is meant, take the key out of {EXPECTED}"
        )


def _read_expected(path: Path) -> Any:
    try:
        return json.loads((path / EXPECTED).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path / EXPECTED}: cannot be read ({error}); make the bundle anew") from None


def check_has_data(path: Path) -> None:
    """Raises InputError where a bundle names no data set, as one that was imported does not."""
    if read_settings(path).data is None:
        raise InputError(
            f"{path / TRAINING}: key 'data' is null: these weights came without a data set; "
            "set it to the name of one, or to a folder, and look through the keys below it (`train` and `distill` take --data, "
            "too)"
        )


def read_expected(path: Path) -> dict[str, Any]:
    """What a bundle promises: `expected.json`.

    Raises:
        InputError: it is missing or damaged, or of another schema version.
    """
    file, expected = path / EXPECTED, _read_expected(path)
    if not isinstance(expected, dict) or expected.get("schema") != EXPECTED_SCHEMA:
        raise InputError(f"{file}: key 'schema' must be {EXPECTED_SCHEMA}; read it with the version that wrote it")
    promises = expected.get("promises")
    if not isinstance(promises, dict):
        raise InputError(f"{file}: key 'promises' must be a mapping of names to values; make the bundle anew")
    for name in promises:
        if name not in PROMISES:
            raise InputError(f"{file}: key 'promises.{name}' is not known; known are {', '.join(PROMISES)}")
    for name in [*promises, *ALWAYS_PROMISED]:
        promise = promises.get(name)
        for key in ("value", "tolerance"):
            if not isinstance(promise, dict) or not isinstance(promise.get(key), int | float):
                raise InputError(f"{file}: key 'promises.{name}.{key}' must be a number; make the bundle anew")
    return expected
