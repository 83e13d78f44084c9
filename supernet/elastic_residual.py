"""The residual block of a supernet: every block that an architecture can put at one position of a stage.

What costs little code at full width runs once, on channels that are padded with zeros: norms, SiLU, depthwise convolutions.
Only the matmuls and full convolutions are switched, each on slices of exactly the chosen widths. So a switch of dozens of
members compiles in a fraction of the time that dozens of whole blocks would take.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from search_space import Scale
from search_space.plan import ResidualSpec
from supernet.blocks import residual
from supernet.convolution import Lowering
from supernet.families import Family, Parameters
from supernet.layers import normalise_groups
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

    def choices(
        self, in_channels: Array, skip_channels: Array | int, out_channels: Array, convolution: Array
    ) -> dict[str, Array]:
        """What `__call__` needs to know of one block: traced channels, and the index of each layer's member."""
        full, kinds = in_channels + skip_channels, len(self.convolutions)
        shape = _find(self.shapes, full, out_channels)
        out = _find(tuple((out, out) for out in self.outs), out_channels, out_channels)
        return {
            "in": in_channels, "full": full, "out": out_channels, "convolution": convolution,
            "conv1": shape * kinds + convolution, "conv2": out * kinds + convolution, "shortcut": shape,
        }  # fmt: skip

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Channels that a block takes, stream and skip together, and that it gives."""
        return tuple(sorted({(spec.in_channels + spec.skip_channels, spec.out_channels) for spec in self.family.specs}))

    @cached_property
    def outs(self) -> tuple[int, ...]:
        """Channels that a block gives."""
        return tuple(sorted({out for _, out in self.shapes}))

    def __call__(
        self, choices: dict[str, Array], stored: Parameters, x: Array, time: Array, skip: Array | None = None
    ) -> Array:
        """Applies the chosen block; channels behind the chosen ones come in and go out as zeros."""
        if skip is not None:
            stored = self.family.compact(stored, choices["in"])
            x = lax.dynamic_update_slice_in_dim(pad(x, x.shape[-1] + skip.shape[-1]), skip, choices["in"], -1)
        narrow = self.outs[-1]
        widest = next(spec for spec in self.family.specs if spec.out_channels == narrow)
        return residual(
            x,
            time,
            norm1=lambda x: self._norm("norm1", choices["full"], stored, x),
            conv1=lambda x: self._convolve("conv1", choices, stored, x, narrow),
            time_dense=self.family.layer(stored, widest, "time"),
            norm2=lambda x: self._norm("norm2", choices["out"], stored, x),
            conv2=lambda x: self._convolve("conv2", choices, stored, x, self.width),
            shortcut=lambda x: self._shortcut(choices, stored, x),
        )

    def _norm(self, name: str, channels: Array, stored: Parameters, x: Array) -> Array:
        """Group norm of the leading channels; a matrix averages over each channel's group, whatever the norm rule."""
        groups = self.scale.norm_groups
        size = channels // groups if groups else jnp.asarray(self.scale.norm_group_size)
        place = jnp.arange(x.shape[-1])
        same_group = (place[:, None] // size == place[None, :] // size) & (place < channels)[:, None]
        matrix = same_group / size.astype(x.dtype)
        scale, bias = (stored[f"{name}/{path}"].reshape(1, 1, -1) for path in ("scale", "bias"))
        average = lambda moments: jnp.matmul(moments, matrix[None], precision="highest")  # noqa: E731
        return normalise_groups(x, scale, bias, average=average, epsilon=self.scale.norm_epsilon)

    def _convolve(self, name: str, choices: dict[str, Array], stored: Parameters, x: Array, width: int) -> Array:
        if "separable" in self.convolutions:
            kinds = {"full": lambda x, kernel: x, "separable": self.lowering.depthwise3x3}
            branches = [kinds[kind] for kind in self.convolutions]
            x = switch(choices["convolution"], branches, x, stored[f"{name}/depthwise"])
        paths = {"full": name, "separable": f"{name}/pointwise"}
        shapes = self.shapes if name == "conv1" else [(out, out) for out in self.outs]
        layers = [(shape, kind, paths[kind]) for shape in shapes for kind in self.convolutions]
        return self._switch(choices[name], layers, stored, x, width)

    def _shortcut(self, choices: dict[str, Array], stored: Parameters, x: Array) -> Array:
        layers = [(shape, self.convolutions[0], "shortcut") for shape in self.shapes]
        return self._switch(choices["shortcut"], layers, stored, x, self.width)

    def _switch(
        self, index: Array, layers: Sequence[tuple[tuple[int, int], str, str]], stored: Parameters, x: Array, width: int
    ) -> Array:
        """The chosen one of layers that are given by shape, kind of convolution and path, on exactly its channels."""
        used = {name: array for name, array in stored.items() if name.startswith(tuple(f"{path}/" for _, _, path in layers))}
        return switch(index, [self._branch(*layer, width) for layer in layers], used, x)

    def _branch(self, shape: tuple[int, int], kind: str, path: str, width: int) -> Callable[..., Array]:
        taken, given = shape
        if path == "shortcut" and taken == given:
            return lambda used, x: pad(x[..., :taken], width)
        spec = next(s for s in self.family.specs if s.convolution == kind and _fits(s, path, shape))
        return lambda used, x: pad(self.family.layer(used, spec, path)(x[..., :taken]), width)


def _fits(spec: ResidualSpec, path: str, shape: tuple[int, int]) -> bool:
    if path.startswith("conv2"):
        return spec.out_channels == shape[1]
    return (spec.in_channels + spec.skip_channels, spec.out_channels) == shape


def pad(x: Array, channels: int) -> Array:
    """The image or sequence with zeros behind its channels, or without those beyond."""
    missing = channels - x.shape[-1]
    if missing <= 0:
        return x[..., :channels]
    return jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((0, missing),))


def _find(known: Sequence[tuple[int, int]], first: Array, second: Array) -> Array:
    """Where, among known pairs of integers, the wanted one stands."""
    pairs = np.asarray(known)
    return jnp.sum(((pairs[:, 0] == first) & (pairs[:, 1] == second)) * np.arange(len(known)))
