"""The searches that can be asked for by name."""

import difflib
from collections.abc import Callable, Mapping, Sequence

from experiments.errors import InputError
from experiments.feasibility import CostFunction
from experiments.limits import check_limits
from experiments.searchers.problem import SearchProblem
from experiments.searchers.proposer import Proposer
from experiments.searchers.searcher import Searcher
from experiments.searchers.uniform import RandomProposer
from objectives import Objective
from search_space import SearchSpace


def _pocket(problem: SearchProblem) -> Proposer:
    from experiments.searchers.pocket import PocketProposer

    return PocketProposer(problem)


def _nsga2(problem: SearchProblem) -> Proposer:
    from experiments.searchers.evolution import EvolutionProposer, nsga2

    return EvolutionProposer(problem, nsga2)


def _nsga3(problem: SearchProblem) -> Proposer:
    from experiments.searchers.evolution import EvolutionProposer, nsga3

    return EvolutionProposer(problem, nsga3)


def _motpe(problem: SearchProblem) -> Proposer:
    from experiments.searchers.parzen import ParzenProposer

    return ParzenProposer(problem)


def _snapfusion(problem: SearchProblem) -> Proposer:
    from experiments.searchers.snapfusion import SnapFusionProposer

    return SnapFusionProposer(problem)


def _nni_tpe(problem: SearchProblem) -> Proposer:
    from experiments.searchers.nni_tuners import NNIProposer, TpeAdapter

    return NNIProposer(problem, TpeAdapter(problem))


def _nni_evolution(problem: SearchProblem) -> Proposer:
    from experiments.searchers.nni_tuners import EvolutionAdapter, NNIProposer

    return NNIProposer(problem, EvolutionAdapter(problem))


_PROPOSERS: dict[str, Callable[[SearchProblem], Proposer]] = {
    "random": RandomProposer,
    "pocket": _pocket,
    "nsga2": _nsga2,
    "nsga3": _nsga3,
    "motpe": _motpe,
    "snapfusion": _snapfusion,
    "nni-tpe": _nni_tpe,
    "nni-evolution": _nni_evolution,
}


def searcher_names() -> tuple[str, ...]:
    """Names that `get_searcher` knows."""
    return tuple(_PROPOSERS)


def get_searcher(
    name: str,
    space: SearchSpace,
    *,
    objectives: Sequence[Objective],
    seed: int,
    limits: Mapping[str, float] | None = None,
    population: int = 32,
    costs: CostFunction | None = None,
    batch: int | None = None,
) -> Searcher:
    """A fresh search of a space.

    Args:
        name: one of `searcher_names()`.
        space: where to search.
        objectives: what to improve, two or more; nni's tuners see one number made of them.
        seed: everything random follows from it.
        limits: upper bound by cost; what breaks one is told as infeasible.
        population: architectures per generation (nsga2, nsga3, nni-evolution), or before a model takes over (the others).
        batch: how many are to be asked for before the first of them is told; without it, any order will do.
        costs: what is known of architectures before they are evaluated, by name: pocket models all other objectives.

    Raises:
        InputError: the name is unknown, there are no objectives, a limit is unusable, or its library is not installed.
    """
    if name not in _PROPOSERS:
        nearest = difflib.get_close_matches(name, _PROPOSERS, n=1, cutoff=0.0)[0]
        raise InputError(f"there is no searcher {name!r}; did you mean {nearest!r}? Known: {', '.join(_PROPOSERS)}")
    if not objectives:
        raise InputError("a search needs at least one objective, got none; name some, such as denoising_loss and latency_ms")
    if population < 2:
        raise InputError(f"the population must be 2 or more, got {population}")
    check_limits(limits or {})
    problem = SearchProblem(space, tuple(objectives), dict(limits or {}), seed, population, costs)
    names = [objective.name for objective in objectives]
    return Searcher(space, _PROPOSERS[name](problem), seed=seed, batch=batch, objectives=names)
