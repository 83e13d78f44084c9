"""Why a design is what it is: which single choice buys what around it, and how much each choice matters over the run.

Costs of a changed design are computed as in the search. Its quality was measured where the search came by, and is told by a
Gaussian process over the run's evaluations otherwise, with an interval of the difference.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.choosing import choose, half_width_of_difference
from experiments.config import load_config
from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.latency import Costs, run_costs
from experiments.ledger_export import study_of
from experiments.limits import broken_limits
from experiments.progress import Progress, silent_progress
from experiments.run_folder import Run
from experiments.searchers.described import DescribedArchitectures
from experiments.searchers.gaussian_process import GaussianProcess
from objectives import Estimate, Objective
from objectives.rank import kendall_tau
from search_space import Architecture, Scale, SearchSpace, get_scale, get_space
from search_space.changes import one_choice_changes

LEAST_DONE = 12  # evaluations, from which on there is a model
_NUM_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Change:
    """One choice made otherwise.

    Attributes:
        gene: that is changed, such as `down0.convolution`.
        before: its choice in the design.
        after: its other choice.
        also: other genes that have to follow, with their choices after.
        architecture: with the change.
        differences: by objective, from the design to the changed one.
        is_measured: whether the search has evaluated the changed design.
        breaks: limits of the search that it breaks.
    """

    gene: str
    before: Any
    after: Any
    also: Mapping[str, Any]
    architecture: Architecture
    differences: Mapping[str, Estimate]
    is_measured: bool
    breaks: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What `explain` says.

    Attributes:
        evaluation: the design, as the search judged it.
        scale: at which its costs are counted.
        objectives: that changes are told in, the sweep's own.
        changes: all that one choice can do, in the order of the genes.
        model_tau: by modelled objective, how well the model ranks evaluations that it does not know; None without a ranking.
        importance: by objective, the share of its variance over the run that each gene explains alone, the largest first.
    """

    evaluation: Evaluation
    scale: Scale
    objectives: tuple[Objective, ...]
    changes: tuple[Change, ...]
    model_tau: Mapping[str, Estimate | None]
    importance: Mapping[str, Mapping[str, float]]


def explain(run: Run, pick: str, *, progress: Progress | None = None) -> Explanation:
    """Explains one design of a run; with thousands of evaluations in minutes.

    Args:
        run: a run, finished or not.
        pick: which design, as `experiments.choosing.choose` reads it.
        progress: where to report; by default nowhere.

    Raises:
        InputError: nothing fits `pick`, it was not evaluated to the end, or the run has too few evaluations for a model.
    """
    digest = choose(run, pick).evaluation.digest
    search, config = run.levels[0], load_config(run.path / "sweep.yaml")
    evaluation = next((e for e in search.done if e.digest == digest), None)
    if evaluation is None:
        raise InputError(f"{digest}: its quality was not measured, so there is nothing to explain; pick one that is done")
    if len(search.done) < LEAST_DONE:
        raise InputError(
            f"{run.path}: {len(search.done)} evaluations are too few to explain by; let the sweep make {LEAST_DONE}"
        )
    space, scale = get_space(config.space), get_scale(config.deploy_scale)
    costs = run_costs(run.path, scale, config.latency.image)
    changed = one_choice_changes(space, evaluation.architecture)
    model = _Model(space, costs, search.done)
    names = [objective.name for objective in search.objectives]
    modelled = [name for name in names if name not in model.described.cost_names]
    before = {**costs(evaluation.architecture), **{name: evaluation.objectives[name] for name in modelled}}
    measured = {evaluation.digest: evaluation for evaluation in search.done}
    with (progress or silent_progress()).stage(f"Explaining by {len(search.done):,} evaluations", len(modelled) + 2) as stage:
        told = model.differences(evaluation, [architecture for *_, architecture in changed], modelled)
        stage.advance(note="differences")
        held_out = dict[str, Estimate | None]()
        for name in modelled:
            held_out[name] = model.held_out_tau(name)
            stage.advance(note=f"how well the model ranks {name}")
        shares = importance(run, space)
        stage.advance(note="importance of genes")
    return Explanation(
        evaluation,
        scale,
        search.objectives,
        tuple(_change(run, costs, before, measured, change, told[i], names) for i, change in enumerate(changed)),
        held_out,
        shares,
    )


