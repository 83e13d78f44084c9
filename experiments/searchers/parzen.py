"""Multi-objective tree-structured Parzen estimator, by Optuna.

Source: Ozaki et al., "Multiobjective tree-structured Parzen estimator" (2022), with the joint (multivariate) density of
Optuna's TPESampler. The study lives in memory; the ledger is what survives.
"""

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
    """Proposes where good architectures are dense and bad ones are not.

    The study holds genotypes as they were drawn, not those of the repaired, canonical architectures: with the defaults of genes
    without effect in their place, the search finds less. That is why a replay has to draw again.
    """

    def __init__(self, problem: SearchProblem) -> None:
        """Opens a study in memory; until a population of outcomes is known, proposals are random."""
        self._problem = problem
        self._distributions = {gene.name: _distribution(gene) for gene in problem.space.genes if len(gene.choices) > 1}
        self._sampler = optuna.samplers.TPESampler(
            seed=problem.seed, n_startup_trials=problem.population, multivariate=True, constant_liar=True
        )
        self._rng = np.random.default_rng(problem.seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(directions=[StudyDirection.MINIMIZE] * len(problem.objectives))
        self._study.ask()  # trial 0 is never told: all draws are for it
        self._trials: dict[str, optuna.Trial] = {}  # of every architecture that is known or being evaluated, by digest
        self._is_new = False  # whether the last proposal was in none of them

    def propose(self) -> Architecture:
        """The sampler's draw, repaired to the skip rule; it never has to wait."""
        space = self._problem.space
        # Not through `ask`, which takes as long again to suggest gene by gene.
        draft = self._study.get_trials(deepcopy=False)[0]
        drawn = self._sampler.sample_relative(self._study, draft, self._distributions) or self._at_random()
        genotype = [drawn.get(gene.name, 0) for gene in space.genes]
        architecture = space.decode(space.repair(np.array(genotype, np.int32)))
        self._is_new = architecture.digest not in self._trials
        if self._is_new:
            self._trials[architecture.digest] = self._open(drawn)
        return architecture

    def skip(self, architecture: Architecture) -> None:
        """Closes a trial that was opened for it as failed, which Optuna's sampler leaves out."""
        if self._is_new:
            self._study.tell(self._trials.pop(architecture.digest), state=TrialState.FAIL)

    def learn(self, evaluation: Evaluation) -> None:
        """Closes the trial: complete, failed, or, with broken limits, pruned with its violation as a constraint."""
        if evaluation.digest not in self._trials:  # it came from elsewhere
            space = self._problem.space
            genotype = zip(space.genes, space.encode(evaluation.architecture), strict=True)
            indices = {gene.name: int(index) for gene, index in genotype}
            self._trials[evaluation.digest] = self._open({name: indices[name] for name in self._distributions})
        trial = self._trials[evaluation.digest]
        if evaluation.status == "done":
            self._study.tell(trial, minimized_values(evaluation, self._problem.objectives).tolist())
        elif evaluation.status == "failed":
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_constraint("limits", violation(evaluation.objectives, self._problem.limits))
            self._study.tell(trial, state=TrialState.PRUNED)

    def _at_random(self) -> dict[str, int]:
        genes = {gene.name: len(gene.choices) for gene in self._problem.space.genes}
        return {name: int(self._rng.integers(genes[name])) for name in self._distributions}

    def _open(self, indices: dict[str, int]) -> optuna.Trial:
        """A running trial with these choices."""
        self._study.enqueue_trial(indices)
        return self._study.ask(self._distributions)


def _distribution(gene: Gene) -> BaseDistribution:
    """Choice indices: ordered where the choices are numbers, unordered otherwise."""
    last = len(gene.choices) - 1
    is_ordered = all(isinstance(choice, int) and not isinstance(choice, bool) for choice in gene.choices)
    return IntDistribution(0, last) if is_ordered else CategoricalDistribution(range(last + 1))
