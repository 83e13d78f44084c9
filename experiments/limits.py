"""Limits: upper bounds on costs that make an architecture infeasible, never absent."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from objectives import Estimate, get_objective


def broken_limits(costs: Mapping[str, Estimate], limits: Mapping[str, float]) -> list[str]:
    """A sentence per limit that the costs break, such as `latency_ms is 51.3 ms, the limit is 40`."""
    broken = []
    for name, bound in limits.items():
        if (value := costs[name].value) > bound:
            digits = 4 if f"{value:.4g}" != f"{bound:.4g}" else 17
            broken.append(f"{name} is {value:.{digits}g} {get_objective(name).unit}, the limit is {bound:.{digits}g}")
    return broken


def violation(costs: Mapping[str, Estimate], limits: Mapping[str, float]) -> float:
    """By how much the costs exceed the limits: relative excesses, summed; 0 where every known cost keeps its limit."""
    return float(violations({name: np.asarray(estimate.value) for name, estimate in costs.items()}, limits))


def violations(columns: Mapping[str, Float[np.ndarray, "*rows"]], limits: Mapping[str, float]) -> Float[np.ndarray, "*any"]:
    """The same of many architectures, whose costs are columns; of no shape where no limit is on a known cost."""
    excesses = [np.maximum(0.0, columns[name] - bound) / bound for name, bound in limits.items() if name in columns]
    return np.asarray(sum(excesses, 0.0))


def check_limits(limits: Mapping[str, float]) -> None:
    """Refuses limits that cannot be checked before an evaluation.

    Raises:
        ValueError: an objective is unknown, is no cost, is maximised, or its bound is not above 0.
    """
    for name, bound in limits.items():
        objective = get_objective(name)
        if not objective.is_cost or objective.direction != "minimize":
            raise ValueError(f"a limit must be on a cost that is minimised, such as latency_ms or macs, got {name!r}")
        if not bound > 0:
            raise ValueError(f"the limit on {name} must be above 0 {objective.unit}, got {bound}")
