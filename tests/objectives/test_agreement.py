import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from objectives.agreement import UNREADABLE, agreement, attribute_values, attributes_loss, read_attributes
from objectives.features import Classifier, cross_entropy, logits

SIZES = (3, 2)


def test_values_are_the_digits_of_a_label():
    values = attribute_values(np.arange(6), SIZES)
    assert values.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    assert np.array_equal(np.ravel_multi_index(tuple(values.T), SIZES), np.arange(6))


def test_the_loss_of_one_attribute_is_that_of_a_label():
    classifier = Classifier((8, 8, 1), num_classes=5, rngs=nnx.Rngs(0))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 1)), jnp.float32)
    labels = jnp.array([0, 3, 4, 1])
    expected = cross_entropy(logits(classifier, images), labels)
    np.testing.assert_allclose(attributes_loss(logits(classifier, images), labels[:, None], (5,)), expected, rtol=1e-6)


def test_the_loss_is_the_sum_over_attributes():
    scores = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    values = np.array([[0, 1], [2, 0], [1, 1], [0, 0]], np.int32)
    log_sum = lambda x: np.log(np.exp(x).sum(1))  # noqa: E731
    rows = np.arange(4)
    expected = log_sum(scores[:, :3]) - scores[rows, values[:, 0]]
    expected += log_sum(scores[:, 3:]) - scores[rows, 3 + values[:, 1]]
    np.testing.assert_allclose(attributes_loss(jnp.asarray(scores), jnp.asarray(values), SIZES), expected, rtol=1e-5)


def test_what_is_read_is_the_largest_logit_of_each_attribute():
    classifier = Classifier((8, 8, 1), num_classes=5, rngs=nnx.Rngs(0))
    images = np.random.default_rng(0).uniform(-1, 1, (1500, 8, 8, 1)).astype(np.float32)
    scores = np.asarray(logits(classifier, jnp.asarray(images)))
    expected = np.stack([scores[:, :3].argmax(1), scores[:, 3:].argmax(1)], 1)
    assert np.array_equal(read_attributes(classifier, images, SIZES), expected)


def test_pixels_that_are_not_finite_agree_with_nothing():
    classifier = Classifier((8, 8, 1), num_classes=5, rngs=nnx.Rngs(0))
    images = np.zeros((3, 8, 8, 1), np.float32)
    images[1, 2, 3] = np.nan
    found = read_attributes(classifier, images, SIZES)
    assert found[1].tolist() == [UNREADABLE] * 2
    assert (found[[0, 2]] >= 0).all()
    assert (read_attributes(classifier, images[1:2], SIZES) == UNREADABLE).all()


def test_agreement_is_the_share_with_the_interval_of_a_mean():
    rng = np.random.default_rng(0)
    wanted = np.stack([rng.integers(0, size, 400) for size in SIZES], 1)
    found = np.where(rng.uniform(size=wanted.shape) < [0.9, 0.6], wanted, UNREADABLE)
    shares = {name: x.estimate() for name, x in agreement(found, wanted, ("colour", "shape")).items()}
    assert list(shares) == ["agreement", "agreement_colour", "agreement_shape"]
    is_right = found == wanted
    assert shares["agreement_shape"].value == pytest.approx(is_right[:, 1].mean())
    assert shares["agreement"].value == pytest.approx(is_right.all(1).mean())
    # Twenty blocks: the half width is off by a sixth with a standard deviation, and within a factor of 2 with near certainty.
    half = stats.norm.ppf(0.975) * np.sqrt(0.6 * 0.4 / 400)
    assert half / 2 < shares["agreement_shape"].high - shares["agreement_shape"].value < 2 * half
    assert shares["agreement"].n == 400


def test_differences_are_paired():
    wanted = np.zeros((100, 1), np.int64)
    worse = np.where(np.arange(100)[:, None] % 5 == 0, 1, wanted)
    one, other = (agreement(found, wanted, ("shape",))["agreement"] for found in (worse, wanted))
    assert (one - other).estimate().value == pytest.approx(-0.2)
    assert (one - one).estimate().low == (one - one).estimate().high == 0


def test_too_few_images_have_no_interval():
    with pytest.raises(ValueError, match="at least 20 images, got 19; draw more"):
        agreement(np.zeros((19, 1), np.int64), np.zeros((19, 1), np.int64), ("shape",))
