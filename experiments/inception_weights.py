"""InceptionV3's weights from a local file, safetensors or npz, in the names of PyTorch's ports or of TensorFlow's graph."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from experiments.errors import InputError
from experiments.npz_file import read_npz
from experiments.pickles import PICKLES, pickle_refusal
from experiments.safetensors_stream import mismatch, read_header, shapes_of
from objectives.extractor import FeatureExtractor, array_digest
from objectives.inception import inception_extractor
from objectives.inception_layers import LAYOUTS, Layout

_HELP = "`pocketunet quality features` says how to bring one"
_TARGET = "inception.safetensors"
_SUFFIXES = (".safetensors", ".npz")
_MOST_SHOWN = 60  # characters of a name
_HEAD, _NUM_CLASSES = "fc.weight", 1008  # of the graph of 2015, and of its ports to PyTorch
_AUXILIARY = "AuxLogits."  # torchvision's alone


@dataclasses.dataclass(frozen=True, eq=False)
class InceptionWeights:
    """What a weights file holds.

    Attributes:
        layout: whose names it has.
        arrays: the network's arrays by `UNIT.PART`.
    """

    layout: Layout
    arrays: Mapping[str, np.ndarray]

    @property
    def num_parameters(self) -> int:
        """Numbers in it, statistics of the normalisations among them."""
        return sum(array.size for array in self.arrays.values())

    @property
    def digest(self) -> str:
        """Of the numbers, whatever the layout."""
        return array_digest(self.arrays)

    def extractor(self, preprocessing: str | None = None) -> FeatureExtractor:
        """The feature extractor; unless said otherwise it prepares images as the layout's reference does."""
        return inception_extractor(self.arrays, preprocessing=preprocessing or self.layout.reference)


def read_inception(path: Path) -> InceptionWeights:
    """Reads a weights file; its layout follows from its names.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is damaged, a pickle or of another type, of no known layout, of torchvision, or lacks something.
    """
    if path.suffix in PICKLES:
        raise pickle_refusal([path], target=_TARGET, then="give that file")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such weights file; {_HELP}")
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path}: weights must be a {' or '.join(_SUFFIXES)} file, got {path.name!r}; {_HELP}")
    shapes, read = _opened(path)
    layout = max(LAYOUTS, key=lambda one: len(one.shapes().keys() & shapes.keys()))
    wanted = layout.shapes()
    if not wanted.keys() & shapes.keys():
        raise InputError(_unknown(path, shapes))
    num_classes = shapes.pop(_HEAD, (_NUM_CLASSES,))[0]
    if num_classes != _NUM_CLASSES or any(name.startswith(_AUXILIARY) for name in shapes):
        raise InputError(
            f"{path}: these are torchvision's weights, of another network by the same names: distances in its features are "
            f"not FID; {_HELP}"
        )
    if problem := mismatch(shapes, wanted):
        raise InputError(f"{path}: these are not InceptionV3's weights in the layout of {layout.name}: {problem}; {_HELP}")
    for name in wanted:
        if not np.isfinite(read(name)).all():
            raise InputError(f"{path}: tensor {name!r} must hold finite numbers; convert the weights again")
    return InceptionWeights(layout, layout.weights(read))


def _opened(path: Path) -> tuple[dict[str, tuple[int, ...]], Callable[[str], np.ndarray]]:
    """The shapes of the tensors that matter by name, and how to read one."""
    if path.suffix == ".npz":
        arrays = read_npz(path, wants=lambda name: not _is_ignored(name))
        return {name: array.shape for name, array in arrays.items()}, arrays.__getitem__
    stored, _ = read_header(path, is_ignored=_is_ignored)
    return shapes_of(stored), lambda name: stored[name].read().astype(np.float32)


def _is_ignored(name: str) -> bool:
    return any(layout.is_ignored(name) for layout in LAYOUTS)


def _unknown(path: Path, names: Mapping[str, object]) -> str:
    found = f"its first name is {min(names)[:_MOST_SHOWN]!r}" if names else "it holds no tensor"
    known = "; ".join(f"{layout.name}, as {next(iter(layout.shapes()))!r}" for layout in LAYOUTS)
    return f"{path}: this is no known layout of InceptionV3's weights: {found}, known are {known}; {_HELP}"
