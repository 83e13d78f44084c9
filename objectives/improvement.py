"""How much a point would add to a front's hypervolume: exactly where objectives are known, expected where they are modelled.

The region below a reference point that a front does not dominate is cut into disjoint boxes. In a box the volume that a point
adds is a product over objectives, so that its expectation is one too, as long as the modelled objectives are independent.
All objectives are minimised.

Sources: the boxes are those of Lacour, Klamroth and Fonseca, "A box decomposition algorithm to compute the hypervolume
indicator" (2017), section 3; the expectation per box is that of Yang et al., "Efficient computation of expected hypervolume
improvement using box decomposition algorithms" (2019).
"""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

Values = Float[np.ndarray, "points objectives"]


@dataclasses.dataclass(frozen=True)
class FreeBoxes:
    """Disjoint boxes that fill the region below a reference point which a front does not dominate.

    Attributes:
      lower: Lowest corners; minus infinity where a box has no end.
      upper: Highest corners.
    """

    lower: Float[np.ndarray, "boxes objectives"]
    upper: Float[np.ndarray, "boxes objectives"]

    def expected_improvement(self, means: Values, deviations: Values) -> Float[np.ndarray, " points"]:
        """What each point is expected to add to the front's hypervolume.

        Args:
          means: Of every objective.
          deviations: Standard deviations of independent normal distributions; 0 where an objective is known.
        """
        volumes = np.ones((len(means), len(self.upper)))
        for axis in range(self.upper.shape[1]):
            mean, deviation = means[:, axis, None], deviations[:, axis, None]
            above = _expected_excess(self.upper[None, :, axis], mean, deviation)
            volumes *= above - _expected_excess(self.lower[None, :, axis], mean, deviation)
        return volumes.sum(axis=1)


def free_boxes(front: Values, *, reference: Float[np.ndarray, " objectives"]) -> FreeBoxes:
    """Cuts the region below the reference point that no point of the front dominates.

    Args:
      front: Finite points; those that are not below the reference, or dominated by another, change nothing.
      reference: Finite.

    >>> boxes = free_boxes(np.array([[1.0, 1.0]]), reference=np.array([2.0, 2.0]))
    >>> boxes.expected_improvement(np.array([[0.5, 1.5], [1.5, 1.5]]), np.zeros((2, 2))).tolist()
    [0.25, 0.0]
    """
    front = front[np.all(front < reference, axis=1)]
    # The cuts are made between ranks, of which no two are equal: the boxes between equal values are empty.
    values = np.vstack([np.full(len(reference), -np.inf), np.sort(front, axis=0), reference])
    lower, upper = _boxes_by_rank(1 + np.argsort(np.argsort(front, axis=0, kind="stable"), axis=0))
    lower, upper = (np.take_along_axis(values, ranks, axis=0) for ranks in (lower, upper))
    is_full = np.all(lower < upper, axis=1)
    return FreeBoxes(lower[is_full], upper[is_full])


def _boxes_by_rank(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corners of the boxes; the ranks of each objective are 1 to n, 0 is no end, n + 1 the reference."""
    num_points, num_objectives = ranks.shape
    upper = np.full((1, num_objectives), num_points + 1)
    # By box and objective k: the point whose k-th coordinate bounds the box from above.
    defining = (num_points + 1) * np.eye(num_objectives, dtype=int)[None]
    for point in ranks:
        is_hit = np.all(point < upper, axis=1)
        uppers, definings = [upper[~is_hit]], [defining[~is_hit]]
        for axis in range(num_objectives):
            others = np.delete(defining[is_hit, :, axis], axis, axis=1)
            goes_on = point[axis] > others.max(axis=1, initial=0)
            corner, its_defining = upper[is_hit][goes_on], defining[is_hit][goes_on]
            corner[:, axis] = point[axis]
            its_defining[:, axis] = point
            uppers.append(corner)
            definings.append(its_defining)
        upper, defining = np.concatenate(uppers), np.concatenate(definings)
    lower = np.zeros_like(upper)
    for axis in range(1, num_objectives):
        lower[:, axis] = defining[:, :axis, axis].max(axis=1)
    return lower, upper


def _expected_excess(bound: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """By how much a normal variable is below a bound, in expectation: 0 for minus infinity."""
    gap = np.where(np.isfinite(bound), bound, mean) - mean
    scaled = gap / np.where(deviation > 0, deviation, 1.0)
    density = np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
    expected = np.where(deviation > 0, gap * ndtr(scaled) + deviation * density, np.maximum(gap, 0.0))
    return np.where(np.isfinite(bound), expected, 0.0)
