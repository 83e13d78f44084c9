"""NNI's tuners, run in process: tree-structured Parzen estimator and evolution.

They know one objective. An outcome reaches them as one number to minimise, the augmented Chebyshev value of its
objectives, each scaled to the range seen so far, under weights drawn anew for each outcome (ParEGO: Knowles 2006, where
all outcomes share the weights of a step; a tuner's history cannot be told again).
"""

import abc
import importlib
import logging
import os
import random
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.limits import violation
from experiments.searchers.minimized import minimized_values
from experiments.searchers.problem import SearchProblem
from experiments.searchers.proposer import Proposer
from objectives import Objective
from search_space import Architecture, SearchSpace

_AUGMENTATION = 0.05
_INFEASIBLE = 2.0  # above every Chebyshev value, which is at most 1.05


class Adapter(abc.ABC):
    """What the tuners differ in; numbers name their requests."""

    @abc.abstractmethod
    def draw(self, number: int) -> dict[str, int] | None:
        """Choice index by gene, or None where the tuner has nothing to give before it learns."""

    @abc.abstractmethod
    def undo(self, number: int) -> None:
        """Takes the last draw back."""

    @abc.abstractmethod
    def learn(self, number: int, loss: float | None) -> None:
        """The loss of a request; None where it failed."""


@final
class NNIProposer(Proposer):
    """Proposes what one of NNI's tuners draws."""

    def __init__(self, problem: SearchProblem, adapter: Adapter) -> None:
        """Takes the tuner behind its adapter."""
        self._space = problem.space
        self._limits = problem.limits
        self._adapter = adapter
        self._scalarizer = Chebyshev(problem.objectives, seed=problem.seed)
        self._num_draws = 0
        self._requests: dict[str, int] = {}

    def propose(self) -> Architecture | None:
        """The tuner's draw, repaired to the skip rule."""
        indices = self._adapter.draw(self._num_draws)
        if indices is None:
            return None
        genotype = np.array([indices.get(gene.name, 0) for gene in self._space.genes], np.int32)
        architecture = self._space.decode(self._space.repair(genotype))
        self._requests.setdefault(architecture.digest, self._num_draws)
        self._num_draws += 1
        return architecture

    def skip(self, architecture: Architecture) -> None:
        """Takes the draw back."""
        last = self._num_draws - 1
        if self._requests.get(architecture.digest) == last:
            del self._requests[architecture.digest]
        self._adapter.undo(last)

    def learn(self, evaluation: Evaluation) -> None:
        """Tells the tuner one number; outcomes from elsewhere only move the scale of the objectives."""
        loss = None
        if evaluation.status == "done":
            loss = self._scalarizer.add(evaluation)
        elif evaluation.status == "infeasible":
            loss = _INFEASIBLE + violation(evaluation.objectives, self._limits)
        number = self._requests.pop(evaluation.digest, None)
        if number is not None:
            self._adapter.learn(number, loss)


class Chebyshev:
    """Makes one number of several: max(w * z) + 0.05 * sum(w * z), z scaled to [0, 1] over what was seen, w drawn anew."""

    def __init__(self, objectives: Sequence[Objective], *, seed: int) -> None:
        """Starts without a range."""
        self._objectives = objectives
        self._rng = np.random.default_rng([seed, 0xC4E])
        self._low = np.full(len(objectives), np.inf)
        self._high = np.full(len(objectives), -np.inf)

    def add(self, evaluation: Evaluation) -> float:
        """Widens the range by an evaluation that is done, and returns its number, 0 (best) to 1.05."""
        values = minimized_values(evaluation, self._objectives)
        self._low, self._high = np.minimum(self._low, values), np.maximum(self._high, values)
        span = np.where(self._high > self._low, self._high - self._low, 1.0)
        weighted = self._rng.dirichlet(np.ones(len(values))) * (values - self._low) / span
        return float(weighted.max() + _AUGMENTATION * weighted.sum())