def importance(run: Run, space: SearchSpace) -> dict[str, dict[str, float]]:
    """By objective of the search, the share of its variance that each gene explains alone: functional ANOVA of a random forest.

    What is missing to 1 is interactions of genes and noise; an objective that does not vary has no shares.

    Source: Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance"; the implementation is Optuna's.
    """
    from optuna.importance import FanovaImportanceEvaluator

    study, found = study_of(run.ledger, space, name=run.path.name), {}
    for i, objective in enumerate(run.levels[0].objectives):
        evaluator = FanovaImportanceEvaluator(seed=0)
        if np.ptp([evaluation.objectives[objective.name].value for evaluation in run.levels[0].done]) == 0:
            found[objective.name] = {}
            continue
        shares = evaluator.evaluate(study, target=functools.partial(_value_of, i))
        found[objective.name] = {gene: float(share) for gene, share in shares.items()}
    return found


def _value_of(i: int, trial: Any) -> float:
    return trial.values[i]


class _Model:
    """What the run tells of qualities that were not measured."""

    def __init__(self, space: SearchSpace, costs: Costs, done: Sequence[Evaluation]) -> None:
        self.described = DescribedArchitectures(space, costs.columns, seed=0)
        self._done = done
        self._features, _ = self.described.look_up([evaluation.architecture for evaluation in done])

    def differences(self, base: Evaluation, others: Sequence[Architecture], names: Sequence[str]) -> list[dict[str, Estimate]]:
        """By objective, for each of the others, how it differs from the base."""
        queries, _ = self.described.look_up([base.architecture, *others])
        found: list[dict[str, Estimate]] = [{} for _ in others]
        for name in names:
            means, covariance = GaussianProcess().predict_jointly(self._features, self._values(name), queries)
            variances = np.diag(covariance)[1:] + covariance[0, 0] - 2 * covariance[0, 1:]
            for row, (mean, variance) in enumerate(zip(means[1:] - means[0], variances, strict=True)):
                half = 1.96 * np.sqrt(max(variance, 0.0))
                found[row][name] = Estimate(mean, mean - half, mean + half, len(self._done))
        return found

    def held_out_tau(self, name: str) -> Estimate | None:
        """Kendall's tau of what is predicted of each evaluation by the others, in folds, with what was measured.

        None where either is all the same.
        """
        values, predicted = self._values(name), np.zeros(len(self._done))
        folds = np.arange(len(values)) % _NUM_FOLDS
        for fold in range(_NUM_FOLDS):
            known = folds != fold
            predicted[~known], _ = GaussianProcess().predict(self._features[known], values[known], self._features[~known])
        try:
            return kendall_tau(predicted, values)
        except ValueError:
            return None

    def _values(self, name: str) -> np.ndarray:
        return np.array([evaluation.objectives[name].value for evaluation in self._done])


def _change(
    run: Run,
    costs: Costs,
    before: Mapping[str, Estimate],
    measured: Mapping[str, Evaluation],
    changed: tuple[str, Any, Any, dict[str, Any], Architecture],
    told: Mapping[str, Estimate],
    names: Sequence[str],
) -> Change:
    *_, architecture = changed
    evaluation, after = measured.get(architecture.digest), costs(architecture)
    differences = dict(told)
    for name in names:
        if name not in told:
            differences[name] = _difference(after[name], before[name])
        elif evaluation is not None:
            differences[name] = _difference(evaluation.objectives[name], before[name])
    limits = run.ledger.header.get("limits") or {}
    broken = tuple(broken_limits(after, {name: bound for name, bound in limits.items() if name in after}))
    return Change(*changed, differences=differences, is_measured=evaluation is not None, breaks=broken)


def _difference(one: Estimate, other: Estimate) -> Estimate:
    """Of two estimates, with errors taken as independent; exact where both are.

    A predictor's errors for two such similar networks have much in common, so that its interval here is a cautious one.
    """
    half, value = half_width_of_difference(one, other), one.value - other.value
    return Estimate(value, value - half, value + half, one.n)
