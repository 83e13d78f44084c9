"""Optuna's own tests of samplers, on our searches wrapped as one: any parameters, as the points of a grid."""

import threading

import numpy as np
import optuna
import pytest
from grid_space import at, grid_space, indices
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase, RelativeSamplerTestCase
from optuna.trial import TrialState

from experiments.evaluation import evaluated
from experiments.searchers import SpaceExhaustedError, get_searcher, searcher_names
from objectives import Objective

_FLOAT_STEPS = 33  # of a real parameter


def grid(distribution):
    """The values of a parameter that are searched, in order."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, FloatDistribution) and step is None:
        spaced = np.geomspace if distribution.log else np.linspace
        return sorted({float(np.clip(value, low, high)) for value in spaced(low, high, _FLOAT_STEPS)})
    count = int((high - low) / step + 1e-9) + 1
    return [min(type(low)(low + i * step), high) for i in range(count)]


class SearcherSampler(BaseSampler):
    """A search of ours per set of parameters, which is told every trial of the study that holds them all.

    A search suggests nothing twice. Where its grid is exhausted, or it waits for outcomes that Optuna never tells because the
    tests only draw, it begins anew.
    """

    def __init__(self, name):
        self._name = name
        self._searches = {}
        self._told = {}
        self._lock = threading.Lock()

    def infer_relative_search_space(self, study, trial):
        return IntersectionSearchSpace().calculate(study)

    def sample_relative(self, study, trial, search_space):
        return self._drawn(study, search_space) if search_space else {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self._drawn(study, {param_name: param_distribution})[param_name]

    def _drawn(self, study, parameters):
        with self._lock:
            grids = {name: grid(distribution) for name, distribution in parameters.items()}
            key = repr(sorted(parameters.items()))
            space = grid_space([len(values) for values in grids.values()])
            if key not in self._searches:
                self._begin(key, space, study)
            self._tell(key, space, study, grids)
            architecture = self._suggested(key) or self._begin(key, space, study).suggest(1)[0]
            point = indices(architecture)
            return {name: values[i] for (name, values), i in zip(grids.items(), point, strict=True)}

    def _begin(self, key, space, study):
        objectives = tuple(
            Objective(f"f{i}", direction.name.lower(), "", "", is_cost=False) for i, direction in enumerate(study.directions)
        )
        self._searches[key] = get_searcher(self._name, space, objectives=objectives, seed=0, population=4)
        self._told[key] = set()
        return self._searches[key]

    def _suggested(self, key):
        try:
            return next(iter(self._searches[key].suggest(1)), None)
        except SpaceExhaustedError:
            return None

    def _tell(self, key, space, study, grids):
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if trial.number in self._told[key] or not all(trial.params.get(name) in grids[name] for name in grids):
                continue
            self._told[key].add(trial.number)
            point = [grids[name].index(trial.params[name]) for name in grids]
            values = {f"f{i}": value for i, value in enumerate(trial.values)}
            self._searches[key].observe([evaluated(at(space, point), values)])


class Wrapped:
    @pytest.fixture(
        params=[name if name == "nsga2" else pytest.param(name, marks=pytest.mark.slow) for name in searcher_names()]
    )
    def sampler(self, request):
        return lambda: SearcherSampler(request.param)


class TestBasic(Wrapped, BasicSamplerTestCase):
    pass


class TestRelative(Wrapped, RelativeSamplerTestCase):
    pass


class TestMultiObjective(Wrapped, MultiObjectiveSamplerTestCase):
    pass


def test_it_improves_a_study_of_two_objectives():
    """The wrapper does search: on a plain problem it leaves random draws behind."""

    def objective(trial):
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        return x + y, (1 - x) + y

    means = {}
    for name in ("random", "pocket"):
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=SearcherSampler(name))
        study.optimize(objective, n_trials=30)
        means[name] = np.mean([trial.params["y"] for trial in study.trials[15:]])
    assert means["pocket"] < 0.5 * means["random"]
