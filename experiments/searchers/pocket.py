"""Expected hypervolume improvement where costs are known: only quality is modelled.

What a candidate costs is computed before it is evaluated, so that limits are kept exactly and the uncertainty of a model is
spent on quality alone. Candidates are bred from the best so far, and the one that is expected to add most to the front's
hypervolume is proposed. What is out counts as if it came back as expected, so that several can be out at a time.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from experiments.evaluation import Evaluation
from experiments.limits import violations
from experiments.searchers.described import DescribedArchitectures
from experiments.searchers.gaussian_process import GaussianProcess
from experiments.searchers.minimized import minimized_values
from experiments.searchers.problem import SearchProblem
from experiments.searchers.proposer import Proposer
from objectives import as_minimized
from objectives.front import crowding_distance, non_dominated_ranks
from objectives.improvement import free_boxes
from search_space import Architecture

_NUM_CANDIDATES = 64
_SHARE_RANDOM = 0.25
_NUM_PARENTS = 24
_MARGIN = 0.1  # of the front's extent, by which the reference point lies beyond its worst
_MAX_DESCENTS, _NUM_NEAREST = 20, 8  # towards limits that no candidate keeps
_LEAST_DONE = 4  # before a model is made

Values = Float[np.ndarray, "architectures objectives"]


class PocketProposer(Proposer):
    """Proposes what is expected to move the front most; a function of the seed and of what is known and out."""

    def __init__(self, problem: SearchProblem) -> None:
        """Starts with nothing known; objectives that are not among the problem's costs are modelled."""
        self._problem = problem
        self._described = DescribedArchitectures(problem.space, problem.costs, seed=problem.seed)
        self._models = [GaussianProcess() for _ in problem.objectives]
        self._done: list[Architecture] = []
        self._values: list[np.ndarray] = []  # of what is done, smaller is better
        self._out: dict[str, Architecture] = {}
        self._known: set[str] = set()
        self._num_adopted = self._num_skipped = 0

    @property
    def can_adopt(self) -> bool:
        """Once a model proposes: how it came to a proposal has no effect on those that follow."""
        return not self._is_first

    def propose(self) -> Architecture:
        """The best of the candidates; it never has to wait."""
        rng = np.random.default_rng([self._problem.seed, self._num_adopted, len(self._done), self._num_skipped])
        space = self._problem.space
        candidates = self._candidates(rng, [] if self._is_first else self._parents())
        if (position := self._num_adopted + self._num_skipped) < 2:  # the ends of the front are hard to reach by chance
            candidates.insert(0, space.largest() if position else space.smallest())
        candidates = self._keeping(candidates, rng)
        best = 0 if self._is_first else int(np.argmax(self._improvements(candidates)))
        self._described.keep(self._known)
        return candidates[best]

    def adopt(self, architecture: Architecture) -> None:
        """From now on it is out."""
        self._out[architecture.digest] = architecture
        self._known.add(architecture.digest)
        self._num_adopted += 1
        self._num_skipped = 0

    def skip(self, architecture: Architecture) -> None:
        """The next candidates are others."""
        self._num_skipped += 1

    def learn(self, evaluation: Evaluation) -> None:
        """Keeps what is done; what failed or is infeasible is not proposed again, and nothing more."""
        self._known.add(evaluation.digest)
        self._out.pop(evaluation.digest, None)
        if evaluation.status == "done":
            self._done.append(evaluation.architecture)
            self._values.append(minimized_values(evaluation, self._problem.objectives))

    @property
    def _is_first(self) -> bool:
        return self._num_adopted < self._problem.population or len(self._done) < _LEAST_DONE

    def _candidates(self, rng: np.random.Generator, parents: Sequence[Architecture]) -> list[Architecture]:
        """Children of the parents and random ones, none known unless nothing else was found."""
        space = self._problem.space
        drawn = []
        for _ in range(_NUM_CANDIDATES):
            if not parents or space.size == 1 or rng.random() < _SHARE_RANDOM:
                drawn.append(space.sample(rng))
                continue
            one, other = (parents[i] for i in rng.integers(len(parents), size=2))
            child = space.crossover(one, other, rng) if rng.random() < 0.5 else one
            drawn.append(space.mutate(child, rng) if child.digest in self._known else child)
        distinct = {architecture.digest: architecture for architecture in drawn}
        return [x for digest, x in distinct.items() if digest not in self._known] or drawn[:1]

    def _parents(self) -> list[Architecture]:
        """The best so far: by the front they are on, then by how alone they are there."""
        values = np.stack(self._values)
        ranks = non_dominated_ranks(values)
        order: list[int] = []
        for rank in range(int(ranks.max()) + 1):
            rows = np.flatnonzero(ranks == rank)
            order += rows[np.argsort(-crowding_distance(values[rows]), kind="stable")].tolist()
        return [self._done[row] for row in order[:_NUM_PARENTS]]

    def _keeping(self, candidates: list[Architecture], rng: np.random.Generator) -> list[Architecture]:
        """Those that keep every limit on a computed cost, bred towards them where none does; else those that come nearest."""
        for _ in range(_MAX_DESCENTS):
            excess = self._excess(candidates)
            if excess.min() <= 0:
                break
            nearest = [candidates[row] for row in np.argsort(excess, kind="stable")[:_NUM_NEAREST]]
            candidates = list(dict.fromkeys([*nearest, *self._candidates(rng, nearest)]))
        excess = self._excess(candidates)
        return [candidates[row] for row in np.flatnonzero(excess == excess.min())]

    def _excess(self, candidates: Sequence[Architecture]) -> Float[np.ndarray, " candidates"]:
        """By how much the computed costs exceed their limits: relative excesses, summed."""
        _, costs = self._described.look_up(candidates)
        return np.zeros(len(candidates)) + violations(costs, self._problem.limits)

    def _improvements(self, candidates: Sequence[Architecture]) -> Float[np.ndarray, " candidates"]:
        """Expected hypervolume improvement of each candidate, objectives scaled to the extent of the front.

        Where all of the front has the same value of an objective, to that of everything known.
        """
        means, deviations = self._predicted([*candidates, *self._out.values()])
        known = np.vstack([*self._values, means[len(candidates) :]])
        front = known[non_dominated_ranks(known) == 0]
        low, span, whole = front.min(axis=0), np.ptp(front, axis=0), np.ptp(known, axis=0)
        span = np.where(span > 0, span, np.where(whole > 0, whole, 1.0))
        boxes = free_boxes((front - low) / span, reference=np.full(len(span), 1 + _MARGIN))
        return boxes.expected_improvement((means[: len(candidates)] - low) / span, deviations[: len(candidates)] / span)

    def _predicted(self, architectures: Sequence[Architecture]) -> tuple[Values, Values]:
        """Objectives and their standard deviations, 0 where they are computed."""
        features, costs = self._described.look_up(architectures)
        observed, _ = self._described.look_up(self._done)
        values = np.stack(self._values)
        means, deviations = np.zeros((2, len(architectures), values.shape[1]))
        for i, objective in enumerate(self._problem.objectives):
            if objective.name in costs:
                means[:, i] = as_minimized([objective], costs[objective.name][:, None])[:, 0]
            else:
                means[:, i], deviations[:, i] = self._models[i].predict(observed, values[:, i], features)
        return means, deviations
