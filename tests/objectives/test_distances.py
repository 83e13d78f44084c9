"""Fréchet and kernel distance: closed forms, scipy's matrix root, laws, unbiasedness, intervals, refusals."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.frechet import (
    GaussianStatistics,
    frechet_distance,
    frechet_jackknife,
    gaussian_statistics,
)
from objectives.jackknife import jackknife
from objectives.mmd import (
    KernelReference,
    cubic_kernel,
    gaussian_kernel,
    kernel_jackknife,
    median_bandwidth,
)


def random_statistics(generator, num_features, *, rank=None):
    factor = generator.normal(size=(num_features, rank or 2 * num_features))
    return GaussianStatistics(generator.normal(size=num_features), factor @ factor.T / factor.shape[1], 100)


@pytest.mark.parametrize("num_features", [1, 5, 48])
def test_frechet_against_scipys_matrix_root(num_features):
    generator = np.random.default_rng(0)
    one, other = (random_statistics(generator, num_features) for _ in range(2))
    root = scipy.linalg.sqrtm(one.covariance @ other.covariance).real
    expected = np.sum((one.mean - other.mean) ** 2) + np.trace(one.covariance + other.covariance - 2.0 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("num_features", "n", "m"),
    [(64, 40, 50), (64, 300, 40), (64, 300, 400), pytest.param(2048, 600, 900, marks=pytest.mark.slow)],
)
def test_frechet_against_the_singular_values_of_the_samples_products(num_features, n, m):
    """Tr (A^1/2 B A^1/2)^1/2 is the nuclear norm of the product of the centred samples: no matrix has a root taken.

    With fewer samples than features, too, where roots of covariances are of deficient rank.
    """
    generator = np.random.default_rng(14)
    mix = generator.normal(size=(num_features, num_features)) / np.sqrt(num_features)
    one = np.maximum(generator.normal(size=(n, num_features)) @ mix, 0)
    other = np.maximum(generator.normal(0.2, 1.1, (m, num_features)) @ mix, 0)
    left, right = one - one.mean(axis=0), other - other.mean(axis=0)
    nuclear = np.linalg.svd(left @ right.T, compute_uv=False).sum() / np.sqrt((n - 1) * (m - 1))
    expected = np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2) + np.sum(left**2) / (n - 1) + np.sum(right**2) / (m - 1)
    found = frechet_distance(gaussian_statistics(one), gaussian_statistics(other))
    assert found == pytest.approx(expected - 2 * nuclear, rel=1e-6)


@given(st.lists(st.tuples(*[st.floats(0.0, 10.0)] * 4), min_size=1, max_size=6))
def test_frechet_of_diagonal_gaussians_in_closed_form(rows):
    mean_a, mean_b, scale_a, scale_b = np.array(rows).T
    one, other = (GaussianStatistics(m, np.diag(s**2), 10) for m, s in ((mean_a, scale_a), (mean_b, scale_b)))
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((scale_a - scale_b) ** 2)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 8))
def test_frechet_laws_hold_also_where_the_covariance_has_no_full_rank(seed, num_features, rank):
    generator = np.random.default_rng(seed)
    one, other = (random_statistics(generator, num_features, rank=rank) for _ in range(2))
    assert frechet_distance(one, one) == 0.0
    assert frechet_distance(one, other) >= 0.0
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-9, abs=1e-12)


def test_frechet_keeps_its_digits_when_the_two_are_close():
    base = random_statistics(np.random.default_rng(1), 48)
    values, vectors = np.linalg.eigh(base.covariance)
    step = 1e-6
    moved = GaussianStatistics(base.mean, (vectors * (np.sqrt(values) + step) ** 2) @ vectors.T, base.n)
    # Commuting covariances: the distance is the sum of squared differences of the roots of their eigenvalues.
    assert frechet_distance(base, moved) == pytest.approx(48 * step**2, rel=1e-3)


def test_statistics_are_numpys():
    features = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    found = gaussian_statistics(features)
    np.testing.assert_allclose(found.mean, features.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-9)
    assert found.n == 50


def test_frechet_interval_covers_repetitions():
    """40 repetitions of an interval that covers at least 95 %: fewer than 34 covered has a probability below 0.004."""
    generator = np.random.default_rng(3)
    reference = gaussian_statistics(generator.normal(size=(2000, 6)))
    found = [frechet_jackknife(generator.normal(0.2, 1.1, (200, 6)), reference=reference).estimate() for _ in range(40)]
    centre = np.mean([estimate.value for estimate in found])
    assert sum(estimate.low <= centre <= estimate.high for estimate in found) >= 34
    # And is not so long that it says nothing: at most twice the ideal one.
    ideal = 2 * 1.96 * np.std([estimate.value for estimate in found])
    assert np.mean([estimate.high - estimate.low for estimate in found]) < 2 * ideal


def kernel_distance(first, second, **kernel):
    return kernel_jackknife(first, reference=KernelReference.of(second, num_blocks=1, **kernel)).whole


def test_kernel_distance_against_the_double_sum():
    generator = np.random.default_rng(4)
    one, other = generator.normal(size=(7, 3)), generator.normal(size=(5, 3))

    def mean_kernel(left, right, *, skip_same):
        terms = [(x @ y / 3 + 1) ** 3 for i, x in enumerate(left) for j, y in enumerate(right) if not (skip_same and i == j)]
        return np.mean(terms)

    expected = (
        mean_kernel(one, one, skip_same=True)
        + mean_kernel(other, other, skip_same=True)
        - 2 * mean_kernel(one, other, skip_same=False)
    )
    assert kernel_distance(one, other) == pytest.approx(expected, rel=1e-12)
    assert kernel_distance(one, other) == pytest.approx(kernel_distance(other, one), rel=1e-12)


def test_kernel_distance_is_unbiased():
    """Mean over 2000 pairs of small equal-distribution samples: within 3.5 standard errors of 0 (failure rate 5e-4).

    The biased estimate, which keeps the diagonal, is far outside.
    """
    generator = np.random.default_rng(5)
    found = np.array([kernel_distance(generator.normal(size=(6, 2)), generator.normal(size=(6, 2))) for _ in range(2000)])
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean()) < 3.5 * error
    # E[k(x, x) - k(x, x')] / n * 2 for standard normals in two dimensions.
    bias_of_keeping_the_diagonal = 2 / 6 * ((1 + 3 + 3 * 2 + 6) - (1 + 3 * 0.5))
    assert bias_of_keeping_the_diagonal > 20 * error


def test_kernel_distance_does_not_depend_on_n_in_the_mean():
    """Shifted normals: 5-vector and 40-vector samples agree within 4 joint standard errors (failure rate 6e-5)."""
    generator = np.random.default_rng(6)
    means, errors = [], []
    for n, repeats in ((5, 2000), (40, 200)):
        found = [kernel_distance(generator.normal(0.5, 1, (n, 2)), generator.normal(size=(n, 2))) for _ in range(repeats)]
        means.append(np.mean(found))
        errors.append(np.std(found) / np.sqrt(repeats))
    assert means[1] > 10 * errors[1]
    assert abs(means[0] - means[1]) < 4 * np.hypot(*errors)


def test_kernel_interval_covers_repetitions():
    """As for the Fréchet interval: fewer than 34 of 40 has a probability below 0.004."""
    generator = np.random.default_rng(7)
    found = [
        kernel_jackknife(
            generator.normal(0.3, 1.1, (200, 6)), reference=KernelReference.of(generator.normal(size=(200, 6)))
        ).estimate()
        for _ in range(40)
    ]
    centre = np.mean([estimate.value for estimate in found])
    assert sum(estimate.low <= centre <= estimate.high for estimate in found) >= 34
    ideal = 2 * 1.96 * np.std([estimate.value for estimate in found])
    assert np.mean([estimate.high - estimate.low for estimate in found]) < 2 * ideal


def test_kernel_estimate_is_the_jackknife_of_the_distance():
    """Leaving blocks out by their sums is leaving out their vectors, also where blocks differ in size."""
    generator = np.random.default_rng(9)
    one, other = generator.normal(0.3, 1.1, (47, 5)), generator.normal(size=(33, 5))
    for kernel in (cubic_kernel, gaussian_kernel(median_bandwidth(other))):
        found = kernel_jackknife(one, reference=KernelReference.of(other, kernel=kernel, num_blocks=4)).estimate()
        left = jackknife(lambda keep, k=kernel: kernel_distance(keep(one), keep(other), kernel=k), n=47, num_blocks=4)
        expected = left.estimate()
        for end in ("value", "low", "high"):
            assert getattr(found, end) == pytest.approx(getattr(expected, end), rel=1e-10)
        assert found.n == 47


def test_where_most_vectors_are_the_same_the_bandwidth_is_of_those_that_differ():
    features = np.concatenate([np.zeros((45, 3)), np.random.default_rng(3).normal(size=(5, 3))])
    distances = [np.linalg.norm(features[i] - features[j]) for i in range(50) for j in range(i)]
    assert np.median(distances) == 0
    assert median_bandwidth(features) == pytest.approx(np.median([x for x in distances if x > 0]))


def test_gaussian_kernel_against_the_double_sum():
    generator = np.random.default_rng(10)
    one, other = generator.normal(size=(6, 3)), generator.normal(0.5, 1, (5, 3))
    width = median_bandwidth(other)
    assert width == np.median([np.linalg.norm(other[i] - other[j]) for i in range(5) for j in range(i)])

    def mean(left, right, *, skip_same=False):
        pairs = [(x, y) for i, x in enumerate(left) for j, y in enumerate(right) if not (skip_same and i == j)]
        return np.mean([np.exp(-np.sum((x - y) ** 2) / (2 * width**2)) for x, y in pairs])

    expected = mean(one, one, skip_same=True) + mean(other, other, skip_same=True) - 2 * mean(one, other)
    assert kernel_distance(one, other, kernel=gaussian_kernel(width)) == pytest.approx(expected, rel=1e-10)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(11).normal(size=40)
    found = jackknife(lambda keep: float(keep(values).mean()), n=40, num_blocks=40).estimate(extrapolates=True)
    half = scipy.stats.t.ppf(0.975, 39) * scipy.stats.sem(values)
    assert (found.value, found.half_width) == pytest.approx((values.mean(), half))


def test_the_jackknife_removes_a_bias_in_one_over_n():
    values = np.random.default_rng(12).normal(size=40)
    found = jackknife(lambda keep: float(keep(values).var()), n=40, num_blocks=40).estimate(extrapolates=True)
    assert found.value == pytest.approx(values.var(ddof=1))


@pytest.mark.parametrize("n", [160, 640, 2560])
def test_extrapolated_frechet_distance_does_not_depend_on_n(n):
    """Its mean over repetitions is within 4 standard errors of the distance of the distributions; the plain one's is not."""
    generator, width, scale = np.random.default_rng(13), 16, 1.2
    reference = GaussianStatistics(np.zeros(width), np.eye(width), 10**9)
    truth = width * (scale - 1) ** 2
    samples = [generator.normal(0, scale, (n, width)) for _ in range(20)]
    plain = np.array([frechet_jackknife(x, reference=reference).estimate().value for x in samples])
    found = [frechet_jackknife(x, reference=reference).estimate(extrapolates=True) for x in samples]
    values = np.array([estimate.value for estimate in found])
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - truth) < 4 * error
    assert abs(plain.mean() - truth) > 6 * error
    assert sum(x.low <= truth <= x.high for x in found) >= 16


