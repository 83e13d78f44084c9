"""Which tensor of a diffusers `UNet2DConditionModel` is which parameter of our stand-alone UNet, and how its axes lie.

One table serves both directions. There, a convolution's kernel is [out, in, height, width] and a linear layer's [out, in];
here they are [height, width, in, out] and [in, out]. The gated feed-forward's value and gate are the two halves of one
matrix there (value first) and two matrices here, so that both can be sliced.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from search_space import BlockPlan, LayerPlan
from search_space.plan import ConvolutionSpec, OutputSpec, ResidualSpec, TimeSpec, TransformerSpec
from supernet.extraction import unet_parameters
from supernet.initializer import abstract_initializer
from supernet.unet import UNet

Kernel = Literal["convolution", "matrix", "pointwise"]
Layout = Literal["convolution", "matrix", "pointwise", "vector"]
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Correspondence:
    """One tensor of diffusers and the parameters of ours that it holds.

    Attributes:
        tensor: its name in diffusers.
        shape: its shape there.
        paths: our parameters, stacked along its first axis.
        layout: how its axes relate to ours; "pointwise" is a matrix of ours that is a 1x1 convolution there.
    """

    tensor: str
    shape: Shape
    paths: tuple[str, ...]
    layout: Layout

    def to_ours(self, tensor: np.ndarray) -> dict[str, np.ndarray]:
        """Our parameters by path, as views of the tensor."""
        parts = np.split(tensor, len(self.paths))
        return {path: _to_ours(part, self.layout) for path, part in zip(self.paths, parts, strict=True)}

    def to_theirs(self, parameters: Sequence[np.ndarray]) -> np.ndarray:
        """The tensor, from our parameters in the order of `paths`."""
        parts = [_to_theirs(parameter, self.layout) for parameter in parameters]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A layer with a kernel or a scale, and perhaps a bias: ours (several are stacked there), theirs, and its kernel's layout.

    A normalisation has no kernel, and its layout is None.
    """

    ours: tuple[str, ...]
    theirs: str
    kernel: Kernel | None = None


def correspondences(plan: LayerPlan, *, has_linear_projections: bool = False) -> tuple[Correspondence, ...]:
    """Every tensor of the network, in the order of the plan's blocks.

    Args:
        plan: of an architecture that diffusers can express.
        has_linear_projections: whether transformers store their projections as linear layers, not as 1x1 convolutions.
    """
    shapes = {path: tuple(array.shape) for path, array in unet_parameters(UNet(plan, init=abstract_initializer)).items()}
    found = [
        entry
        for block in plan.blocks
        for layer in _layers(block, plan, has_linear_projections)
        for entry in _tensors(layer, shapes)
    ]
    assert len({entry.tensor for entry in found}) == len(found), "two of our blocks are one block in diffusers"
    covered = {path for entry in found for path in entry.paths}
    assert covered == shapes.keys(), f"parameters without a tensor: {sorted(shapes.keys() - covered)[:3]}"
    return tuple(found)


def _to_ours(tensor: np.ndarray, layout: Layout) -> np.ndarray:
    match layout:
        case "convolution":
            return tensor.transpose(2, 3, 1, 0)
        case "matrix":
            return tensor.T
        case "pointwise":
            return tensor[:, :, 0, 0].T
        case "vector":
            return tensor


def _to_theirs(parameter: np.ndarray, layout: Layout) -> np.ndarray:
    match layout:
        case "convolution":
            return parameter.transpose(3, 2, 0, 1)
        case "matrix":
            return parameter.T
        case "pointwise":
            return parameter.T[:, :, None, None]
        case "vector":
            return parameter


