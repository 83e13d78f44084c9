"""Expected hypervolume improvement against the hypervolume itself and against sampling."""

import numpy as np
import pytest

from objectives.front import hypervolume
from objectives.improvement import free_boxes


def added(front, reference, point):
    return hypervolume(np.vstack([front, point]), reference=reference) - hypervolume(front, reference=reference)


@pytest.mark.parametrize("num_objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["spread", "ties", "beyond", "none"])
def test_known_points_add_what_the_hypervolume_says(num_objectives, kind):
    rng = np.random.default_rng(num_objectives)
    reference = np.ones(num_objectives)
    front = rng.random((0 if kind == "none" else 12, num_objectives))
    if kind == "ties":
        front = np.vstack([np.round(front * 4) / 4, front[:2], front[:2]])
    if kind == "beyond":
        front = front * 1.6
    points = rng.uniform(-0.3, 1.2, (60, num_objectives))
    if kind == "ties":
        points[:40] = np.round(points[:40] * 4) / 4
    found = free_boxes(front, reference=reference).expected_improvement(points, np.zeros_like(points))
    np.testing.assert_allclose(found, [added(front, reference, point) for point in points], atol=1e-12)


@pytest.mark.parametrize("num_objectives", [2, 3])
def test_boxes_do_not_overlap(num_objectives):
    rng = np.random.default_rng(0)
    boxes = free_boxes(rng.random((15, num_objectives)), reference=np.ones(num_objectives))
    points = rng.random((500, num_objectives))
    inside = np.all((boxes.lower < points[:, None]) & (points[:, None] < boxes.upper), axis=2).sum(axis=1)
    assert set(inside) == {0, 1}


@pytest.mark.parametrize("modelled", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_modelled_objectives_add_what_sampling_says(modelled):
    rng = np.random.default_rng(1)
    front, reference = rng.random((8, 3)), np.ones(3)
    means = rng.uniform(0.1, 0.7, (4, 3))
    deviations = np.zeros((4, 3))
    deviations[:, list(modelled)] = 0.2
    boxes = free_boxes(front, reference=reference)
    found = boxes.expected_improvement(means, deviations)
    drawn = means[:, None] + deviations[:, None] * rng.standard_normal((4, 20_000, 3))
    sampled = [boxes.expected_improvement(points, np.zeros_like(points)) for points in drawn]
    error = [np.std(values) / np.sqrt(len(values)) for values in sampled]
    assert np.all(np.abs(found - np.mean(sampled, axis=1)) < 4 * np.array(error))