def test_paired_samples_tell_a_difference_that_their_intervals_do_not():
    generator = np.random.default_rng(15)
    data = generator.normal(size=(400, 6))
    one = generator.normal(0.2, 1.1, (400, 6))
    other = one + generator.normal(0.03, 0.02, one.shape)  # the same noise, a network that is a little worse
    statistics, kernels = gaussian_statistics(data), KernelReference.of(data)
    for measure in (
        lambda x: frechet_jackknife(x, reference=statistics),
        lambda x: kernel_jackknife(x, reference=kernels),
    ):
        better, worse = measure(one), measure(other)
        difference = (worse - better).estimate(extrapolates=True)
        assert difference.low > 0
        assert better.estimate().high > worse.estimate().low
        assert difference.half_width < better.estimate().half_width / 2
        assert difference.n == 400


@pytest.mark.parametrize("n", [80, 900])
def test_many_features_are_measured_another_way_to_the_same_distance(n):
    generator = np.random.default_rng(17)
    width = 260
    mix = generator.normal(size=(width, width)) * np.geomspace(1, 1e-3, width)
    reference = gaussian_statistics(generator.normal(size=(1000, width)) @ mix)
    features = generator.normal(0.1, 1.1, (n, width)) @ mix
    found = frechet_jackknife(features, reference=reference, num_blocks=4)
    kept = [features, *(np.delete(features, block, axis=0) for block in np.array_split(np.arange(n), 4))]
    expected = [frechet_distance(gaussian_statistics(values), reference) for values in kept]
    np.testing.assert_allclose([found.whole, *found.without], expected, rtol=1e-7)


