"""NSGA-II and NSGA-III, by pymoo, over the space's own sampling, mutation and crossover.

Sources: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002); Deb and Jain, "An evolutionary
many-objective optimization algorithm using reference-point-based nondominated sorting approach" (2014). A generation is handed
out one by one and closed once all of it is known, so that the order of outcomes within a generation does not matter.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling
from pymoo.core.termination import NoTermination
from pymoo.util.ref_dirs import get_reference_directions

from experiments.evaluation import Evaluation
from experiments.limits import violation
from experiments.searchers.minimized import minimized_values
from experiments.searchers.problem import SearchProblem
from experiments.searchers.proposer import Proposer
from search_space import Architecture, SearchSpace

_FAILED = 1e9  # constraint violation of an architecture that failed: worse than any limit that is merely broken


def nsga2(problem: SearchProblem, **operators: Any) -> GeneticAlgorithm:
    """The fittest of a front are those that are most alone on it."""
    return NSGA2(pop_size=problem.population, **operators)


def nsga3(problem: SearchProblem, **operators: Any) -> GeneticAlgorithm:
    """The fittest of a front are those nearest to evenly spread directions, no more of them than the population has members."""
    num_objectives = len(problem.objectives)
    num_gaps = 1
    while num_objectives > 1 and math.comb(num_gaps + num_objectives, num_objectives - 1) <= problem.population:
        num_gaps += 1
    directions = get_reference_directions("das-dennis", num_objectives, n_partitions=num_gaps)
    return NSGA3(directions, pop_size=max(problem.population, len(directions)), **operators)


class EvolutionProposer(Proposer):
    """Proposes the offspring of the fittest, generation by generation."""

    def __init__(self, problem: SearchProblem, algorithm: Callable[..., GeneticAlgorithm]) -> None:
        """Sets pymoo's algorithm up; nothing is proposed yet."""
        self._space = space = problem.space
        self._objectives = problem.objectives
        self._population_size = problem.population
        self._limits = problem.limits
        operators: dict[str, Any] = {"sampling": _Sample(space), "crossover": _Cross(space), "mutation": _Mutate(space)}
        self._algorithm = algorithm(problem, **operators)
        self._algorithm.setup(_genotypes(problem), seed=problem.seed, termination=NoTermination())
        self._generation: dict[str, np.ndarray] = {}  # genotypes by digest, skipped ones taken out
        self._waiting: list[str] = []  # digests of the generation that were not proposed yet, last first
        self._outcomes: dict[str, Evaluation] = {}  # of the generation
        self._strangers: list[Evaluation] = []

    def propose(self) -> Architecture | None:
        """The next of this generation; None until the last outcomes of a generation that is handed out have come."""
        if not self._waiting:
            if len(self._outcomes) < len(self._generation):
                return None
            self._next_generation()
        return self._space.decode(self._generation[self._waiting.pop()])

    def skip(self, architecture: Architecture) -> None:
        """Takes it out of the generation; what came of it already joins the next selection."""
        del self._generation[architecture.digest]
        if (outcome := self._outcomes.pop(architecture.digest, None)) is not None:
            self._strangers.append(outcome)

    def learn(self, evaluation: Evaluation) -> None:
        """Keeps the outcome for the end of the generation; strangers join the next selection."""
        if evaluation.digest in self._generation:
            self._outcomes[evaluation.digest] = evaluation
        else:
            self._strangers.append(evaluation)

    def _next_generation(self) -> None:
        strangers = sorted(self._strangers, key=lambda x: (x.index, x.digest))  # whenever each of them became one
        genotypes = [*self._generation.values(), *(self._space.encode(x.architecture) for x in strangers)]
        evaluations = [*(self._outcomes[digest] for digest in self._generation), *strangers]
        algorithm = self._algorithm
        has_population = bool(self._generation) or algorithm.is_initialized  # a few strangers are none to begin with
        if genotypes and (has_population or len(genotypes) >= self._population_size):
            algorithm.tell(infills=self._population(np.array(genotypes), evaluations))
            self._strangers = []
        offspring = algorithm.ask()
        if offspring is None or len(offspring) == 0:  # mating found nothing that its parents are not
            sample = _Sample(self._space)
            offspring = sample.do(algorithm.problem, algorithm.pop_size, random_state=algorithm.random_state)
        self._generation = {self._space.decode(genotype).digest: genotype for genotype in offspring.get("X")}
        self._waiting = list(self._generation)[::-1]
        self._outcomes = {}

    def _population(self, genotypes: np.ndarray, evaluations: Sequence[Evaluation]) -> Population:
        """Individuals with objectives (smaller is better) and the violation of the limits as their one constraint."""
        values = np.zeros((len(genotypes), len(self._objectives)))
        excess = np.zeros((len(genotypes), 1))
        for i, evaluation in enumerate(evaluations):
            if evaluation.status == "done":
                values[i] = minimized_values(evaluation, self._objectives)
            else:
                excess[i] = _FAILED if evaluation.status == "failed" else violation(evaluation.objectives, self._limits)
        population = Population.new("X", genotypes)
        population.set("F", values)
        population.set("G", excess)
        for individual in population:
            individual.evaluated = {"F", "G"}
        return population


def _genotypes(problem: SearchProblem) -> Problem:
    """The problem in pymoo's words: one whole number per gene, one constraint."""
    highest = np.array([len(gene.choices) - 1 for gene in problem.space.genes])
    return Problem(
        n_var=len(highest), n_obj=len(problem.objectives), n_ieq_constr=1, xl=np.zeros(len(highest)), xu=highest, vtype=int
    )


class _Sample(Sampling):
    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self._space = space

    def _do(self, problem: Any, n_samples: int, *args: Any, random_state: Any = None, **kwargs: Any) -> np.ndarray:
        architectures = [
            self._space.smallest(),
            self._space.largest(),
        ]  # the ends of the front are hard to reach by chance
        architectures += [self._space.sample(random_state) for _ in range(n_samples - 2)]
        return np.array([self._space.encode(architecture) for architecture in architectures])


class _Cross(Crossover):
    def __init__(self, space: SearchSpace) -> None:
        super().__init__(n_parents=2, n_offsprings=2, prob=0.9)
        self._space = space

    def _do(self, problem: Any, X: np.ndarray, *args: Any, random_state: Any = None, **kwargs: Any) -> np.ndarray:
        children = np.empty_like(X)
        for mating in range(X.shape[1]):
            one, other = (self._space.decode(X[parent, mating]) for parent in range(2))
            for child in range(2):
                children[child, mating] = self._space.encode(self._space.crossover(one, other, random_state))
        return children


class _Mutate(Mutation):
    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self._space = space

    def _do(self, problem: Any, X: np.ndarray, *args: Any, random_state: Any = None, **kwargs: Any) -> np.ndarray:
        return np.array([self._space.encode(self._space.mutate(self._space.decode(x), random_state)) for x in X])
