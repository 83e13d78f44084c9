"""The searches of pymoo and Optuna, through our adapters, find what the libraries find on their own."""

import functools

import numpy as np
import optuna
import pytest
from grid_space import grid_space, indices
from pymoo.core.problem import Problem
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from two_samples import two_sample_t

from experiments.evaluation import evaluated
from experiments.searchers import get_searcher
from experiments.searchers.evolution import _Cross, _Mutate, _Sample, nsga2, nsga3
from experiments.searchers.problem import SearchProblem
from objectives import Objective
from objectives.front import hypervolume

_STEPS = 65  # of the grid, an axis
_SEEDS = range(12)
_POPULATION = 24
_NUM = {"nsga2": 480, "nsga3": 480, "motpe": 160}
_PROBLEMS = {
    "zdt1": functools.partial(get_problem, "zdt1", n_var=5),
    "zdt2": functools.partial(get_problem, "zdt2", n_var=5),
    "zdt3": functools.partial(get_problem, "zdt3", n_var=5),
    "dtlz2": functools.partial(get_problem, "dtlz2", n_var=6, n_obj=3),
    "c2dtlz2": functools.partial(get_problem, "c2dtlz2", n_var=6, n_obj=3),
}


class Gridded(Problem):
    """A problem of real variables on a grid of equal steps, and as a search of architectures."""

    def __init__(self, name):
        self.real = _PROBLEMS[name]()
        self.space = grid_space([_STEPS] * self.real.n_var)
        self.rows = [i for i, gene in enumerate(self.space.genes) if gene.name.endswith("width")]
        self.objectives = tuple(Objective(f"f{i}", "minimize", "", "", is_cost=False) for i in range(self.real.n_obj))
        self.limits = {"macs": 1.0} if self.real.n_ieq_constr else {}  # 1 and the violation
        last = np.array([len(gene.choices) - 1 for gene in self.space.genes])
        kind = {"n_obj": self.real.n_obj, "n_ieq_constr": self.real.n_ieq_constr, "vtype": int}
        super().__init__(n_var=len(last), xl=np.zeros(len(last)), xu=last, **kind)

    def _evaluate(self, x, out, *args, **kwargs):
        found = self.real.evaluate(x[:, self.rows] / (_STEPS - 1), return_as_dictionary=True)
        out["F"] = found["F"]
        if self.real.n_ieq_constr:
            out["G"] = found["G"]

    def outcome(self, architecture):
        """What came of an architecture."""
        found = self.real.evaluate(indices(architecture)[None] / (_STEPS - 1), return_as_dictionary=True)
        values = {f"f{i}": float(value) for i, value in enumerate(found["F"][0])}
        if self.limits:
            values["macs"] = 1.0 + float(found["G"][0, 0])
        return evaluated(architecture, values, limits=self.limits)

    def share(self, values):
        """Hypervolume of points as a share of that of the true front, seen from 1.1 times its worst."""
        front = self.real.pareto_front()
        low, high = front.min(axis=0), front.max(axis=0)
        reference = np.full(self.real.n_obj, 1.1)
        found, best = (hypervolume((points - low) / (high - low), reference=reference) for points in (values, front))
        return found / best


def ours(problem, name, seed):
    searcher = get_searcher(
        name, problem.space, objectives=problem.objectives, seed=seed, limits=problem.limits, population=_POPULATION
    )
    values = []
    for _ in range(_NUM.get(name, 480)):
        (architecture,) = searcher.suggest(1)
        outcome = problem.outcome(architecture)
        searcher.observe([outcome])
        if outcome.status == "done":
            values.append([estimate.value for key, estimate in outcome.objectives.items() if key != "macs"])
    return problem.share(np.array(values))


def pymoos(problem, algorithm, seed):
    """What pymoo's own loop finds with the same variation."""
    space = problem.space
    operators = {"sampling": _Sample(space), "crossover": _Cross(space), "mutation": _Mutate(space)}
    search = SearchProblem(space, problem.objectives, problem.limits, seed, _POPULATION)
    found = []
    minimize(
        problem,
        algorithm(search, **operators),
        ("n_eval", _NUM["nsga2"]),
        seed=seed,
        callback=lambda run: found.append(run.off if run.off is not None else run.pop),
    )
    feasible = [individual.F for generation in found for individual in generation if np.all(individual.G <= 0)]
    return problem.share(np.array(feasible))


def optunas(problem, seed):
    """What Optuna's own loop finds with the same sampler and settings."""
    names = [problem.space.genes[row].name for row in problem.rows]

    def objective(trial):
        x = np.array([trial.suggest_int(name, 0, _STEPS - 1) for name in names])
        return problem.real.evaluate(x[None] / (_STEPS - 1), return_values_of=["F"])[0].tolist()

    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_POPULATION, multivariate=True, constant_liar=True)
    study = optuna.create_study(directions=["minimize"] * problem.real.n_obj, sampler=sampler)
    study.optimize(objective, n_trials=_NUM["motpe"])
    return problem.share(np.array([trial.values for trial in study.trials]))


@pytest.mark.parametrize("name", list(_PROBLEMS))
@pytest.mark.parametrize("algorithm", [nsga2, nsga3])
def test_evolution_finds_to_the_last_bit_what_it_finds_in_pymoo(algorithm, name):
    problem = Gridded(name)
    found = ours(problem, algorithm.__name__, 3)
    assert found == pymoos(problem, algorithm, 3)
    assert found > ours(problem, "random", 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zdt1", "zdt2", "zdt3", "dtlz2"])  # of constraints, Optuna learns in a way of its own
def test_motpe_finds_what_it_finds_in_optuna_within_the_spread_of_seeds(name):
    # Equality tells more where random search falls behind: on dtlz2, neither ours nor Optuna's own is ahead of it yet.
    problem = Gridded(name)
    found = [ours(problem, "motpe", seed) for seed in _SEEDS]
    expected = [optunas(problem, seed) for seed in _SEEDS]
    assert abs(two_sample_t(found, expected)) < 3
    at_random = [ours(problem, "random", seed) for seed in _SEEDS]
    assert name == "dtlz2" or two_sample_t(found, at_random) > 3
