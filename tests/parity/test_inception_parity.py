"""Our InceptionV3 gives the features that pytorch-fid's and torch-fidelity's give: recorded by `make parity`."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from parity.seeded_weights import COLUMNS, PICTURES, ROWS, WITH_FEATURES, seeded_inception_tensor, seeded_pictures

from objectives.extractor import features
from objectives.inception import PREPROCESSING, inception_extractor
from objectives.inception_layers import LAYOUTS

GOLDEN = pathlib.Path(__file__).parent / "inception"
PYTORCH, TENSORFLOW = LAYOUTS


@pytest.fixture(scope="module")
def recording():
    with np.load(GOLDEN / "recording.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def weights():
    shapes = json.loads((GOLDEN / "tensors.json").read_text())
    return PYTORCH.weights(lambda name: seeded_inception_tensor(name, tuple(shapes[name])))


def images(name):
    return (seeded_pictures(name, PICTURES[name]) / 127.5 - 1).astype(np.float32)


def test_the_layout_has_the_names_and_shapes_of_the_references():
    recorded = {name: tuple(shape) for name, shape in json.loads((GOLDEN / "tensors.json").read_text()).items()}
    assert recorded.pop("fc.weight") == (1008, 2048)  # what tells the reference from torchvision's network
    assert {name: shape for name, shape in recorded.items() if not PYTORCH.is_ignored(name)} == PYTORCH.shapes()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("reference", PREPROCESSING)
def test_pictures_are_resized_as_the_references_do(recording, reference, name):
    found = PREPROCESSING[reference](jnp.asarray(images(name)))
    assert found.shape[1:] == (299, 299, 3)
    np.testing.assert_allclose(found[:, ROWS, COLUMNS], recording[f"{reference}/{name}/resized"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("reference", PREPROCESSING)
def test_features_are_those_of_the_references(recording, weights, reference):
    extractor = inception_extractor(weights, preprocessing=reference, batch_size=2)
    found, expected = features(extractor, images(WITH_FEATURES)), recording[f"{reference}/{WITH_FEATURES}/features"]
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_both_layouts_load_to_equal_weights(weights):
    shapes = json.loads((GOLDEN / "tensors.json").read_text())
    by_name = dict(zip(TENSORFLOW.shapes(), PYTORCH.shapes(), strict=True))

    def read(name):
        values = seeded_inception_tensor(by_name[name], tuple(shapes[by_name[name]]))
        return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values

    again = TENSORFLOW.weights(read)
    assert list(again) == list(weights)
    assert all((again[name] == weights[name]).all() for name in weights)
    digests = {inception_extractor(x, preprocessing="tensorflow").digest for x in (weights, again)}
    assert len(digests) == 1


def test_the_recording_is_small_and_says_its_versions():
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 1e5
    versions = json.loads((GOLDEN / "versions.json").read_text())
    assert versions.keys() == {"pytorch-fid", "torch-fidelity", "torch", "numpy"}
