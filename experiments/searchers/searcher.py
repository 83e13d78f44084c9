"""Ask and tell: what the sweep sees of a search, whichever idea proposes; never the same architecture twice."""

from collections.abc import Iterable, Sequence
from typing import Final, final

import numpy as np

from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.ledger_contents import LedgerContents
from experiments.records import Asked, Repaired
from experiments.searchers.proposer import Proposer
from search_space import Architecture, SearchSpace

_MAX_PROPOSALS: Final = 20
_MAX_DRAWS: Final = 10_000


class SpaceExhaustedError(Exception):
    """There is no architecture left that was not asked for, or none can be found."""


@final
class Searcher:
    """A proposer whose proposals are made distinct.

    A proposal that was asked for before is handed back to the proposer as known, at most 20 times in a row; then a
    random architecture that was not asked for takes its place. What it asks for is a function of the seed and of the
    order of `ask` and `tell`, so that `replay` restores it.

    Attributes:
        space: where it searches.
        batch: how many are to be asked for before the first of them is told; None where any order will do. With it, outcomes
            reach the proposer together and in the order of their asks, so that it does not matter which of a batch came first.
    """

    def __init__(
        self, space: SearchSpace, proposer: Proposer, *, seed: int, batch: int | None = None, objectives: Sequence[str] = ()
    ) -> None:
        """Starts with nothing asked for; `objectives` are those that every outcome must have."""
        self.space = space
        self._objectives = tuple(objectives)
        self.batch = batch
        self._proposer = proposer
        self._seed = seed
        self._seen: dict[str, int] = {}  # by digest, which it was to be asked for or heard of
        self._told: set[str] = set()
        self._unlearned: list[Evaluation] = []  # told, and kept back until the next ask
        self._num_skipped = 0  # since the last answer; an ask in vain must not start the count anew

    def ask(self) -> Architecture | None:
        """The next architecture to evaluate; None where the search has to wait for an outcome first.

        Raises:
            SpaceExhaustedError: every architecture was asked for, or 10,000 random draws found none that was not.
        """
        self._learn()
        if len(self._seen) >= self.space.size:
            raise SpaceExhaustedError(f"all {self.space.size} architectures of space {self.space.name!r} were asked for")
        while self._num_skipped < _MAX_PROPOSALS:
            architecture = self._proposer.propose()
            if architecture is None:
                return None
            if architecture.digest not in self._seen:
                return self._take(architecture)
            self._proposer.skip(architecture)
            self._num_skipped += 1
        return self._take(self._draw())

    def ask_again(self, architecture: Architecture) -> Architecture | None:
        """The next architecture, where a ledger says that it was this one; other than that, as `ask`."""
        self._learn()
        return self._take(architecture) if self._proposer.can_adopt else self.ask()

    def tell(self, evaluation: Evaluation) -> None:
        """Takes an outcome: done, failed or infeasible; of an ask, or of an architecture that came from elsewhere.

        Only the first outcome of an architecture counts, as in a ledger.
        """
        if evaluation.digest not in self._told:
            self._told.add(evaluation.digest)
            self._see(evaluation.digest)
            self._unlearned.append(evaluation)
            if self.batch is None:
                self._learn()

    def suggest(self, n: int) -> list[Architecture]:
        """Up to `n` architectures to evaluate side by side; fewer, even none, where outcomes have to be observed first.

        Raises:
            InputError: `n` is below 1.
            SpaceExhaustedError: there is nothing left to suggest, and this would be the first of them.
        """
        if n < 1:
            raise InputError(f"suggest needs a number of architectures of 1 or more, got {n}")
        suggested: list[Architecture] = []
        while len(suggested) < n:
            try:
                architecture = self.ask()
            except SpaceExhaustedError:
                if not suggested:
                    raise
                break
            if architecture is None:
                break
            suggested.append(architecture)
        return suggested

    def observe(self, evaluations: Iterable[Evaluation]) -> None:
        """Takes what came of suggestions, or of architectures that came from elsewhere, in any order.

        Raises:
            InputError: what is done lacks an objective; nothing is taken then.
        """
        evaluations = list(evaluations)
        for evaluation in evaluations:
            missing = [name for name in self._objectives if name not in evaluation.objectives]
            if evaluation.status == "done" and missing:
                raise InputError(
                    f"the outcome of {evaluation.digest} has no {' and no '.join(missing)}, which this search compares; it has "
                    f"{', '.join(evaluation.objectives) or 'nothing'}"
                )
        for evaluation in evaluations:
            self.tell(evaluation)

    def reserve(self, architecture: Architecture) -> None:
        """Never asks for this architecture: somebody else has it evaluated."""
        self._see(architecture.digest)

    def _see(self, digest: str) -> None:
        self._seen.setdefault(digest, len(self._seen))

    def _learn(self) -> None:
        for evaluation in sorted(self._unlearned, key=lambda evaluation: self._seen[evaluation.digest]):
            self._proposer.learn(evaluation)
        self._unlearned = []

    def _take(self, architecture: Architecture) -> Architecture:
        self._num_skipped = 0
        self._see(architecture.digest)
        self._proposer.adopt(architecture)
        return architecture

    def _draw(self) -> Architecture:
        rng = np.random.default_rng([self._seed, 0x5EA, len(self._seen)])
        for _ in range(_MAX_DRAWS):
            architecture = self.space.sample(rng)
            if architecture.digest not in self._seen:
                return architecture
        raise SpaceExhaustedError(
            f"{_MAX_DRAWS:,} random draws from space {self.space.name!r} found no architecture that was not asked for; "
            f"{len(self._seen)} of {self.space.size} were"
        )


def replay(searcher: Searcher, contents: LedgerContents) -> None:
    """Brings a fresh searcher to where the ledger ends: asks again in order, tells in order.

    What stands above a note of repair is told without asking: a damaged ledger no longer has every ask. So is what the
    searcher did not ask for.

    Raises:
        InputError: the searcher asks for something else than the ledger says it did.
    """
    repairs = [i for i, event in enumerate(contents.events) if isinstance(event, Repaired)]
    first_asked = repairs[-1] + 1 if repairs else 0
    for i, event in enumerate(contents.events):
        if isinstance(event, Evaluation):
            searcher.tell(event)
        elif isinstance(event, Asked):
            if i < first_asked or event.origin != "searcher":
                searcher.reserve(event.architecture)
            else:
                _ask_again(searcher, event)


def _ask_again(searcher: Searcher, asked: Asked) -> None:
    architecture = searcher.ask_again(asked.architecture)
    if architecture != asked.architecture:
        now = "waits" if architecture is None else f"asks for {architecture.digest}"
        raise InputError(
            f"the ledger asked for {asked.architecture.digest} at index {asked.index}, the searcher now {now}: its name, its "
            "settings, the seed or the version of its library changed since; set them back, or start a new run folder"
        )
