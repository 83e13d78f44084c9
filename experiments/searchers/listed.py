"""No search: architectures that are known beforehand, one after the other."""

from collections.abc import Sequence

from experiments.evaluation import Evaluation
from experiments.searchers.proposer import Proposer
from experiments.searchers.searcher import Searcher, SpaceExhaustedError
from search_space import Architecture, SearchSpace


def listed(space: SearchSpace, architectures: Sequence[Architecture]) -> Searcher:
    """A searcher that asks for these architectures of the space in their order, and then for none."""
    return Searcher(space, _ListedProposer(architectures), seed=0)


class _ListedProposer(Proposer):
    def __init__(self, architectures: Sequence[Architecture]) -> None:
        self._left = {architecture.digest: architecture for architecture in architectures}

    @property
    def can_adopt(self) -> bool:
        return True  # nothing depends on what went out before

    def propose(self) -> Architecture:
        if not self._left:
            raise SpaceExhaustedError("every architecture of the list was asked for")
        return next(iter(self._left.values()))

    def adopt(self, architecture: Architecture) -> None:
        self._left.pop(architecture.digest, None)

    def skip(self, architecture: Architecture) -> None:
        self._left.pop(architecture.digest, None)

    def learn(self, evaluation: Evaluation) -> None:
        pass
