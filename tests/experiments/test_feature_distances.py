"""Distances in an extractor's features: what they are called, what can be compared, and samples that cannot be measured."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.quality import SAMPLE_OBJECTIVES, FeatureDistances, UnusableSamplesError
from experiments.sweep_session import judge
from objectives import get_objective
from objectives.extractor import FeatureExtractor, function_extractor
from search_space import get_space

GENERATOR = np.random.default_rng(0)
DATA = GENERATOR.uniform(-1, 1, (60, 2, 2, 1)).astype(np.float32)
SAMPLES = GENERATOR.uniform(-1, 0.9, (50, 2, 2, 1)).astype(np.float32)


def flat(scale, images):
    return scale * images.reshape(len(images), -1)


def distances(name="pixels", scale=1.0, data=DATA, **changes):
    extractor = dataclasses.replace(function_extractor(name, flat, np.float32(scale)), **changes)
    return FeatureDistances.to(data, extractor)


def changed(samples, index, value):
    return np.where(np.arange(len(samples))[:, None, None, None] == index, np.float32(value), samples)


def test_the_objectives_are_the_classifiers():
    assert [get_objective(name).name for name in SAMPLE_OBJECTIVES] == ["frechet_classifier", "kid_classifier"]


def test_a_distance_says_whose_features_it_is_in():
    assert list(distances().measure(SAMPLES)) == ["frechet_pixels", "kid_pixels", "mmd_pixels"]
    inception = FeatureExtractor("inception", "0" * 16, flat, np.float32(1))
    found = FeatureDistances.to(DATA, inception).measure(SAMPLES, ["kid", "fid"])
    assert list(found) == ["kid", "fid"]
    assert found["fid"].value == distances().measure(SAMPLES)["frechet_pixels"].value
    assert all(estimate.low < estimate.value < estimate.high and estimate.n == 50 for estimate in found.values())


def test_samples_beyond_the_range_are_clipped():
    assert distances().measure(SAMPLES * 3) == distances().measure(np.clip(SAMPLES * 3, -1, 1))


def test_samples_of_latents_are_taken_as_they_are():
    rng = np.random.default_rng(5)
    latents, alike = (rng.normal(size=(600, 8, 8, 1)).astype(np.float32) for _ in range(2))
    pixels = function_extractor("pixels", lambda scale, x: flat(scale, x)[:, :8], np.float32(1))
    found, clipped = (FeatureDistances.to(latents, pixels, is_latent=x).measure(alike) for x in (True, False))
    assert found["frechet_pixels"].value < 0.1
    assert clipped["frechet_pixels"].value > 0.3


@pytest.mark.parametrize(
    ("other", "samples"),
    [
        (distances(), SAMPLES[:49]),
        (distances(scale=2.0), SAMPLES),
        (distances(preprocessing="rounded"), SAMPLES),
        (distances(data=DATA[:59]), SAMPLES),
    ],
    ids=["n", "weights", "preprocessing", "data"],
)
def test_numbers_of_different_fingerprints_have_no_difference(other, samples):
    one, another = (x.jackknifed(y)["frechet_pixels"] for x, y in ((distances(), SAMPLES), (other, samples)))
    assert one.fingerprint != another.fingerprint
    assert (one - one).estimate().value == 0
    message = (
        rf"never compared, got {one.fingerprint} \(n = 50\) and {another.fingerprint} \(n = {len(samples)}\); measure both"
    )
    with pytest.raises(ValueError, match=message):
        one - another


def test_different_measures_have_no_difference():
    found = distances().jackknifed(SAMPLES)
    with pytest.raises(ValueError, match="numbers of different fingerprints are never compared"):
        found["kid_pixels"] - found["mmd_pixels"]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            changed(SAMPLES, 7, np.nan),
            "1 of 50 samples hold numbers that are not finite, the first is sample 7: the network div",
        ),
        (changed(changed(SAMPLES, 7, np.nan), 3, np.nan), "2 of 50 samples .* the first is sample 3"),
        (changed(SAMPLES, 5, np.inf), "1 of 50 samples .* the first is sample 5"),
        (changed(SAMPLES, 6, -np.inf), "1 of 50 samples .* the first is sample 6"),
        (np.ones_like(SAMPLES), "all 50 samples are one image, which have no spread to measure: the network ignores its noise"),
        (np.repeat(SAMPLES[:1], 50, axis=0), "all 50 samples are one image"),
        (SAMPLES + 3, "all 50 samples are one image"),
    ],
)
def test_unusable_samples_are_named_and_fail_an_evaluation(samples, message):
    with pytest.raises(UnusableSamplesError, match=message):
        distances().jackknifed(samples)
    outcome = judge(lambda _: distances().measure(samples), get_space("digits-small").smallest())
    assert outcome.objectives == {}
    assert outcome.reason.startswith("UnusableSamplesError: ")


def test_features_that_are_not_finite_are_told():
    whitened = function_extractor(
        "whitened", lambda p, x: p * flat(1.0, x) / jnp.std(x, axis=(1, 2, 3))[:, None], np.float32(1.0)
    )
    with pytest.raises(UnusableSamplesError, match="extractor .whitened. has .* 1 of 50 samples, the first is sample 4"):
        FeatureDistances.to(DATA, whitened).features_of(changed(SAMPLES, 4, 0.5))


def test_samples_of_which_each_is_of_one_colour_have_a_distance():
    flat_ones = np.broadcast_to(SAMPLES[:, :1, :1], SAMPLES.shape)
    assert distances().measure(flat_ones)["frechet_pixels"].is_finite


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (SAMPLES[:39], "an interval needs at least 40 samples .* got 39; draw more samples"),
        (
            GENERATOR.uniform(-1, 1, (50, 3, 2, 1)),
            "both sets must have the same features, got 6 and 4; use one extractor for both",
        ),
    ],
)
def test_samples_that_do_not_fit(samples, message):
    with pytest.raises(ValueError, match=message):
        distances().measure(samples)


def test_data_that_are_stored_class_by_class_have_the_intervals_of_shuffled_data():
    rng = np.random.default_rng(3)
    centres = np.repeat(np.linspace(-0.8, 0.8, 10), 40)
    data = (centres[:, None, None, None] + 0.05 * rng.normal(size=(400, 2, 2, 1))).astype(np.float32)
    samples = data[rng.permutation(400)] / 2
    by_class, shuffled = (distances(data=x).measure(samples) for x in (data, data[rng.permutation(400)]))
    for name in ("kid_pixels", "mmd_pixels"):
        assert by_class[name].half_width < 2 * shuffled[name].half_width
        assert by_class[name].value == pytest.approx(shuffled[name].value, abs=1e-9)


def test_data_of_which_there_is_too_little():
    with pytest.raises(ValueError, match="an interval needs at least 20 vectors in each set .* got 19"):
        distances(data=DATA[:19]).measure(SAMPLES)
