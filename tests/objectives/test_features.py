"""The feature classifier: any small image, learning digits, saved and loaded, refusals."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.datasets import load_digits

from experiments.errors import InputError
from experiments.feature_training import load_classifier, save_classifier, train_classifier
from objectives.extractor import features
from objectives.features import NUM_FEATURES, Classifier, classifier_extractor, cross_entropy, logits, weights_digest
from objectives.frechet import frechet_distance, gaussian_statistics


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return (data.images / 8.0 - 1.0).astype(np.float32)[..., None], data.target


@pytest.fixture(scope="module")
def trained(digits):
    seen = []
    classifier, accuracy = train_classifier(
        *digits, num_classes=10, num_steps=400, seed=0, progress=lambda step, loss: seen.append((step, loss))
    )
    return classifier, accuracy, seen


@pytest.fixture
def saved(trained, tmp_path):
    save_classifier(trained[0], tmp_path / "features", validation_accuracy=trained[1])
    return tmp_path / "features"


def test_learns_digits(trained):
    _, accuracy, seen = trained
    assert accuracy > 0.96
    assert [step for step, _ in seen] == list(range(20, 401, 20))
    assert seen[-1][1] < 0.5 * seen[0][1]


def test_its_features_tell_noise_and_missing_classes_from_digits(trained, digits):
    """The distances keep their order: halves of the data, then half the classes, then noise."""
    images, labels = digits
    classifier = classifier_extractor(trained[0])
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    reference = gaussian_statistics(features(classifier, images[:900]))
    noise = np.random.default_rng(1).uniform(-1, 1, images[900:].shape).astype(np.float32)
    sets = [images[900:], images[900:][labels[900:] < 5], noise]
    found = [frechet_distance(gaussian_statistics(features(classifier, one)), reference) for one in sets]
    assert 4 * found[0] < found[1] < found[2]


def test_training_is_a_function_of_the_seed(digits):
    images, labels = digits[0][:200], digits[1][:200]
    one, other = (weights_digest(train_classifier(images, labels, num_classes=10, num_steps=3, seed=1)[0]) for _ in range(2))
    untrained = Classifier((8, 8, 1), num_classes=10, rngs=nnx.Rngs(1))
    assert one == other != weights_digest(untrained)


@pytest.mark.parametrize("shape", [(9, 14, 3), (32, 32, 4)])
def test_any_small_image(shape):
    classifier = Classifier(shape, num_classes=3, rngs=nnx.Rngs(0))
    images = np.random.default_rng(0).uniform(-1, 1, (5, *shape)).astype(np.float32)
    extractor = classifier_extractor(classifier)
    found = features(dataclasses.replace(extractor, batch_size=2), images)
    assert found.shape == (5, NUM_FEATURES)
    # The size of the batch that an image is in does not change its features.
    np.testing.assert_allclose(found, features(extractor, images), rtol=1e-4, atol=1e-5)


def test_the_cross_entropy_is_that_of_the_softmax():
    classifier = Classifier((8, 8, 1), num_classes=3, rngs=nnx.Rngs(0))
    images, labels = jnp.ones((2, 8, 8, 1)), jnp.array([0, 2])
    scores = np.asarray(logits(classifier, images), np.float64)
    expected = np.log(np.exp(scores).sum(axis=1)) - scores[[0, 1], [0, 2]]
    np.testing.assert_allclose(cross_entropy(logits(classifier, images), labels), expected, rtol=1e-5)


def test_saved_and_loaded_is_the_same(trained, saved, digits):
    loaded = load_classifier(saved)
    assert weights_digest(loaded) == weights_digest(trained[0])
    one, other = (features(classifier_extractor(x), digits[0][:10]) for x in (loaded, trained[0]))
    np.testing.assert_array_equal(one, other)
    assert json.loads((saved / "classifier.json").read_text())["validation_accuracy"] == trained[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, r"classifier\.json: key 'schema' must be 1"),
        ({"digest": "0" * 16}, r"says 0000000000000000; the two files do not belong together"),
        ({"num_classes": 7}, r"classifier\.safetensors: weight 'to_logits\.\w+' must have shape"),
        ({"image_shape": [8, 8]}, r"key 'image_shape' must be \[height, width, channels\], got \[8, 8\]"),
        ({"num_classes": "ten"}, r"key 'num_classes' must be a whole number, got 'ten'"),
        ({"image_shape": [64, 64, 1]}, r"the weights must be .*missing or unknown: \['downs\.1\.bias'"),
    ],
)
def test_refuses_a_description_of_other_weights(saved, change, message):
    path = saved / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        load_classifier(saved)


def test_refuses_damaged_or_missing_files(saved, tmp_path):
    with pytest.raises(InputError, match=r"classifier\.json: cannot be read as JSON .*train the classifier again"):
        load_classifier(tmp_path / "nowhere")
    (saved / "classifier.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(InputError, match=r"classifier\.safetensors: cannot be read as safetensors"):
        load_classifier(saved)
    (saved / "classifier.json").write_text('{"schema": 1, "image_shape": [8, 8, 1], "num_classes": 10}')
    with pytest.raises(InputError, match=r"classifier\.json: key 'digest' is missing"):
        load_classifier(saved)


@pytest.mark.parametrize(
    ("images", "labels", "num_steps", "message"),
    [
        (np.zeros((5, 8, 8, 1)), np.zeros(5, int), 1, r"with n >= 10, got \(5, 8, 8, 1\)"),
        (np.zeros((20, 8, 8, 1)), np.zeros(19, int), 1, r"every image needs one label, got \(19,\) labels for 20"),
        (np.zeros((20, 8, 8, 1)), np.full(20, 3), 1, r"labels must be in 0 \.\. 2 \(num_classes=3\), got 3 \.\. 3"),
        (np.zeros((20, 8, 8, 1)), np.zeros(20, int), 0, r"`num_steps` must be at least 1, got 0"),
    ],
)
def test_refuses_data_that_cannot_be_learned(images, labels, num_steps, message):
    with pytest.raises(InputError, match=message):
        train_classifier(images, labels, num_classes=3, num_steps=num_steps, seed=0)


def test_refuses_images_it_was_not_built_for():
    with pytest.raises(ValueError, match=r"sides of at least 8 and at least one channel, got \(4, 8, 1\)"):
        Classifier((4, 8, 1), num_classes=3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`num_classes` must be at least 2, got 1"):
        Classifier((8, 8, 1), num_classes=1, rngs=nnx.Rngs(0))
    classifier = Classifier((8, 8, 1), num_classes=3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"shape \[n, 8, 8, 1\] with n >= 1, got \(2, 8, 8, 3\); use the classifier trained"):
        features(classifier_extractor(classifier), np.zeros((2, 8, 8, 3)))
