"""An evaluation's objectives as an array in which smaller is better."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from experiments.evaluation import Evaluation
from objectives import Objective, as_minimized


def minimized_values(evaluation: Evaluation, objectives: Sequence[Objective]) -> Float[np.ndarray, " objectives"]:
    """The values of an evaluation that is done, one per objective, in their order."""
    values = np.array([evaluation.objectives[objective.name].value for objective in objectives])
    return as_minimized(objectives, values)


def minimized_intervals(evaluation: Evaluation, objectives: Sequence[Objective]) -> Float[np.ndarray, "2 objectives"]:
    """The lower and the upper ends, smaller is better; without an interval, both are the value."""
    estimates = [evaluation.objectives[objective.name] for objective in objectives]
    ends = [(x.value, x.value) if x.low is None or x.high is None else (x.low, x.high) for x in estimates]
    return np.sort(as_minimized(objectives, np.array(ends).T), axis=0)
