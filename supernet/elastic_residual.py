"""The residual block of a supernet: every block that an architecture can put at one position of a stage.

What costs little code at full width runs once, on channels that are padded with zeros: norms, SiLU, depthwise convolutions.
Only the matmuls and full convolutions are switched, each on slices of exactly the chosen widths. So a switch of dozens of
members compiles in a fraction of the time that dozens of whole blocks would take.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property

from jax import lax
from jaxtyping import Array

from search_space import Scale
from search_space.plan import ResidualSpec
from supernet.blocks import residual
from supernet.convolution import Lowering
from supernet.elastic_layers import elastic_group_norm, pad
from supernet.elastic_stage import Row
from supernet.families import Family, Parameters, only
from supernet.switch import switch


@dataclasses.dataclass(frozen=True)
class ElasticResidual:
    """The residual blocks of a stage as one function of the chosen widths.

    Attributes:
        family: the blocks; its members' widths are the alternatives.
        convolutions: kinds of convolution, in the order of their gene's choices.
        scale: whose norm rule holds.
        lowering: of the convolutions.
        width: channels to which stream and output are padded.
    """

    family: Family
    convolutions: tuple[str, ...]
    scale: Scale
    lowering: Lowering
    width: int

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Channels that a block takes, stream and skip together, and that it gives."""
        return tuple(sorted({(spec.in_channels + spec.skip_channels, spec.out_channels) for spec in self.family.specs}))

    @cached_property
    def outs(self) -> tuple[int, ...]:
        """Channels that a block gives."""
        return tuple(sorted({out for _, out in self.shapes}))

    def __call__(self, row: Row, stored: Parameters, x: Array, time: Array, skip: Array | None = None) -> Array:
        """Applies the chosen block; channels behind the chosen ones come in and go out as zeros."""
        if skip is not None:
            x = pad(x, x.shape[-1] + skip.shape[-1])
            x = lax.dynamic_update_slice_in_dim(x, skip, row["in_channels"], -1, allow_negative_indices=False)
        narrow = self.outs[-1]
        widest = next(spec for spec in self.family.specs if spec.out_channels == narrow)
        return residual(
            x,
            time,
            norm1=lambda x: self._norm("norm1", row["full_channels"], row, stored, x),
            conv1=lambda x: self._convolve("conv1", row, stored, x, narrow),
            time_dense=self.family.layer(stored, widest, "time"),
            norm2=lambda x: self._norm("norm2", row["channels"], row, stored, x),
            conv2=lambda x: self._convolve("conv2", row, stored, x, self.width),
            shortcut=lambda x: self._shortcut(row, stored, x),
        )

    def _norm(self, name: str, channels: Array, row: Row, stored: Parameters, x: Array) -> Array:
        scale, bias = (self._whole(stored, f"{name}/{path}", x.shape[-1:], row) for path in ("scale", "bias"))
        return elastic_group_norm(x, channels, scale, bias, rule=self.scale, epsilon=self.scale.norm_epsilon)

    def _convolve(self, name: str, row: Row, stored: Parameters, x: Array, width: int) -> Array:
        if "separable" in self.convolutions:
            path = f"{name}/depthwise"
            kernel = lambda row, stored, x: self._whole(stored, path, (3, 3, x.shape[-1]), row)  # noqa: E731
            kinds = {
                "full": lambda row, stored, x: x,
                "separable": lambda row, stored, x: self.lowering.depthwise3x3(x, kernel(row, stored, x)),
            }
            branches = [kinds[kind] for kind in self.convolutions]
            x = switch(row["convolution"], branches, {path: stored[path]}, x, choices=row)
        paths = {"full": name, "separable": f"{name}/pointwise"}
        shapes = self.shapes if name == "conv1" else [(out, out) for out in self.outs]
        layers = [(shape, kind, paths[kind]) for shape in shapes for kind in self.convolutions]
        return self._switch(name, layers, row, stored, x, width)

    def _whole(self, stored: Parameters, path: str, shape: tuple[int, ...], row: Row) -> Array:
        """A parameter at full width, with the skip's channels right behind the chosen ones of the stream."""
        return self.family.cut(path, shape, stored, row["in_channels"])

    def _shortcut(self, row: Row, stored: Parameters, x: Array) -> Array:
        layers = [(shape, self.convolutions[0], "shortcut") for shape in self.shapes]
        return self._switch("shortcut", layers, row, stored, x, self.width)

    def _switch(
        self, name: str, layers: Sequence[tuple[tuple[int, int], str, str]], row: Row, stored: Parameters,
        x: Array, width: int,
    ) -> Array:  # fmt: skip
        """The chosen one of layers that are given by shape, kind of convolution and path, on exactly its channels."""
        used = only(stored, *(path for _, _, path in layers))
        return switch(row[name], [self._branch(*layer, width) for layer in layers], used, x, choices=row)

    def _branch(self, shape: tuple[int, int], kind: str, path: str, width: int) -> Callable[..., Array]:
        taken, given = shape
        if path == "shortcut" and taken == given:
            return lambda row, used, x: pad(x[..., :taken], width)
        spec = next(s for s in self.family.specs if s.convolution == kind and _fits(s, path, shape))
        return lambda row, used, x: pad(self.family.layer(used, spec, path, row["in_channels"])(x[..., :taken]), width)


def _fits(spec: ResidualSpec, path: str, shape: tuple[int, int]) -> bool:
    if path.startswith("conv2"):
        return spec.out_channels == shape[1]
    return (spec.in_channels + spec.skip_channels, spec.out_channels) == shape
