"""Rungs above the search: quality measured better and dearer, for the best of those that were measured in the way before.

Who is promoted is a function of the ledger alone. Numbers of different rungs are never compared.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from experiments.evaluation import Evaluation
from experiments.ledger_contents import LedgerContents
from experiments.records import Rung
from experiments.searchers.minimized import minimized_intervals, minimized_values
from objectives import Objective, get_objective
from objectives.front import certain_ranks, crowding_distance, non_dominated_ranks

_ROUNDING = 1e-9  # a share of 0.07 of 100 is 7, not 8


@dataclasses.dataclass(frozen=True)
class Level:
    """The search, or a rung above it.

    Attributes:
        rung: what it is; None for the search.
        objectives: what is compared on it.
        promoted: to it, the most promising first; none for the search.
        contents: what was asked for and found on it.
    """

    rung: Rung | None
    objectives: tuple[Objective, ...]
    promoted: tuple[Evaluation, ...]
    contents: LedgerContents

    @cached_property
    def done(self) -> tuple[Evaluation, ...]:
        """What can be compared on it."""
        return tuple(evaluation for evaluation in self.contents.evaluations if evaluation.status == "done")

    @cached_property
    def left(self) -> tuple[Evaluation, ...]:
        """Those of the promoted that have no outcome here yet."""
        ended = {evaluation.digest for evaluation in self.contents.evaluations}
        return tuple(evaluation for evaluation in self.promoted if evaluation.digest not in ended)

    @property
    def is_complete(self) -> bool:
        """Whether it has anything to compare, and nothing is left to measure; a search always may go on."""
        return bool(self.done) and not self.left

    @property
    def name(self) -> str:
        """What is measured on it, such as: frechet_classifier of 256 samples."""
        quality = " and ".join(objective.name for objective in self.objectives if not objective.is_cost)
        return quality if self.rung is None else f"{quality} of {self.rung.num_samples} samples"


def levels(contents: LedgerContents, objectives: Sequence[Objective]) -> list[Level]:
    """The search with its objectives, and every rung that the ledger plans; each promotes from the one before."""
    found = [Level(None, tuple(objectives), (), contents.at(None))]
    for rung in contents.rungs:
        below = found[-1]
        best = promoted(below.done, below.objectives, share=rung.share)
        found.append(Level(rung, tuple(map(get_objective, rung.objectives)), tuple(best), contents.at(rung.fingerprint)))
    return found


def promoted(done: Sequence[Evaluation], objectives: Sequence[Objective], *, share: float) -> list[Evaluation]:
    """The share of the evaluations that is most likely to be on the true front, the most promising first.

    First come those that no other dominates anywhere within the intervals, then those that only they dominate so, and so on;
    among these, the order is by Pareto rank of the values, then by how alone they are on their front, then by index.

    Args:
        done: evaluations that are done, measured in one way.
        objectives: what to compare.
        share: that is promoted, above 0 and at most 1; of any, at least one.
    """
    if not done:
        return []
    done = sorted(done, key=lambda evaluation: evaluation.index)  # ties must not be broken by which came first
    values = np.stack([minimized_values(evaluation, objectives) for evaluation in done])
    low, high = np.stack([minimized_intervals(evaluation, objectives) for evaluation in done], axis=1)
    possible, ranks = certain_ranks(low, high), non_dominated_ranks(values)
    alone = np.zeros(len(done))
    for rank in np.unique(ranks):
        alone[ranks == rank] = crowding_distance(values[ranks == rank])
    order = sorted(range(len(done)), key=lambda row: (possible[row], ranks[row], -alone[row], done[row].index))
    return [done[row] for row in order[: math.ceil(share * len(done) - _ROUNDING)]]


def top(found: Sequence[Level]) -> Level:
    """The highest rung that is complete, as are all below it; the search where none is."""
    best = found[0]
    for level in found[1:]:
        if not level.is_complete:
            break
        best = level
    return best


def rungs_json(found: Sequence[Level]) -> list[dict[str, Any]]:
    """Every level with its counts and its time, for `json.dumps`."""
    return [
        {
            "objectives": [objective.name for objective in level.objectives],
            "fingerprint": level.rung.fingerprint if level.rung else level.contents.header.get("fingerprint"),
            "num_samples": level.rung.num_samples if level.rung else None,
            "num_promoted": len(level.promoted) if level.rung else None,
            "num_done": len(level.done),
            "num_left": len(level.left),
            "seconds": level.contents.seconds,
        }
        for level in found
    ]


def saved_share(found: Sequence[Level]) -> float | None:
    """Of the time that the dearest measurement of all that is done in the search would take, the share that rungs save.

    None where there are no rungs, or one is not complete. Dear measurements are taken at their median.
    """
    if len(found) == 1 or not all(level.is_complete for level in found):
        return None
    num = sum(not found[0].contents.is_taken_over(evaluation) for evaluation in found[0].done)
    all_dear = statistics.median(evaluation.seconds for evaluation in found[-1].done) * num
    return 1 - sum(level.contents.seconds for level in found) / all_dear if all_dear else None
