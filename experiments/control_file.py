"""The plug-in of a bundle: how it runs with the network, and its file, `control.safetensors`, beside the weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.bundle import WEIGHTS, Bundle, file_sha256
from experiments.data.pixels import read_pixels
from experiments.errors import InputError
from experiments.safetensors_stream import read_header, type_of, write_safetensors
from objectives.conditions import CONDITIONS
from supernet import load_unet, training_lowering
from supernet.control import ControlNet
from supernet.initializer import abstract_initializer
from supernet.parameters import with_parameters

CONTROL, CONTROL_PART = "control.safetensors", "control"
# (network's parameters, the plug-in's, noisy images, time steps, contexts, conditions) to a prediction in float32.
ControlledApply = Callable[[Any, Any, Array, Array, Array, Array], Array]


def condition_channels(bundle: Bundle, condition: str) -> int:
    """Channels of a condition of the bundle's images."""
    scale = bundle.task.scale
    image = jax.ShapeDtypeStruct((1, scale.resolution, scale.resolution, scale.in_channels), jnp.float32)
    return jax.eval_shape(CONDITIONS[condition], image).shape[-1]


def controlled_apply(bundle: Bundle, channels: int, *, precision: str = "float32", remat: bool = False) -> ControlledApply:
    """The network of a bundle with a plug-in for conditions of so many channels.

    Args:
        bundle: whose network it is.
        channels: of a condition.
        precision: in which both compute.
        remat: whether a gradient computes what is inside blocks again.
    """
    network, dtype = bundle.network(remat=remat), jnp.dtype(precision)
    control = ControlNet(bundle.plan, channels, init=abstract_initializer, lowering=training_lowering(), remat=remat)

    def apply(parameters: Any, plug_in: Any, x: Array, timestep: Array, context: Array, condition: Array) -> Array:
        of_both = (parameters, plug_in, x, context, condition)
        parameters, plug_in, x, context, condition = jax.tree.map(lambda array: array.astype(dtype), of_both)
        added = with_parameters(control, plug_in)(x, timestep, context, condition)
        prediction, _ = load_unet(network, parameters).block_outputs(x, timestep, context, added)
        return prediction.astype(jnp.float32)

    return apply


def write_control(folder: Path, parameters: dict[str, Any], *, condition: str) -> None:
    """Writes a plug-in into the folder of its bundle, whose weights are there already."""
    metadata = {"condition": condition, "base": file_sha256(folder / WEIGHTS)}
    types = {name: type_of(x) for name, x in parameters.items()}
    write_safetensors(folder / CONTROL, types, lambda name: np.asarray(parameters[name]), metadata=metadata)


def read_control(path: Path) -> tuple[str, dict[str, Array]]:
    """The condition that the plug-in of a bundle follows, and its parameters by path.

    Raises:
        InputError: the bundle has no plug-in, or one that is damaged, of other weights, or of a condition that is not known.
    """
    file = path / CONTROL
    if not file.is_file():
        raise InputError(
            f"{file}: the bundle has no plug-in to follow a condition; `pocketunet distill {path} --method control` trains one"
        )
    stored, metadata = read_header(file)
    if metadata.get("base") != file_sha256(path / WEIGHTS):
        raise InputError(
            f"{file}: it is the plug-in of other weights than {path / WEIGHTS}; copy the bundle again, or train it anew"
        )
    condition = metadata.get("condition", "none")
    if condition not in CONDITIONS:
        raise InputError(f"{file}: key 'condition' must be one of {', '.join(CONDITIONS)}, got {condition!r}; train it anew")
    return condition, {name: jnp.asarray(tensor.read()) for name, tensor in stored.items()}


def following(
    bundle: Bundle, condition: Float[Array, "1 height width channels"]
) -> Callable[[Any, Array, Array, Array, Any], Array]:
    """The network of a bundle that follows one condition; its last argument is the parameters of the plug-in."""
    apply = controlled_apply(bundle, condition.shape[-1])

    def follow(parameters: Any, x: Array, timestep: Array, context: Array, plug_in: Any) -> Array:
        return apply(parameters, plug_in, x, timestep, context, jnp.repeat(condition, len(x), axis=0))

    return follow


def condition_of(bundle: Bundle, picture: Path, condition: str) -> Float[Array, "1 height width channels"]:
    """The condition of a picture of any size, at the resolution of the bundle's images.

    Raises:
        InputError: the picture cannot be read, or the network draws what no picture shows.
    """
    return CONDITIONS[condition](jnp.asarray(_picture(bundle, picture))[None])


def _picture(bundle: Bundle, image: Path) -> Float[np.ndarray, "height width channels"]:
    scale = bundle.task.scale
    if scale.in_channels not in (1, 3):
        raise InputError(
            f"--condition {image}: the network draws latents of {scale.in_channels} channels, which a picture does not have; "
            "leave it out"
        )
    return read_pixels(image, shape=(scale.resolution, scale.resolution, scale.in_channels), origin=f"--condition {image}")


def left_out(path: Path) -> str | None:
    """What to say where a plug-in is not carried on with the network of a bundle; None where there is none."""
    file = path / CONTROL
    return f"{file} is left out: it belongs to the network as it is here" if file.is_file() else None
