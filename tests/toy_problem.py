"""A search whose answers are arithmetic: what the tests of ledger, searchers, sweep and front share."""

import itertools
import math

import numpy as np

from experiments.evaluation import Evaluation
from objectives import Estimate, get_objective
from search_space import get_space
from search_space.space import LevelChoices, SearchSpace, StageChoices

OBJECTIVES = (get_objective("denoising_loss"), get_objective("macs"))
DIGITS = get_space("digits")


def tiny_space():
    """Every architecture of it can be listed: 2 widths x 2 convolutions down x 2 up = 8."""
    side = StageChoices(num_blocks=(1,), convolution=("separable", "full"))
    return SearchSpace("tiny", (LevelChoices((1, 2), side, side),), StageChoices(num_blocks=(0,)))


def architectures(num, *, seed=0, space=DIGITS):
    rng = np.random.default_rng(seed)
    drawn = (space.sample(rng) for _ in itertools.count())
    return list(itertools.islice({a.digest: a for a in itertools.islice(drawn, 10 * num)}.values(), num))


def point(architecture, space=DIGITS):
    """Two objectives in [0, 1] that pull every gene in opposite directions; the true front is convex."""
    spans = np.array([max(1, len(gene.choices) - 1) for gene in space.genes])
    genes = space.encode(architecture) / spans
    weights = np.random.default_rng(5).random(len(genes))
    weights /= weights.sum()
    return float(((1 - genes) ** 2) @ weights), float(genes @ weights)


def quality(architecture, space=DIGITS):
    return {"denoising_loss": Estimate(point(architecture, space)[0], n=4)}


def costs(architecture, space=DIGITS):
    return {"macs": Estimate.exact(point(architecture, space)[1])}


def evaluation(index, architecture, *, status="done", space=DIGITS, fingerprint="f", reason=None):
    estimates = costs(architecture, space)
    if status == "done":
        estimates |= quality(architecture, space)
    if status == "failed":
        estimates, reason = {}, reason or "ValueError: diverged"
    if status == "infeasible":
        reason = reason or "macs is too large"
    return Evaluation(index, architecture.digest, architecture, status, estimates, fingerprint, reason, math.nan)
