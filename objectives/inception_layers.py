"""The layers of the InceptionV3 of TensorFlow's graph of 2015, as data, and the names that weights files give their arrays.

Source: Szegedy et al. 2016, "Rethinking the Inception Architecture"; pytorch-fid's `inception.py` for what the graph has
otherwise, torch-fidelity's `util_convert_inception_weights.py` for the graph's names.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

NUM_FEATURES = 2048


@dataclasses.dataclass(frozen=True)
class Unit:
    """A convolution without bias, a batch normalisation and a ReLU.

    Attributes:
      name: As pytorch-fid and torch-fidelity call it.
      tensorflow_name: As the graph of 2015 calls it.
      num_in: Channels that it is given.
      num_out: Channels that it gives.
      kernel: (height, width).
      stride: Of both axes.
      padding: "SAME" or "VALID".
    """

    name: str
    tensorflow_name: str
    num_in: int
    num_out: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: str = "SAME"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of its arrays by their names here."""
        of_channels = dict.fromkeys(("scale", "offset", "mean", "variance"), (self.num_out,))
        return {"kernel": (*self.kernel, self.num_in, self.num_out)} | of_channels


@dataclasses.dataclass(frozen=True)
class Parallel:
    """Branches that are all given the same, and whose channels are then put side by side."""

    branches: tuple["Layers", ...]


Pool = Callable[[Array], Array]
Layers = tuple[Unit | Parallel | Pool, ...]


def _average(x: Array) -> Array:
    return nnx.avg_pool(x, (3, 3), strides=(1, 1), padding="SAME", count_include_pad=False)


def _maximum(x: Array) -> Array:
    return nnx.max_pool(x, (3, 3), strides=(1, 1), padding="SAME")


def _halving(x: Array) -> Array:
    return nnx.max_pool(x, (3, 3), strides=(2, 2), padding="VALID")


@dataclasses.dataclass(frozen=True)
class _Conv:
    num_out: int
    kernel: tuple[int, int]
    stride: int = 1


@dataclasses.dataclass(frozen=True)
class _Branch:
    """A pooling or none, convolutions, and then, in the last blocks, two more side by side."""

    name: str
    convs: tuple[_Conv, ...] = ()
    pool: Pool | None = None
    ends: tuple[_Conv, ...] = ()

    @property
    def is_tower(self) -> bool:
        """In the graph of 2015 a branch of one convolution stands in the block itself, the others in towers."""
        return self.pool is not None or len(self.convs) + len(self.ends) > 1


def _path(name: str, *convs: tuple[int, int, int], stride: int = 1, pool: Pool | None = None, parts: bool = False) -> _Branch:
    """A branch from (channels, height, width) of its convolutions; the stride is the last one's."""
    plain = [_Conv(num_out, (height, width)) for num_out, height, width in convs]
    if plain:
        plain[-1] = dataclasses.replace(plain[-1], stride=stride)
    return _Branch(name, tuple(plain), pool, (_Conv(384, (1, 3)), _Conv(384, (3, 1))) if parts else ())


def _block_a(pooled: int) -> tuple[_Branch, ...]:
    return (
        _path("branch1x1", (64, 1, 1)),
        _path("branch5x5", (48, 1, 1), (64, 5, 5)),
        _path("branch3x3dbl", (64, 1, 1), (96, 3, 3), (96, 3, 3)),
        _path("branch_pool", (pooled, 1, 1), pool=_average),
    )


def _block_b() -> tuple[_Branch, ...]:
    return (
        _path("branch3x3", (384, 3, 3), stride=2),
        _path("branch3x3dbl", (64, 1, 1), (96, 3, 3), (96, 3, 3), stride=2),
        _path("branch_pool", pool=_halving),
    )


def _block_c(width: int) -> tuple[_Branch, ...]:
    return (
        _path("branch1x1", (192, 1, 1)),
        _path("branch7x7", (width, 1, 1), (width, 1, 7), (192, 7, 1)),
        _path("branch7x7dbl", (width, 1, 1), (width, 7, 1), (width, 1, 7), (width, 7, 1), (192, 1, 7)),
        _path("branch_pool", (192, 1, 1), pool=_average),
    )


def _block_d() -> tuple[_Branch, ...]:
    return (
        _path("branch3x3", (192, 1, 1), (320, 3, 3), stride=2),
        _path("branch7x7x3", (192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3), stride=2),
        _path("branch_pool", pool=_halving),
    )


def _block_e(pool: Pool) -> tuple[_Branch, ...]:
    return (
        _path("branch1x1", (320, 1, 1)),
        _path("branch3x3", (384, 1, 1), parts=True),
        _path("branch3x3dbl", (448, 1, 1), (384, 3, 3), parts=True),
        _path("branch_pool", (192, 1, 1), pool=pool),
    )


_BLOCKS = (
    ("Mixed_5b", _block_a(32)), ("Mixed_5c", _block_a(64)), ("Mixed_5d", _block_a(64)), ("Mixed_6a", _block_b()),
    ("Mixed_6b", _block_c(128)), ("Mixed_6c", _block_c(160)), ("Mixed_6d", _block_c(160)), ("Mixed_6e", _block_c(192)),
    ("Mixed_7a", _block_d()), ("Mixed_7b", _block_e(_average)), ("Mixed_7c", _block_e(_maximum)),
)  # fmt: skip


