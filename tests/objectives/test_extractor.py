"""Feature extractors: the same features whatever n, named by what they depend on, of any Flax callable."""

import pickle

import cloudpickle
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from objectives.extractor import MeasureNames, features, function_extractor, module_extractor
from objectives.features import Classifier, classifier_extractor, weights_digest
from objectives.fingerprint import fingerprint

IMAGES = np.random.default_rng(0).uniform(-1, 1, (70, 9, 8, 3)).astype(np.float32)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(5)(nn.relu(nn.Conv(8, (3, 3))(images)).mean(axis=(1, 2)))


class WithDropout(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 7, (3, 3), rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, images):
        return self.dropout(self.conv(images)).mean(axis=(1, 2))


def of_linen(seed=0, **settings):
    module = Linen()
    return function_extractor("linen", module.apply, module.init(jax.random.key(seed), IMAGES[:1]), batch_size=16, **settings)


def of_nnx(seed=0):
    module = WithDropout(nnx.Rngs(seed))
    module.eval()
    return module_extractor("nnx", module, batch_size=32)


def of_classifier(seed=0):
    return classifier_extractor(Classifier((9, 8, 3), num_classes=2, rngs=nnx.Rngs(seed)))


@pytest.mark.parametrize("build", [of_linen, of_nnx, of_classifier])
def test_every_extractor_gives_an_image_the_same_features_whatever_n(build):
    extractor = build()
    found = features(extractor, IMAGES)
    assert found.dtype == np.float32
    assert found.std(axis=0).min() > 0
    for n in (1, 15, 16, 17, 33, 69):
        np.testing.assert_array_equal(features(extractor, IMAGES[:n]), found[:n])
    np.testing.assert_array_equal(features(build(), IMAGES), found)
    assert build().digest == extractor.digest != build(seed=1).digest


@pytest.mark.parametrize("build", [of_linen, of_nnx, of_classifier])
def test_every_extractor_can_be_sent_to_a_worker(build):
    extractor = build()
    sent = pickle.loads(cloudpickle.dumps(extractor))
    assert sent.settings() == extractor.settings()
    np.testing.assert_array_equal(features(sent, IMAGES[:3]), features(extractor, IMAGES[:3]))


def test_modules_of_one_structure_are_compiled_once():
    traced = []

    class Counted(nnx.Module):
        def __init__(self, seed):
            self.linear = nnx.Linear(3, 2, rngs=nnx.Rngs(seed))

        def __call__(self, images):
            traced.append(images.shape)
            return self.linear(images.mean(axis=(1, 2)))

    one, other = (features(module_extractor("counted", Counted(seed)), IMAGES[:n]) for seed, n in ((0, 3), (1, 70)))
    assert traced == [(64, 9, 8, 3)]
    assert (one != other[:3]).all()


def test_a_fingerprint_tells_weights_name_and_preprocessing():
    changed = [of_linen(), of_linen(seed=1), of_linen(preprocessing="224 pixels"), of_nnx()]
    assert len({fingerprint(**extractor.settings()) for extractor in changed}) == len(changed)
    classifier = Classifier((9, 8, 3), num_classes=2, rngs=nnx.Rngs(0))
    assert classifier_extractor(classifier).settings() == {"extractor": weights_digest(classifier)}


def test_only_inceptions_distance_is_called_fid():
    assert MeasureNames.of("inception") == MeasureNames("fid", "kid", "mmd_inception")
    assert MeasureNames.of("classifier") == MeasureNames("frechet_classifier", "kid_classifier", "mmd_classifier")
    assert MeasureNames.of("fid").frechet == "frechet_fid"


def means(scale, images):
    return scale * images.mean(axis=(1, 2))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("inception", 1.0, "`name` must not be 'inception', which says whose weights those are; name the network"),
        ("classifier", 1.0, "`name` must not be 'classifier'"),
        ("DINO v2", 1.0, "`name` must be lower-case letters, digits and underscores, got 'DINO v2'; for instance"),
        ("x", {}, "`parameters` of x hold no array; give those that its features depend on"),
    ],
)
def test_extractors_that_would_not_say_whose_features_they_are(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        function_extractor(name, means, parameters)


@pytest.mark.parametrize(
    ("apply", "images", "message"),
    [
        (lambda p, x: x, IMAGES, r"shape \[batch, features\], got \(64, 9, 8, 3\) for 64 images; average over positions"),
        (lambda p, x: x[0, 0], IMAGES, r"shape \[batch, features\], got \(8, 3\) for 64 images"),
        (means, IMAGES[:0], r"shape \[n, height, width, channels\] with n >= 1, got \(0, 9, 8, 3\)"),
    ],
)
def test_what_has_no_features(apply, images, message):
    extractor = function_extractor("x", apply, 1.0)
    with pytest.raises(ValueError, match=message):
        features(extractor, images)


@pytest.mark.parametrize("size", [8, 10])
def test_images_smaller_or_larger_than_expected(size):
    extractor = function_extractor("x", means, 1.0, image_shape=(9, 9, 3))
    message = rf"images for features of x must have shape \[n, 9, 9, 3\] with n >= 1, got \(2, {size}, {size}, 3\); resize them"
    with pytest.raises(ValueError, match=message):
        features(extractor, np.zeros((2, size, size, 3)))


def test_features_that_are_not_finite_come_through():
    extractor = function_extractor("x", lambda p, x: p / x[:, 0, 0], jnp.ones(()))
    assert np.isinf(features(extractor, np.zeros((2, 1, 1, 1)))).all()
