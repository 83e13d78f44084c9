"""Two ways to lower the 3x3 convolutions to XLA, equal in value, very unequal in speed on a CPU.

Inside a conditional or a loop XLA's CPU backend computes the gradients of a convolution on a slow path, and depthwise
convolutions are slow there everywhere; as matmuls and shifted multiply-adds they are not. Accelerators and mobile
runtimes want the ordinary operation.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Image = Float[Array, "batch height width channels"]


@dataclasses.dataclass(frozen=True)
class Lowering:
    """How 3x3 convolutions are computed; padding is 1 on every side, as in Stable Diffusion.

    Attributes:
        name: what it is called.
        conv3x3: (image, kernel [3, 3, in, out], stride) to image.
        depthwise3x3: (image, kernel [3, 3, channels]) to image.
    """

    name: str
    conv3x3: Callable[[Image, Float[Array, "3 3 channels out"], int], Float[Array, "batch rows columns out"]]
    depthwise3x3: Callable[[Image, Float[Array, "3 3 channels"]], Image]


def _conv(x: Array, kernel: Array, stride: int) -> Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _grouped_conv(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x, kernel[:, :, None, :], (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )  # fmt: skip


def _shifts(x: Array, stride: int) -> list[Array]:
    """The nine shifted views that a 3x3 window sees, row by row."""
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [padded[:, i : i + height : stride, j : j + width : stride] for i in range(3) for j in range(3)]


def _matmul_conv(x: Array, kernel: Array, stride: int) -> Array:
    columns = jnp.concatenate(_shifts(x, stride), -1)
    return columns @ kernel.reshape(-1, kernel.shape[-1])


def _shifted_depthwise(x: Array, kernel: Array) -> Array:
    taps = kernel.reshape(9, 1, 1, 1, -1)
    return sum((tap * view for tap, view in zip(taps[1:], _shifts(x, 1)[1:], strict=True)), taps[0] * _shifts(x, 1)[0])


XLA = Lowering("xla", _conv, _grouped_conv)
MATMUL = Lowering("matmul", _matmul_conv, _shifted_depthwise)


def training_lowering() -> Lowering:
    """The faster lowering for training on this machine's default backend."""
    return MATMUL if jax.default_backend() == "cpu" else XLA
