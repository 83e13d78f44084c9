"""Recall and class coverage against brute force, and on sets of which they are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.coverage import class_coverage, recall


def brute_force_recall(reference, generated, k):
    num_covered = 0
    for x in reference:
        is_covered = False
        for i, y in enumerate(generated):
            others = sorted(np.linalg.norm(y - z) for j, z in enumerate(generated) if j != i)
            is_covered |= np.linalg.norm(x - y) <= others[k - 1]
        num_covered += is_covered
    return num_covered / len(reference)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_recall_is_that_of_brute_force(k, shift):
    rng = np.random.default_rng(k)
    reference, generated = rng.standard_normal((40, 3)), shift + 0.7 * rng.standard_normal((25, 3))
    found = recall(reference, generated, num_neighbours=k)
    assert found == brute_force_recall(reference, generated, k)
    assert 0 < found < 1


def test_recall_falls_where_samples_collapse_and_precision_does_not():
    rng = np.random.default_rng(0)
    data, samples = rng.standard_normal((2, 500, 4))
    narrow = 0.2 * samples
    assert recall(data, samples) > 0.8
    assert recall(data, narrow) < 0.3
    assert recall(narrow, data) > 0.95


def test_copies_of_one_sample_cover_that_one_alone():
    data = np.arange(10.0)[:, None]
    assert recall(data, np.zeros((20, 1))) == 0.1


def test_refuses_too_few_samples_and_other_features():
    with pytest.raises(ValueError, match="more samples than num_neighbours=3, got 3; draw more"):
        recall(np.zeros((5, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="the same features, got 2 and 3; use one extractor"):
        recall(np.zeros((5, 2)), np.zeros((5, 3)))


labels = st.lists(st.integers(0, 4), min_size=1, max_size=30).map(np.array)


@given(labels, labels)
def test_class_coverage_is_one_less_the_total_variation(found, wanted):
    shares = [[np.mean(x == label) for label in range(5)] for x in (found, wanted)]
    expected = 1 - sum(abs(a - b) for a, b in zip(*shares, strict=True)) / 2
    assert class_coverage(found, wanted) == pytest.approx(expected, abs=1e-12)
    assert class_coverage(found, found) == pytest.approx(1.0, abs=1e-12)


def test_a_class_that_is_missing_costs_its_share():
    wanted = np.repeat(np.arange(10), 3)
    assert class_coverage(wanted[wanted != 4], wanted) == pytest.approx(0.9)
    assert class_coverage(np.full(30, 11), wanted) == 0.0


def test_refuses_no_labels():
    with pytest.raises(ValueError, match="at least one of each, got 0 and 2; draw some"):
        class_coverage(np.array([], int), np.array([0, 1]))
