"""Multi-objective tree-structured Parzen estimator, by Optuna.

Source: Ozaki et al., "Multiobjective tree-structured Parzen estimator" (2022), with the joint (multivariate) density of
Optuna's TPESampler. The study lives in memory; the ledger is what survives.
"""

import warnings

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from experiments.evaluation import Evaluation
from experiments.limits import violation
from experiments.searchers.minimized import minimized_values
from experiments.searchers.problem import SearchProblem
from experiments.searchers.proposer import Proposer
from search_space import Architecture, Gene


class ParzenProposer(Proposer):
    """Proposes where good architectures are dense and bad ones are not."""

    def __init__(self, problem: SearchProblem) -> None:
        """Opens a study in memory; until a population of outcomes is known, proposals are random."""
        self._space = problem.space
        self._objectives = problem.objectives
        self._limits = problem.limits
        self._distributions = {gene.name: _distribution(gene) for gene in problem.space.genes if len(gene.choices) > 1}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls the joint density experimental
            sampler = optuna.samplers.TPESampler(
                seed=problem.seed, n_startup_trials=problem.population, multivariate=True, constant_liar=True
            )
        self._study = optuna.create_study(sampler=sampler, directions=[StudyDirection.MINIMIZE] * len(problem.objectives))
        self._trials: dict[str, optuna.Trial] = {}
        self._last: optuna.Trial | None = None

    def propose(self) -> Architecture:
        """Optuna's suggestion, repaired to the skip rule; it never has to wait."""
        self._last = self._study.ask(self._distributions)
        genotype = [self._last.params.get(gene.name, 0) for gene in self._space.genes]
        architecture = self._space.decode(self._space.repair(np.array(genotype, np.int32)))
        self._trials.setdefault(architecture.digest, self._last)
        return architecture

    def skip(self, architecture: Architecture) -> None:
        """Closes the trial as failed, which Optuna's sampler leaves out."""
        assert self._last is not None
        if self._trials.get(architecture.digest) is self._last:
            del self._trials[architecture.digest]
        self._study.tell(self._last, state=TrialState.FAIL)

    def learn(self, evaluation: Evaluation) -> None:
        """Closes the trial: complete, failed, or, with broken limits, pruned with its violation as a constraint."""
        trial = self._trials.pop(evaluation.digest, None) or self._adopt(evaluation.architecture)
        if evaluation.status == "done":
            self._study.tell(trial, minimized_values(evaluation, self._objectives).tolist())
        elif evaluation.status == "failed":
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_constraint("limits", violation(evaluation.objectives, self._limits))
            self._study.tell(trial, state=TrialState.PRUNED)

    def _adopt(self, architecture: Architecture) -> optuna.Trial:
        """A trial for an architecture that came from elsewhere."""
        genotype = self._space.encode(architecture)
        indices = {gene.name: int(i) for gene, i in zip(self._space.genes, genotype, strict=True)}
        self._study.enqueue_trial({name: indices[name] for name in self._distributions})
        return self._study.ask(self._distributions)


def _distribution(gene: Gene) -> BaseDistribution:
    """Choice indices: ordered where the choices are numbers, unordered otherwise."""
    last = len(gene.choices) - 1
    is_ordered = all(isinstance(choice, int) and not isinstance(choice, bool) for choice in gene.choices)
    return IntDistribution(0, last) if is_ordered else CategoricalDistribution(range(last + 1))