def test_unpaired_samples_have_no_difference():
    features = np.random.default_rng(16).normal(size=(80, 3))
    statistics = gaussian_statistics(features)
    with pytest.raises(ValueError, match="paired samples must be equally many, got 80 in 20 blocks and 60 in 20"):
        frechet_jackknife(features, reference=statistics) - frechet_jackknife(features[:60], reference=statistics)


def test_a_diverged_network_gives_nan_and_no_interval():
    features = np.random.default_rng(8).normal(size=(60, 3))
    reference = gaussian_statistics(features)
    broken = features.copy()
    broken[5, 1] = np.inf
    for estimate in (
        frechet_jackknife(broken, reference=reference).estimate(),
        kernel_jackknife(broken, reference=KernelReference.of(features)).estimate(),
    ):
        assert np.isnan(estimate.value)
        assert estimate.low is None
        assert estimate.n == 60


def test_refusals():
    features = np.zeros((30, 3))
    with pytest.raises(ValueError, match=r"an interval needs at least 40 samples .* got 30; draw more samples"):
        frechet_jackknife(features, reference=gaussian_statistics(features))
    with pytest.raises(ValueError, match=r"an interval needs at least 20 vectors in each set .* got 10; use more"):
        kernel_jackknife(features[:10], reference=KernelReference.of(features)).estimate()
    with pytest.raises(ValueError, match=r"an interval needs at least 20 vectors in each set .* got 10; use more"):
        KernelReference.of(features[:10])
    with pytest.raises(ValueError, match=r"`bandwidth` must be above 0, got 0"):
        gaussian_kernel(0.0)
    with pytest.raises(ValueError, match=r"all 30 images of the data have the same features"):
        median_bandwidth(features)
    with pytest.raises(ValueError, match=r"both sets must have the same features, got 3 and 2"):
        frechet_distance(gaussian_statistics(features), gaussian_statistics(features[:, :2]))
    with pytest.raises(ValueError, match=r"both sets must have the same features, got 3 and 2"):
        kernel_distance(features, features[:, :2])
    with pytest.raises(ValueError, match=r"both sets must have the same features, got 2 and 3"):
        frechet_jackknife(np.zeros((40, 2)), reference=gaussian_statistics(features))
    with pytest.raises(ValueError, match=r"features must be finite, got 1 that are not"):
        gaussian_statistics(np.array([[0.0], [np.nan]]))
    with pytest.raises(ValueError, match=r"features must have shape \[n, features\] with n >= 2, got \(1, 3\)"):
        gaussian_statistics(features[:1])
