"""Extraction: a subnet as a stand-alone UNet with the weights that the supernet holds for it."""

from typing import Any

from search_space import Architecture
from supernet.convolution import XLA, Lowering
from supernet.initializer import abstract_initializer
from supernet.parameters import block_path, parameters_of, with_parameters
from supernet.subnets import subnet_parameters
from supernet.supernet import Supernet, SupernetParameters
from supernet.unet import UNet


def extract(
    supernet: Supernet, parameters: SupernetParameters, architecture: Architecture, *, lowering: Lowering = XLA
) -> UNet:
    """The stand-alone UNet of an architecture; it computes what the supernet computes for it, to float32 rounding.

    Raises:
        ValueError: the architecture is not in the supernet's space.
    """
    plan, sliced = subnet_parameters(supernet, parameters, architecture)
    paths = {block_path(name) + path: a for name, of in sliced.items() for path, a in of.items()}
    return load_unet(UNet(plan, init=abstract_initializer, lowering=lowering), paths)


def unet_parameters(unet: UNet) -> dict[str, Any]:
    """A UNet's parameters by path, "blocks/down0_0_residual/conv1/kernel"."""
    return parameters_of(unet)


def load_unet(unet: UNet, parameters: dict[str, Any]) -> UNet:
    """The UNet with these parameters, by path.

    Raises:
        ValueError: a parameter is missing, left over, or of another shape; the message names the first few.
    """
    wanted = {path: tuple(array.shape) for path, array in unet_parameters(unet).items()}
    for title, paths in (
        ("missing", wanted.keys() - parameters.keys()),
        ("left over", parameters.keys() - wanted.keys()),
    ):
        if paths:
            shown = ", ".join(sorted(paths)[:3]) + (" ..." if len(paths) > 3 else "")
            raise ValueError(f"{len(paths)} parameters are {title}: {shown}; the weights belong to another architecture")
    for path, shape in wanted.items():
        if tuple(parameters[path].shape) != shape:
            raise ValueError(f"parameter {path} must have shape {shape}, got {tuple(parameters[path].shape)}")
    return with_parameters(unet, parameters)
