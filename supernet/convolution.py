"""Two ways to lower the 3x3 convolutions to XLA, equal in value, very unequal in speed on a CPU.

Inside a conditional or a loop XLA's CPU backend computes the kernel's gradient of a convolution on a path that is 10 to 30
times slower than a matmul, and depthwise convolutions are slow there everywhere; as shifted multiply-adds they are not.
Accelerators and mobile runtimes want the ordinary operation.
"""

import dataclasses
import functools
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


def _shifts(x: Array) -> list[Array]:
    """The nine shifted views that a 3x3 window sees, row by row."""
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]


def _conv_for_cpu(x: Array, kernel: Array, stride: int) -> Array:
    if stride == 1 and max(x.shape[1:3]) <= 2:
        return _dense_conv(x, kernel)
    return _conv_with_matmul_gradient(stride, x, kernel)


def _dense_conv(x: Array, kernel: Array) -> Array:
    """The convolution of an image of at most 2x2 as one matmul: every output pixel sees every pixel, by one tap each."""
    batch, height, width, channels = x.shape
    seen = [kernel[1 - i : 1 - i + height, 1 - j : 1 - j + width] for i in range(height) for j in range(width)]
    matrix = jnp.stack(seen, 3).reshape(height * width * channels, -1)
    return (x.reshape(batch, -1) @ matrix).reshape(batch, height, width, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv_with_matmul_gradient(stride: int, x: Array, kernel: Array) -> Array:
    return _conv(x, kernel, stride)


def _conv_and_keep(stride: int, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _conv(x, kernel, stride), (x, kernel)


def _conv_gradients(stride: int, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """The image's gradient is a convolution with the turned kernel; the kernel's, one matmul of image and shifted gradients."""
    x, kernel = kept
    spread = (0, stride - 1, stride - 1)  # a strided convolution is an ordinary one of which pixels are left out
    gradient = lax.pad(gradient, jnp.zeros((), x.dtype), ((0, 0, 0), spread, spread, (0, 0, 0)))
    of_x = _conv(gradient, kernel[::-1, ::-1].swapaxes(2, 3), 1)
    channels, out = kernel.shape[2:]
    columns = jnp.concatenate(_shifts(gradient)[::-1], -1).reshape(-1, 9 * out)
    of_kernel = x.reshape(-1, channels).T @ columns
    return of_x, of_kernel.reshape(channels, 3, 3, out).transpose(1, 2, 0, 3)


_conv_with_matmul_gradient.defvjp(_conv_and_keep, _conv_gradients)


def _shifted_depthwise(x: Array, kernel: Array) -> Array:
    taps = kernel.reshape(9, 1, 1, 1, -1)
    return functools.reduce(jnp.add, (tap * view for tap, view in zip(taps, _shifts(x), strict=True)))


XLA = Lowering("xla", _conv, _grouped_conv)
MATMUL = Lowering("matmul", _conv_for_cpu, _shifted_depthwise)


def training_lowering() -> Lowering:
    """The faster lowering for training on this machine's default backend."""
    return MATMUL if jax.default_backend() == "cpu" else XLA