def _network() -> Layers:
    layers: Layers = (
        Unit("Conv2d_1a_3x3", "conv", 3, 32, (3, 3), stride=2, padding="VALID"),
        Unit("Conv2d_2a_3x3", "conv_1", 32, 32, (3, 3), padding="VALID"),
        Unit("Conv2d_2b_3x3", "conv_2", 32, 64, (3, 3)),
        _halving,
        Unit("Conv2d_3b_1x1", "conv_3", 64, 80, (1, 1)),
        Unit("Conv2d_4a_3x3", "conv_4", 80, 192, (3, 3), padding="VALID"),
        _halving,
    )
    channels = 192
    for index, (name, branches) in enumerate(_BLOCKS):
        block, channels = _block(name, f"mixed_{index}" if index else "mixed", channels, branches)
        layers += (block,)
    assert channels == NUM_FEATURES
    return layers


def _block(name: str, tensorflow_name: str, num_in: int, branches: tuple[_Branch, ...]) -> tuple[Parallel, int]:
    """The block and the number of channels that it gives."""
    towers = iter(f"{tensorflow_name}/tower{number}" for number in ("", "_1", "_2"))
    built, num_out = [], 0
    for branch in branches:
        place = next(towers) if branch.is_tower else tensorflow_name
        built.append(_branch(f"{name}.{branch.name}", place, num_in, branch))
        num_out += sum(conv.num_out for conv in branch.ends or branch.convs[-1:]) if branch.convs else num_in
    return Parallel(tuple(built)), num_out


def _branch(name: str, place: str, num_in: int, branch: _Branch) -> Layers:
    layers: Layers = () if branch.pool is None else (branch.pool,)
    is_numbered = len(branch.convs) + len(branch.ends) > 1
    for index, conv in enumerate(branch.convs):
        suffix, number = f"_{index + 1}" if is_numbered else "", f"_{index}" if index else ""
        padding = "VALID" if conv.stride > 1 else "SAME"
        layers += (Unit(f"{name}{suffix}", f"{place}/conv{number}", num_in, conv.num_out, conv.kernel, conv.stride, padding),)
        num_in = conv.num_out
    if branch.ends:
        first = f"{name}_{len(branch.convs) + 1}"
        ends = [
            (Unit(f"{first}{letter}", f"{place}/mixed/conv{number}", num_in, conv.num_out, conv.kernel),)
            for letter, number, conv in zip("ab", ("", "_1"), branch.ends, strict=True)
        ]
        layers += (Parallel(tuple(ends)),)
    return layers


NETWORK = _network()


def units(layers: Layers = NETWORK) -> Iterator[Unit]:
    """All units of the network, in the order in which an image meets them."""
    for layer in layers:
        if isinstance(layer, Unit):
            yield layer
        elif isinstance(layer, Parallel):
            for branch in layer.branches:
                yield from units(branch)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a weights file names and shapes the network's arrays.

    Attributes:
      name: For people.
      reference: Whose preprocessing goes with it where nothing else is said; a key of `PREPROCESSING`.
      tensor: A unit and one of its arrays to the tensor's name.
      axes: The file's axes of a kernel, by their place in (height, width, in, out).
      is_ignored: Whether a tensor of that name is in such files too, and not needed.
    """

    name: str
    reference: str
    tensor: Callable[[Unit, str], str]
    axes: tuple[int, int, int, int]
    is_ignored: Callable[[str], bool]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors that a file must have, by name."""
        return {
            self.tensor(unit, part): tuple(shape[axis] for axis in self.axes) if part == "kernel" else shape
            for unit in units()
            for part, shape in unit.shapes().items()
        }

    def weights(self, read: Callable[[str], np.ndarray]) -> dict[str, Float[np.ndarray, "..."]]:
        """The network's arrays from the file's: by `UNIT.PART`, in float32, kernels as (height, width, in, out).

        Args:
          read: A tensor by its name.
        """
        found = {}
        for unit in units():
            for part in unit.shapes():
                array = np.asarray(read(self.tensor(unit, part)), np.float32)
                found[f"{unit.name}.{part}"] = array.transpose(np.argsort(self.axes)) if part == "kernel" else array
        return found


_OF_TORCH = {"kernel": "conv.weight", "scale": "bn.weight", "offset": "bn.bias", "mean": "bn.running_mean"}
_OF_TORCH |= {"variance": "bn.running_var"}
_OF_TENSORFLOW = {"kernel": "conv2d_params", "scale": "batchnorm/gamma", "offset": "batchnorm/beta"}
_OF_TENSORFLOW |= {"mean": "batchnorm/moving_mean", "variance": "batchnorm/moving_variance"}
LAYOUTS = (
    Layout(
        "PyTorch (pytorch-fid, torch-fidelity)", "pytorch-fid", lambda unit, part: f"{unit.name}.{_OF_TORCH[part]}",
        (3, 2, 0, 1), lambda name: name == "fc.bias" or name.endswith(".num_batches_tracked"),
    ),
    Layout(
        "TensorFlow's graph of 2015", "tensorflow", lambda unit, part: f"{unit.tensorflow_name}/{_OF_TENSORFLOW[part]}",
        (0, 1, 2, 3), lambda name: name.startswith("softmax/"),
    ),
)  # fmt: skip
