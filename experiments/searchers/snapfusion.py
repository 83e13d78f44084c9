"""SnapFusion's evolution: round after round, all changes of one choice are judged, and the best of them are made.

It begins with the largest network. A change is worth what it costs in quality for what it saves, and the best of a round are
made together. Where limits are kept, changes that cost more are made instead, one a round, by what they gain for it. At its end
it begins again with a random architecture.

Source: Li et al. 2023 (SnapFusion), section 3.2 and algorithm 1. There an action removes or adds a block; here it is any other
choice of any gene, so that all searchers have the same space.
"""

import numpy as np

from experiments.evaluation import Evaluation
from experiments.searchers.minimized import minimized_values
from experiments.searchers.problem import SearchProblem
from experiments.searchers.proposer import Proposer
from objectives import Objective
from search_space import Architecture
from search_space.changes import one_choice_changes

_SAVED = 0.1  # share of the cost that the changes of one round save together, each by itself
_MOST_ROUNDS = 100  # of which all is known already, in one proposal


class SnapFusionProposer(Proposer):
    """Proposes the changes around one architecture, then moves on; quality is the first objective that is no cost."""

    def __init__(self, problem: SearchProblem) -> None:
        """Starts at the largest architecture."""
        self._problem = problem
        self._quality, self._cost = (_first(problem.objectives, is_cost=is_cost) for is_cost in (False, True))
        self._told: dict[str, Evaluation | None] = {}  # None: somebody else has it evaluated
        self._out: set[str] = set()
        self._visited: set[str] = set()
        self._num_rounds = 0
        self._begin(problem.space.largest())

    def propose(self) -> Architecture | None:
        """The next of the round; None until the last outcomes of a round that is handed out have come."""
        for _ in range(_MOST_ROUNDS):
            if unknown := [x for x in self._round if x.digest not in self._told and x.digest not in self._out]:
                return unknown[0]
            if any(x.digest in self._out for x in self._round):
                return None
            self._move()
        return self._random()

    def adopt(self, architecture: Architecture) -> None:
        """From now on it is out."""
        self._out.add(architecture.digest)

    def skip(self, architecture: Architecture) -> None:
        """The round goes on without it."""
        self._told.setdefault(architecture.digest, None)

    def learn(self, evaluation: Evaluation) -> None:
        """Keeps the outcome for the end of the round."""
        self._out.discard(evaluation.digest)
        self._told[evaluation.digest] = evaluation

    def _begin(self, architecture: Architecture) -> None:
        """Starts a round: the architecture itself, then what is one choice away, in random order."""
        self._visited.add(architecture.digest)
        self._current, self._num_rounds = architecture, self._num_rounds + 1
        changed = [x for *_, x in one_choice_changes(self._problem.space, architecture)]
        order = np.random.default_rng([self._problem.seed, self._num_rounds]).permutation(len(changed))
        self._round = [architecture, *(changed[i] for i in order)]

    def _random(self) -> Architecture:
        return self._problem.space.sample(np.random.default_rng([self._problem.seed, self._num_rounds, len(self._told)]))

    def _move(self) -> None:
        """To where the best changes of the round lead; to a random architecture where there are none."""
        changed = self._with_additions() if self._keeps_limits() else self._with_removals()
        self._begin(self._random() if changed is None or changed.digest in self._visited else changed)

    def _keeps_limits(self) -> bool:
        outcome = self._told[self._current.digest]
        return bool(self._problem.limits) and outcome is not None and outcome.status == "done"

    def _with_removals(self) -> Architecture | None:
        """The changes that cost least quality for what they save, until enough is saved; where quality is unknown, any."""
        quality, cost = self._values(self._current)
        found = [(x, *self._values(x)) for x in self._round[1:]]
        scored = [((q - quality) / (cost - c), cost - c, x) for x, q, c in found if c < cost]
        if np.isnan(quality):
            scored = [(-saved, saved, x) for _, saved, x in scored]
        own = genotype = self._problem.space.encode(self._current)
        left, space = _SAVED * cost, self._problem.space
        for _, saved, architecture in sorted((x for x in scored if not np.isnan(x[0])), key=lambda change: change[0]):
            other = space.encode(architecture)
            if left > 0 and not np.any((other != own) & (genotype != own)):  # two choices of one gene cannot both be made
                genotype = space.repair(np.where(other != own, other, genotype))
                left -= saved
        return None if genotype is own else space.decode(genotype)

    def _with_additions(self) -> Architecture | None:
        """The change that gains most quality for what it costs, and keeps the limits."""
        quality, cost = self._values(self._current)
        found = [(x, *self._values(x)) for x in self._round[1:]]
        gains = {x: (quality - q) / (c - cost) for x, q, c in found if c > cost and q < quality}
        return max(gains, key=lambda x: gains[x]) if gains else None

    def _values(self, architecture: Architecture) -> tuple[float, float]:
        """Quality and cost, smaller is better; NaN where unknown."""
        outcome = self._told[architecture.digest]

        def value(objective: Objective | None) -> float:
            if outcome is None or objective is None or objective.name not in outcome.objectives:
                return float("nan")
            return float(minimized_values(outcome, [objective])[0])

        return value(self._quality), value(self._cost)


def _first(objectives: tuple[Objective, ...], *, is_cost: bool) -> Objective | None:
    return next((objective for objective in objectives if objective.is_cost == is_cost), None)
