"""A plug-in that makes a frozen UNet follow a condition image: a copy of its encoder, which sees the condition, too.

What the copy finds is added, by 1x1 convolutions that start at zero, to the streams that the decoder reads.

Source: Zhang et al. 2023 ("ControlNet"), section 3. The condition has the image's resolution, and enters by channels of the
copy's first convolution that start at zero, in the place of a small network of its own.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from search_space import LayerPlan, layer_plan
from supernet.blocks import Tokens
from supernet.convolution import XLA, Image, Lowering
from supernet.initializer import Initializer, abstract_initializer
from supernet.layers import Linear
from supernet.parameters import parameters_of
from supernet.unet import UNet

_ENCODER = "encoder/"


class ControlNet(nnx.Module):
    """The plug-in of one layer plan."""

    def __init__(
        self, plan: LayerPlan, condition_channels: int, *, init: Initializer, lowering: Lowering = XLA, remat: bool = False
    ) -> None:
        """Builds the copy of the encoder and the convolutions.

        Args:
            plan: of the network that it is plugged into.
            condition_channels: of a condition image.
            init: of the parameters.
            lowering: of 3x3 convolutions.
            remat: whether a gradient computes what is inside each block again.
        """
        scale = dataclasses.replace(plan.scale, in_channels=plan.scale.in_channels + condition_channels)
        wider = layer_plan(plan.architecture, scale)
        copied = dataclasses.replace(wider, blocks=wider.encoder)
        self.encoder = UNet(copied, init=init, lowering=lowering, remat=remat)
        read = {block.skip_from for block in plan.blocks} | {copied.blocks[-1].name}
        self.read = nnx.static(tuple(block.name for block in copied.blocks if block.name in read))
        channels = {block.name: block.out_shape[-1] for block in copied.blocks}
        self.out = nnx.Dict({_key(name): Linear(channels[name], channels[name], zero=True, init=init) for name in self.read})

    def __call__(
        self,
        x: Image,
        timestep: Float[Array, " batch"],
        context: Tokens,
        condition: Float[Array, "batch height width condition"],
    ) -> dict[str, Float[Array, "batch _ _ _"]]:
        """What is added, by block: see `UNet.block_outputs`.

        Args:
            x: noisy images.
            timestep: diffusion time in [0, 1000].
            context: the encoded prompts.
            condition: one condition image per sample.
        """
        last, streams = self.encoder.block_outputs(jnp.concatenate([x, condition], -1), timestep, context)
        streams[self.encoder.plan.blocks[-1].name] = last
        return {name: self.out[_key(name)](streams[name]) for name in self.read}


def control_parameters(plan: LayerPlan, network: Mapping[str, Any], condition_channels: int) -> dict[str, Array]:
    """The parameters, by path, of a plug-in that changes nothing yet.

    Args:
        plan: of the network that it is plugged into.
        network: its parameters, by path.
        condition_channels: of a condition image.
    """
    wanted = parameters_of(ControlNet(plan, condition_channels, init=abstract_initializer))
    copied = {_ENCODER + path: x for path, x in network.items() if _ENCODER + path in wanted}
    return {path: _widened(copied[path], x.shape) if path in copied else jnp.zeros(x.shape) for path, x in wanted.items()}


def _widened(x: Any, shape: tuple[int, ...]) -> Array:
    """With zeros behind, up to a shape."""
    return jnp.pad(x, [(0, wanted - found) for found, wanted in zip(x.shape, shape, strict=True)])


def _key(name: str) -> str:
    return name.replace(".", "_")
