"""What a search is about."""

import dataclasses
from collections.abc import Mapping

from experiments.feasibility import CostFunction
from objectives import Objective
from search_space import SearchSpace


@dataclasses.dataclass(frozen=True)
class SearchProblem:
    """Where to search, towards what, within which limits; and the two settings that all searches share.

    Attributes:
        space: where to search.
        objectives: what to improve.
        limits: upper bound by cost; what breaks one is infeasible.
        seed: everything random follows from it.
        population: architectures per generation, or before a model takes over.
        costs: computes what is known of architectures before they are evaluated; without it, nothing is.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    limits: Mapping[str, float]
    seed: int
    population: int
    costs: CostFunction | None = None
