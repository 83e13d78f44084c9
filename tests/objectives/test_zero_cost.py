"""Zero-cost scores against what they mean."""

import numpy as np
import pytest

from objectives.zero_cost import gradient_norm, jacobian_covariance, snip


def test_gradient_norm_and_snip_of_numbers_by_hand():
    kernels = [np.array([[1.0, -2.0]]), np.array([[3.0], [0.0]])]
    gradients = [np.array([[3.0, 4.0]]), np.array([[-5.0], [12.0]])]
    assert gradient_norm(gradients) == pytest.approx(5 + 13)
    assert snip(kernels, gradients) == pytest.approx(3 + 8 + 15)


def test_snip_is_what_removing_a_weight_changes_to_first_order():
    """Of a loss linear in its weights, removing weight i changes it by |weight x gradient| exactly."""
    rng = np.random.default_rng(0)
    weights, slope = rng.normal(size=12), rng.normal(size=12)
    removed = [abs(weights @ slope - np.delete(weights, i) @ np.delete(slope, i)) for i in range(12)]
    assert snip([weights], [slope]) == pytest.approx(sum(removed))


def test_jacobian_covariance_is_best_where_inputs_are_told_apart():
    rng = np.random.default_rng(0)
    apart = rng.normal(size=(8, 4000))
    alike = apart[:1] + 0.5 * apart
    scores = [jacobian_covariance(x) for x in (apart, alike, apart[:1] + 0.01 * apart)]
    assert 0 >= scores[0] > -0.01
    assert scores[0] > scores[1] > scores[2]
    assert jacobian_covariance(3 * apart) == pytest.approx(scores[0])
    assert np.isnan(jacobian_covariance(np.concatenate([apart, np.zeros_like(apart[:1])])))
