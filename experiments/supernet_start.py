"""Where a supernet starts from: a folder with its parameters, made of a teacher's bundle.

The folder holds `parameters/` (Orbax) and `start.json`: space, scale, the teacher's digest, the block map and how far the
largest subnet is from the teacher. A sweep takes it as `supernet.start`.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from experiments.bundle import Bundle, apply_network, read_bundle
from experiments.bundle_folders import new_folder, refuse_existing
from experiments.checkpoints import shapes_here
from experiments.errors import InputError
from experiments.weights_comparison import QUICK_COMPILE
from search_space import Scale, get_scale, get_space, scale_names
from search_space.block_map import BlockMap
from supernet import XLA, Supernet, UNet, extract, unet_parameters
from supernet.initializer import abstract_initializer
from supernet.subnets import StoredParameters
from supernet.teacher import start_from_teacher

SCHEMA = 1
TOLERANCE = 1e-5
_DESCRIPTION, _PARAMETERS = "start.json", "parameters"
_EXAMPLES = 2


@dataclasses.dataclass(frozen=True)
class Start:
    """What a supernet started from: the block map, and the largest subnet's relative error to the teacher on random inputs."""

    feeding: BlockMap
    relative_error: float

    @property
    def is_equal(self) -> bool:
        """Whether the largest subnet computes what the teacher computes, to 1e-5."""
        return self.relative_error <= TOLERANCE

    def __str__(self) -> str:
        """The block map and the error, for people."""
        width = max(map(len, self.feeding))
        rows = [f"{name.ljust(width)}  {source or 'hands its input on'}" for name, source in self.feeding.items()]
        verdict = "equals the teacher" if self.is_equal else "is NOT the teacher"
        found = f"the largest subnet {verdict}: relative error {self.relative_error:.2g}, at most {TOLERANCE:g} allowed"
        return "\n".join([f"{'block of the largest subnet'.ljust(width)}  the teacher's", *rows, found])


def start_supernet(bundle_path: Path, space_name: str, out: Path, *, seed: int = 0) -> Start:
    """Fills the largest subnet of a space's supernet from a bundle, at the bundle's scale; the rest is drawn.

    Args:
        bundle_path: the teacher.
        space_name: the space of the supernet; its largest architecture has the teacher's levels and widths.
        out: the new folder; it must not exist.
        seed: of what the teacher does not have.

    Raises:
        InputError: the teacher does not fit the space, or `out` exists.
    """
    refuse_existing(out)
    teacher = read_bundle(bundle_path)
    supernet, parameters = fresh_supernet(teacher, space_name, seed=seed)
    try:
        feeding = start_from_teacher(supernet, parameters, teacher.plan, teacher.parameters["network"])
    except ValueError as error:
        raise InputError(f"{bundle_path}: {error}; choose a space whose largest network it fits, not {space_name!r}") from None
    stored = {"network": jax.tree.map(jnp.asarray, parameters), "prompt": teacher.parameters["prompt"]}
    start = Start(feeding, _distance(supernet, stored["network"], teacher))
    description = {
        "schema": SCHEMA, "space": space_name, "scale": dataclasses.asdict(supernet.scale), "seed": seed,
        "teacher": teacher.architecture.digest, "block_map": feeding, "relative_error": start.relative_error,
    }  # fmt: skip
    with new_folder(out) as folder, ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((folder / _PARAMETERS).absolute(), stored)
        checkpointer.wait_until_finished()
        (folder / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", "utf-8")
    return start


def check_start(folder: Path, supernet: Supernet) -> None:
    """Raises InputError where a folder is no start of this supernet."""
    path = folder / _DESCRIPTION
    remedy = f"make it with `pocketunet supernet init --from BUNDLE --space {supernet.space.name} --out {folder}`"
    try:
        description = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {remedy}") from None
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        raise InputError(f"{path}: key 'schema' must be {SCHEMA}; {remedy}")
    if description.get("space") != supernet.space.name:
        raise InputError(f"{path}: key 'space' must be {supernet.space.name!r}, got {description.get('space')!r}; {remedy}")
    wanted, found = dataclasses.asdict(supernet.scale), description.get("scale")
    # A field that came later is missing in an older file, which was written under its default.
    defaults = {x.name: x.default for x in dataclasses.fields(Scale) if x.default is not dataclasses.MISSING}
    for name in wanted:
        value = (defaults | found).get(name) if isinstance(found, dict) else None
        if name != "name" and value != wanted[name]:
            raise InputError(f"{path}: key 'scale.{name}' must be {wanted[name]!r}, got {value!r}; choose that proxy_scale")


def load_start(folder: Path, like: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a start, `network` and `prompt`, which must have the shapes of `like`."""
    with ocp.StandardCheckpointer() as checkpointer:
        try:
            restored = checkpointer.restore((folder / _PARAMETERS).absolute(), shapes_here(like))
        except (ValueError, FileNotFoundError) as error:
            raise InputError(f"{folder / _PARAMETERS}: the parameters cannot be read ({error}); make the start anew") from None
    return jax.tree.map(jnp.asarray, restored)


def fresh_supernet(teacher: Bundle, space_name: str, *, seed: int) -> tuple[Supernet, StoredParameters]:
    """The supernet of a space at a teacher's scale, and parameters of it that can be written to."""
    supernet = Supernet(get_space(space_name), scale_of(teacher, space_name), XLA)
    return supernet, {name: _writable(family) for name, family in supernet.initial_parameters(seed).items()}


def scale_of(teacher: Bundle, space_name: str) -> Scale:
    """The teacher's scale in the space's units of width: its first level is as wide as that of the space's largest network."""
    scale, units = teacher.plan.scale, get_space(space_name).largest().levels[0].width
    base, rest = divmod(teacher.architecture.levels[0].width * scale.base_width, units)
    if rest:
        return scale
    scaled = dataclasses.replace(scale, base_width=base)
    same = [name for name in scale_names() if dataclasses.replace(scaled, name=name) == get_scale(name)]
    return get_scale(same[0]) if same else scaled


def _writable(family: dict[str, Any]) -> dict[str, np.ndarray]:
    """A family's parameters as arrays that can be written to; each leaves its place before the next is copied."""
    return {path: np.array(family.pop(path)) for path in list(family)}


def _distance(supernet: Supernet, parameters: Any, teacher: Bundle) -> float:
    """Relative error of the largest subnet to the teacher on random inputs."""
    scale = teacher.plan.scale
    rng = np.random.default_rng(0)
    image = rng.standard_normal((_EXAMPLES, scale.resolution, scale.resolution, scale.in_channels))
    context = rng.standard_normal((_EXAMPLES, scale.context_length, scale.context_width))
    inputs = [jnp.asarray(x, jnp.float32) for x in (image, np.linspace(1, 999, _EXAMPLES), context)]
    largest = extract(supernet, parameters, supernet.space.largest())
    without_weights = UNet(largest.plan, init=abstract_initializer)
    expected = _run(teacher.network(XLA), teacher.parameters["network"], inputs)
    found = _run(without_weights, unet_parameters(largest), inputs)
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


def _run(network: UNet, weights: dict[str, Any], inputs: list[Any]) -> Any:
    return jax.jit(functools.partial(apply_network, network), compiler_options=QUICK_COMPILE)(weights, *inputs)
