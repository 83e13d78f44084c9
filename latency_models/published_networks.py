"""The networks of published figures as kernels: each derived from its configuration, none of them timed."""

import dataclasses
import itertools
from collections.abc import Iterable
from functools import cache

from latency_models.kernel_options import Execution
from latency_models.kernels import Kernel
from latency_models.published_profiles import PublishedLatency
from search_space import Architecture, BlockPlan, LayerPlan, Level, Operation, Scale, Stage, get_design, get_scale, layer_plan
from search_space.blocks import ConvolutionSpec, TransformerSpec
from search_space.operations import conv3x3, linear

_BRANCH = "ControlNet branch of SD 1.5"
# Of a latent pixel's side, in pixels of the image.
_PIXELS = 8
# The hint of a ControlNet, an image, comes down to latent pixels: channels and stride of each 3x3 convolution
# (Zhang et al. 2023, as diffusers' ControlNetConditioningEmbedding builds it).
_HINT = ((16, 1), (16, 1), (32, 2), (32, 1), (96, 2), (96, 1), (256, 2), (320, 1))


def is_whole(figure: PublishedLatency) -> bool:
    """Whether a figure is about a whole UNet, and not about what runs beside one."""
    return figure.network != _BRANCH


def is_derivable(figure: PublishedLatency) -> bool:
    """Whether a figure's network is one of those here, and its resolution is stated."""
    return _plan_of(figure) is not None


def figure_kernels(figure: PublishedLatency, execution: Execution) -> tuple[Kernel, ...]:
    """All kernels of a figure's call; a batch that is not stated is taken as 1, so that a bound stays one.

    Raises:
      ValueError: Its network is none of those here, or its resolution is not stated.
    """
    kernels = (kernel for block in _blocks(figure) for kernel in execution.kernels(block))
    batch = figure.batch or 1
    return tuple(kernels) if batch == 1 else tuple(_batched(kernel, batch) for kernel in kernels)


def figure_parameters(figure: PublishedLatency) -> int:
    """Learned numbers of a figure's network.

    Raises:
      ValueError: Its network is none of those here, or its resolution is not stated.
    """
    return sum(block.parameters for block in _blocks(figure))


def figure_macs(figure: PublishedLatency) -> int:
    """Multiply-accumulates of a figure's network on one input.

    Raises:
      ValueError: Its network is none of those here, or its resolution is not stated.
    """
    return sum(block.macs for block in _blocks(figure))


def distinct_kernels(figures: Iterable[PublishedLatency], execution: Execution) -> list[Kernel]:
    """Each kernel once that the figures' networks have on one input.

    Raises:
      ValueError: A network is none of those here, or its resolution is not stated.
    """
    blocks = {(block.spec, block.resolution, figure.network): block for figure in figures for block in _blocks(figure)}
    return list(dict.fromkeys(kernel for block in blocks.values() for kernel in execution.kernels(block)))


def _plan_of(figure: PublishedLatency) -> LayerPlan | None:
    if figure.resolution is None:
        return None
    return _plan(figure.network, figure.design, figure.resolution // _PIXELS)


def _blocks(figure: PublishedLatency) -> tuple[BlockPlan, ...]:
    plan = _plan_of(figure)
    if plan is None:
        pixels = f"{figure.resolution} pixels" if figure.resolution else "a resolution that is not stated"
        raise ValueError(f"the kernels of {figure.network} at {pixels} are not known")
    return plan.blocks if is_whole(figure) else _branch(plan)


@cache
def _plan(network: str, design: str | None, resolution: int) -> LayerPlan | None:
    """Time embeddings of image sizes (5 of SDXL's 2,567 M parameters) are left out."""
    if design is not None or network == _BRANCH:
        known = get_design(design or "sd15")
        return layer_plan(known.architecture, dataclasses.replace(get_scale(known.scale), resolution=resolution))
    if network == "SD 2.1":
        return layer_plan(get_design("sd15").architecture, _scale(network, resolution, context_width=1024))
    if network == "SDXL":
        return layer_plan(_sdxl(), _scale(network, resolution, context_width=2048))
    return None


def _scale(name: str, resolution: int, *, context_width: int) -> Scale:
    """Stable Diffusion's after 1.5: heads of 64 channels, and one pair of projections around a block's layers."""
    return Scale(
        name, resolution, 4, 4, 64, context_length=77, context_width=context_width, time_features=320, time_width=1280,
        norm_groups=32, head_width=64,
    )  # fmt: skip


def _sdxl() -> Architecture:
    def level(width: int, depth: int) -> Level:
        return Level(width, Stage(2, transformer_depth=depth), Stage(3, transformer_depth=depth))

    return Architecture((level(5, 0), level(10, 2), level(20, 10)), Stage(2, transformer_depth=10))


def _branch(plan: LayerPlan) -> tuple[BlockPlan, ...]:
    """A ControlNet's branch: the UNet's way down and its middle, the hint's convolutions, a 1x1 convolution of each skip."""
    way_down = [block for block in plan.blocks if not block.stage.startswith(("up", "output"))]
    resolution, channels = plan.scale.resolution * _PIXELS, 3
    hint: list[Operation] = []
    for i, (out_channels, stride) in enumerate(_HINT):
        resolution //= stride
        hint.append(conv3x3(f"hint{i}", channels, out_channels, resolution, reads="stream", stride=stride))
        image = hint[-1].out_shape
        hint += [Operation(f"activation{i}", "activation", image, image, (f"hint{i}",))] * (i < len(_HINT) - 1)
        channels = out_channels
    pairs = itertools.pairwise(way_down)
    skips = [block for block, after in pairs if block.stage not in ("time", "mid") and not _is_transformer(after)]
    outputs = [block.out_shape for block in (*skips, way_down[-1])]
    zero = [linear("zero", shape, shape[-1], reads="stream") for shape in outputs]
    spec = ConvolutionSpec(3, channels, "keep")
    beside = BlockPlan("hint", "hint", spec, plan.scale.resolution, None, (*hint, *zero))
    return (*way_down, beside)


def _is_transformer(block: BlockPlan) -> bool:
    return isinstance(block.spec, TransformerSpec)


def _batched(kernel: Kernel, batch: int) -> Kernel:
    """A kernel on several examples, whose weights are read once."""
    return dataclasses.replace(
        kernel, rows=batch * kernel.rows, macs=batch * kernel.macs, elements=batch * kernel.elements,
        bytes=batch * (kernel.bytes - kernel.weight_bytes) + kernel.weight_bytes,
    )  # fmt: skip
