"""Random search: the space's own distribution, and nothing learnt."""

import numpy as np

from experiments.evaluation import Evaluation
from experiments.searchers.problem import SearchProblem
from experiments.searchers.proposer import Proposer
from search_space import Architecture


class RandomProposer(Proposer):
    """Draws every gene uniformly; the yardstick that every other search has to beat."""

    def __init__(self, problem: SearchProblem) -> None:
        """Draws from the problem's space."""
        self._space = problem.space
        self._rng = np.random.default_rng(problem.seed)

    def propose(self) -> Architecture:
        """Draws an architecture."""
        return self._space.sample(self._rng)

    def skip(self, architecture: Architecture) -> None:
        """Nothing to learn from it."""

    def learn(self, evaluation: Evaluation) -> None:
        """Nothing to learn from it."""
