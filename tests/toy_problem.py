"""A search whose answers are arithmetic: what the tests of ledger, searchers, sweep and front share."""

import functools
import itertools
import math

import numpy as np

from experiments.evaluation import Evaluation
from experiments.ledger import Ledger
from experiments.searchers import get_searcher
from experiments.sweep import run_search
from objectives import Estimate, get_objective
from search_space import get_space
from search_space.space import LevelChoices, SearchSpace, StageChoices

OBJECTIVES = (get_objective("denoising_loss"), get_objective("macs"))
DIGITS = get_space("digits")


def tiny_space():
    """Every architecture of it can be listed: 2 widths x 2 convolutions down x 2 up = 8."""
    side = StageChoices(num_blocks=(1,), convolution=("separable", "full"))
    return SearchSpace("tiny", (LevelChoices((1, 2), side, side),), StageChoices(num_blocks=(0,)))


def small_space():
    """Twelve genes that matter, 6,912 architectures."""
    side = StageChoices(num_blocks=(1, 2), convolution=("separable", "full"))
    mid = StageChoices(num_blocks=(0, 1), convolution=("separable", "full"))
    return SearchSpace("small", tuple(LevelChoices((1, 2, 3), side, side) for _ in range(2)), mid)


def architectures(num, *, seed=0, space=DIGITS):
    rng = np.random.default_rng(seed)
    drawn = (space.sample(rng) for _ in itertools.count())
    return list(itertools.islice({a.digest: a for a in itertools.islice(drawn, 10 * num)}.values(), num))


def point(architecture, space=DIGITS):
    """Loss and cost in [0, 1]: every gene lowers one and raises the other, each at a rate of its own, as in a knapsack."""
    spans = np.array([max(1, len(gene.choices) - 1) for gene in space.genes])
    genes = space.encode(architecture) / spans
    is_free = np.array([len(gene.choices) > 1 for gene in space.genes])
    gains, prices = np.random.default_rng(5).exponential(size=(2, len(genes))) * is_free
    return float((1 - genes @ gains / gains.sum()) ** 2), float(genes @ prices / prices.sum())


def quality(architecture, space=DIGITS):
    return {"denoising_loss": Estimate(point(architecture, space)[0], n=4)}


def costs(architecture, space=DIGITS):
    return {"macs": Estimate.exact(point(architecture, space)[1])}


def columns(architectures, space=DIGITS):
    """Costs of many, as a search looks them up."""
    return {"macs": np.array([point(architecture, space)[1] for architecture in architectures])}


def swept(path, num, *, name="random", space, evaluator_factory, header, limits=None, cost=None, batch=None, **settings):
    """A sweep of the toy problem into the ledger at this path; of four architectures a generation."""
    limits = limits or {}
    with Ledger.open(path, header=header) as ledger:
        return run_search(
            space=space,
            searcher=get_searcher(name, space, objectives=OBJECTIVES, seed=0, limits=limits, population=4, batch=batch),
            ledger=ledger,
            evaluator_factory=evaluator_factory,
            costs=cost or functools.partial(costs, space=space),
            limits=limits,
            objectives=OBJECTIVES,
            fingerprint="f",
            num_evaluations=num,
            **settings,
        )


def evaluation(index, architecture, *, status="done", space=DIGITS, fingerprint="f", reason=None):
    estimates = costs(architecture, space)
    if status == "done":
        estimates |= quality(architecture, space)
    if status == "failed":
        estimates, reason = {}, reason or "ValueError: diverged"
    if status == "infeasible":
        reason = reason or "macs is too large"
    return Evaluation(index, architecture.digest, architecture, status, estimates, fingerprint, reason, math.nan)