def _tensors(layer: _Layer, shapes: Mapping[str, Shape]) -> Iterator[Correspondence]:
    """The tensors of a layer, those of them that our network has."""
    first, weight = ("scale", "vector") if layer.kernel is None else ("kernel", layer.kernel)
    parameters: tuple[tuple[str, str, Layout], ...] = ((first, "weight", weight), ("bias", "bias", "vector"))
    for ours, theirs, layout in parameters:
        paths = tuple(f"blocks/{path}/{ours}" for path in layer.ours)
        if paths[0] in shapes:
            weightless = np.broadcast_to(np.zeros((), np.int8), shapes[paths[0]])
            rows, *rest = _to_theirs(weightless, layout).shape
            yield Correspondence(f"{layer.theirs}.{theirs}", (len(paths) * rows, *rest), paths, layout)


def _layers(block: BlockPlan, plan: LayerPlan, has_linear_projections: bool) -> list[_Layer]:
    ours = block.name.replace(".", "_")
    stage, position = _stage(block.stage, len(plan.architecture.levels)), block.name.split(".")[1]
    match block.spec:
        case TimeSpec():
            return [_Layer((f"{ours}/dense{i}",), f"time_embedding.linear_{i}", "matrix") for i in (1, 2)]
        case OutputSpec():
            return [_Layer((f"{ours}/norm",), "conv_norm_out"), _Layer((f"{ours}/conv",), "conv_out", "convolution")]
        case ConvolutionSpec(resample=resample):
            theirs = "conv_in" if resample == "keep" else f"{stage}.{resample}samplers.0.conv"
            return [_Layer((f"{ours}/conv",), theirs, "convolution")]
        case ResidualSpec():
            return _residual(ours, f"{stage}.resnets.{position}")
        case TransformerSpec(depth=depth):
            return _transformer(ours, f"{stage}.attentions.{position}", depth, has_linear_projections)


def _stage(name: str, num_levels: int) -> str:
    """Their name of our stage; up blocks are counted from the deepest level there."""
    if name.startswith("down"):
        return f"down_blocks.{name.removeprefix('down')}"
    if name.startswith("up"):
        return f"up_blocks.{num_levels - 1 - int(name.removeprefix('up'))}"
    return f"{name}_block"


def _residual(ours: str, theirs: str) -> list[_Layer]:
    layers: tuple[tuple[str, str, Kernel | None], ...] = (
        ("norm1", "norm1", None), ("conv1", "conv1", "convolution"), ("time", "time_emb_proj", "matrix"),
        ("norm2", "norm2", None), ("conv2", "conv2", "convolution"), ("shortcut", "conv_shortcut", "pointwise"),
    )  # fmt: skip
    return [_Layer((f"{ours}/{mine}",), f"{theirs}.{name}", kernel) for mine, name, kernel in layers]


def _transformer(ours: str, theirs: str, depth: int, has_linear_projections: bool) -> list[_Layer]:
    projection: Kernel = "matrix" if has_linear_projections else "pointwise"
    layers = [_Layer((f"{ours}/project_in/norm",), f"{theirs}.norm")]
    layers.append(_Layer((f"{ours}/project_in/dense",), f"{theirs}.proj_in", projection))
    for i in range(depth):
        layers += _transformer_layer(f"{ours}/layers/{i}", f"{theirs}.transformer_blocks.{i}")
    return [*layers, _Layer((f"{ours}/project_out/dense",), f"{theirs}.proj_out", projection)]


def _transformer_layer(ours: str, theirs: str) -> list[_Layer]:
    layers = []
    for number, name in ((1, "self_attention"), (2, "cross_attention")):
        mine, attention = f"{ours}/{name}", f"{theirs}.attn{number}"
        layers.append(_Layer((f"{mine}/norm",), f"{theirs}.norm{number}"))
        layers += [_Layer((f"{mine}/{x}",), f"{attention}.to_{x[0]}", "matrix") for x in ("query", "key", "value")]
        layers.append(_Layer((f"{mine}/out",), f"{attention}.to_out.0", "matrix"))
    mine = f"{ours}/feed_forward"
    return [
        *layers,
        _Layer((f"{mine}/norm",), f"{theirs}.norm3"),
        _Layer((f"{mine}/expand", f"{mine}/gate"), f"{theirs}.ff.net.0.proj", "matrix"),
        _Layer((f"{mine}/contract",), f"{theirs}.ff.net.2", "matrix"),
    ]