@final
class TpeAdapter(Adapter):
    """NNI's TpeTuner: one density per gene, no relations between genes."""

    def __init__(self, problem: SearchProblem) -> None:
        """Builds the tuner; its first draws, a population of them, are random."""
        tuner = _tuner_class("tpe_tuner", "TpeTuner")
        self._tuner = tuner(optimize_mode="minimize", seed=problem.seed, tpe_args={"n_startup_jobs": problem.population})
        self._space = _tuner_space(problem.space)
        self._tuner.update_search_space(self._space)

    def draw(self, number: int) -> dict[str, int]:
        """The tuner's next draw; its table of earlier draws is emptied once it holds every genotype."""
        import nni

        try:
            return self._tuner.generate_parameters(number)
        except nni.NoMoreTrialError:  # whether a space is exhausted is decided by architectures, not by genotypes
            self._tuner.update_search_space(self._space)
            return self._tuner.generate_parameters(number)

    def undo(self, number: int) -> None:
        """Ends the request without a loss."""
        self._tuner.trial_end(number, False)

    def learn(self, number: int, loss: float | None) -> None:
        """Adds the loss to the tuner's history, or ends the request without one."""
        if loss is not None:
            self._tuner.receive_trial_result(number, {}, loss)
        self._tuner.trial_end(number, loss is not None)


@final
class EvolutionAdapter(Adapter):
    """NNI's EvolutionTuner, made to follow a seed: it has none of its own and draws from Python's global generator."""

    def __init__(self, problem: SearchProblem) -> None:
        """Builds the tuner and draws its first population."""
        tuner = _tuner_class("evolution_tuner", "EvolutionTuner")
        self._tuner = tuner(optimize_mode="minimize", population_size=problem.population)
        self._tuner.update_search_space(_tuner_space(problem.space))
        self._tuner.random_state = np.random.RandomState(problem.seed)
        self._tuner.population = []
        for _ in range(problem.population):
            self._tuner._random_generate_individual()
        self._state = random.Random(problem.seed).getstate()
        self._before: list[Any] = []

    def draw(self, number: int) -> dict[str, int] | None:
        """The next of the first population, then a mutation of the better of two; None while all of them are out."""
        if not self._tuner.population:
            return None
        self._before = list(self._tuner.population)
        outer = random.getstate()
        random.setstate(self._state)
        try:
            return self._tuner.generate_parameters(number)
        finally:
            self._state = random.getstate()
            random.setstate(outer)

    def undo(self, number: int) -> None:
        """Puts the population back as it was before the draw, so that known mutants do not eat it up."""
        self._tuner.running_trials.pop(number)
        if any(individual.result is None for individual in self._before):
            self._tuner._random_generate_individual()
        else:
            self._tuner.population = self._before

    def learn(self, number: int, loss: float | None) -> None:
        """Adds the individual to the population; a failed one is replaced by a random one."""
        if loss is not None:
            self._tuner.receive_trial_result(number, {}, loss)
        self._tuner.trial_end(number, loss is not None)


def _tuner_class(module: str, name: str) -> Any:
    os.environ.setdefault("NNI_FRAMEWORK", "none")
    try:
        tuner = getattr(importlib.import_module(f"nni.algorithms.hpo.{module}"), name)
    except ImportError as error:
        raise InputError(
            f"NNI's {name} cannot be imported ({error}); install it with `pip install nni==3.0`, or use searcher nsga2 or motpe"
        ) from None
    logging.getLogger("nni").setLevel(logging.WARNING)  # a line per trial otherwise
    return tuner


def _tuner_space(space: SearchSpace) -> dict[str, Any]:
    """Choice indices in the form that the tuners read; genes with one choice are left out."""
    return {
        gene.name: {"_type": "choice", "_value": list(range(len(gene.choices)))}
        for gene in space.genes
        if len(gene.choices) > 1
    }
