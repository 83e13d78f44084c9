"""Random search: the space's own distribution, and nothing learnt."""

import numpy as np

from experiments.evaluation import Evaluation
from experiments.searchers.proposer import Proposer
from search_space import Architecture, SearchSpace


class RandomProposer(Proposer):
    """Draws every gene uniformly; the yardstick that every other search has to beat."""

    def __init__(self, space: SearchSpace, *, seed: int) -> None:
        """Takes the space to draw from."""
        self._space = space
        self._rng = np.random.default_rng(seed)

    def propose(self) -> Architecture:
        """Draws an architecture."""
        return self._space.sample(self._rng)

    def skip(self, architecture: Architecture) -> None:
        """Nothing to learn from it."""

    def learn(self, evaluation: Evaluation) -> None:
        """Nothing to learn from it."""
