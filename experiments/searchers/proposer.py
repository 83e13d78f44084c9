"""The idea of a search: propose an architecture, learn what came of it."""

import abc

from experiments.evaluation import Evaluation
from search_space import Architecture


class Proposer(abc.ABC):
    """Proposes architectures of one space; all randomness comes from its seed.

    It proposes the same again when it is built again and called again in the same order, except that calls of `propose`
    that return None must leave no trace: how often one asks in vain is not part of its history.
    """

    @abc.abstractmethod
    def propose(self) -> Architecture | None:
        """An architecture of the space, or None: not before `learn` or `skip` was called for one that is out.

        Raises:
            SpaceExhaustedError: it has none to propose any more.
        """

    @property
    def can_adopt(self) -> bool:
        """Whether a replay may give it the next architecture of the ledger instead of having it proposed again."""
        return False

    def adopt(self, architecture: Architecture) -> None:  # noqa: B027 - most have nothing to do
        """Says that an architecture goes out to be evaluated, whether it was proposed, drawn at random or replayed."""

    @abc.abstractmethod
    def skip(self, architecture: Architecture) -> None:
        """Says that the architecture proposed last is known already and will not be evaluated again."""

    @abc.abstractmethod
    def learn(self, evaluation: Evaluation) -> None:
        """Takes an outcome: done, failed or infeasible; of its own proposal, or of an architecture that came from elsewhere."""
