"""Choosing one design of a run: by name, the knee, the best within bounds, the nearest to a wish; and how sure that is.

Intervals are taken as independent and normal. Quality of two designs is measured with the same noise, so that their difference
is known better than that: where two cannot be told apart here, more samples of both may still do it (`quality measure`).
"""

import dataclasses
import difflib
import math
import re
import shlex
import string
from collections.abc import Sequence

import numpy as np

from experiments.amounts import amount
from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.limit_sentences import SAME, Bound, bound_of
from experiments.run_folder import Run
from experiments.searchers.minimized import minimized_intervals, minimized_values
from objectives import Estimate, Objective, as_minimized, get_objective
from objectives.front import certain_ranks, knee_shares, nearest_to_wish

GRAMMAR = "knee, a digest or its beginning, 'best quality with latency_ms <= 5', or 'nearest latency_ms = 5 and params = 1 M'"
_BEST = re.compile(r"best\s+(?P<name>\w+)(?:\s+with\s+(?P<bounds>.+))?")
_NEAREST = re.compile(r"nearest\s+(?P<wishes>.+)")
_NUM_LISTED = 5
_LEAST_SURE = 0.9  # share of draws with the same knee from which on nothing more is said


@dataclasses.dataclass(frozen=True)
class Choice:
    """A design that was chosen, and what to know of how sure that is, in sentences."""

    evaluation: Evaluation
    notes: tuple[str, ...] = ()


def choose(run: Run, pick: str) -> Choice:
    """The design that a person means.

    Args:
        run: of which run.
        pick: `knee`; a digest or its beginning, of the search or of a rung; `best NAME [with BOUND and ...]`, the best value of
            an objective within bounds; or `nearest NAME = VALUE and ...`, which prefers what is better than the wish. `quality`
            stands for the run's first quality.

    Raises:
        InputError: nothing fits, or more than one digest begins so.
    """
    pick = pick.strip()
    if pick == "knee":
        return _knee(run)
    if found := _BEST.fullmatch(pick):
        return _best(run, found["name"], bounds_of(run, re.split(r"\s+and\s+", found["bounds"]) if found["bounds"] else []))
    if found := _NEAREST.fullmatch(pick):
        return _nearest(run, re.split(r"\s+and\s+", found["wishes"]))
    return Choice(_by_digest(run, pick))


def bounds_of(run: Run, sentences: Sequence[str]) -> tuple[Bound, ...]:
    """Bounds such as `latency_ms <= 5` on what was recorded in a run.

    Raises:
        InputError: a sentence cannot be read, or nobody knows its objective.
    """
    bounds = []
    for sentence in sentences:
        known = re.sub(r"^\s*quality\b", lambda _: objective_named(run, "quality").name, sentence)
        try:
            bounds.append(bound_of(known, scale_name=str(run.settings.get("deploy_scale"))))
        except ValueError as error:
            raise InputError(str(error)) from None
        objective_named(run, bounds[-1].name)
    return tuple(bounds)


def narrowed(run: Run, sentences: Sequence[str]) -> Run:
    """The run with a front of what keeps bounds such as `latency_ms <= 5`.

    Raises:
        InputError: a sentence cannot be read, its objective was not recorded, or nothing keeps it.
    """
    bounds = bounds_of(run, sentences)
    _within(run, [], bounds)
    return dataclasses.replace(run, bounds=bounds)


def objective_named(run: Run, name: str) -> Objective:
    """An objective that evaluations of the run carry; `quality` is the first that is no cost.

    Raises:
        InputError: there is none.
    """
    recorded = list(dict.fromkeys(key for evaluation in run.judged.done for key in evaluation.objectives))
    if name == "quality":
        name = next((objective.name for objective in run.objectives if not objective.is_cost), name)
    name = SAME.get(name, name)
    if name not in recorded:
        raise InputError(f"{name!r} is no objective that {run.path} recorded; recorded are {', '.join(recorded) or 'none'}")
    return get_objective(name)


def told_apart(one: Estimate, other: Estimate) -> bool:
    """Whether the interval of the difference of two independent estimates leaves 0 out."""
    return abs(one.value - other.value) > half_width_of_difference(one, other)


def half_width_of_difference(one: Estimate, other: Estimate) -> float:
    """Half the interval of the difference of two independent estimates; 0 where both are exact."""
    return math.hypot(one.half_width or 0.0, other.half_width or 0.0)


def _by_digest(run: Run, pick: str) -> Evaluation:
    # The last that is known of each: of the highest rung.
    known = {evaluation.digest: evaluation for level in run.levels for evaluation in level.contents.evaluations}
    found = [digest for digest in known if pick and digest.startswith(pick)]
    if len(found) == 1:
        return known[found[0]]
    if found:
        listed = ", ".join(found[:_NUM_LISTED]) + (", ..." if len(found) > _NUM_LISTED else "")
        raise InputError(
            f"{pick}: {len(found)} architectures of {run.path} have a digest that begins so: {listed}; give more of it"
        )
    may_be_one = bool(pick) and set(pick) <= set(string.hexdigits)
    nearest = ", ".join(difflib.get_close_matches(pick, known, n=3, cutoff=0)) if may_be_one else ""
    raise InputError(
        f"{pick}: no architecture of {run.path} has a digest that begins so"
        f"{f'; the nearest are {nearest}' if nearest else ''}; "
        f"give {GRAMMAR}; `pocketunet front {shlex.quote(str(run.path))}` lists digests"
    )


def _knee(run: Run) -> Choice:
    if run.knee is None:
        raise InputError(f"{run.path}: the front is empty, so it has no knee; let the sweep go on")
    candidates = [evaluation for evaluation in run.judged.done if run.is_within(evaluation)]
    low, high = np.stack([minimized_intervals(e, run.objectives) for e in candidates], axis=1)
    may_be = certain_ranks(low, high) == 0  # on the front
    candidates = [evaluation for evaluation, may in zip(candidates, may_be, strict=True) if may]
    values = np.stack([minimized_values(evaluation, run.objectives) for evaluation in candidates])
    found = knee_shares(values, ((high - low) / 2)[may_be])
    shares = dict(zip((evaluation.digest for evaluation in candidates), found.tolist(), strict=True))
    own = shares.pop(run.knee.digest)
    if own >= _LEAST_SURE:
        return Choice(run.knee)
    others = sorted((digest for digest in shares if shares[digest] > 0), key=lambda digest: -shares[digest])
    after = "".join(f", {digest} in {100 * shares[digest]:.0f} %" for digest in others[:2])
    return Choice(run.knee, (f"within the intervals it is the knee in {100 * own:.0f} % of draws{after}",))


def _best(run: Run, name: str, bounds: Sequence[Bound]) -> Choice:
    objective = objective_named(run, name)
    found = _within(run, [objective.name], bounds)
    sign = 1 if objective.direction == "minimize" else -1
    best = min(found, key=lambda evaluation: (sign * evaluation.objectives[objective.name].value, evaluation.index))
    alike = [
        e for e in found if not told_apart(e.objectives[objective.name], best.objectives[objective.name]) and e is not best
    ]
    notes = [*_reaching_beyond(best, bounds)]
    if alike:
        notes.append(f"{_counted(len(alike))} cannot be told from it in {objective.name}{_cheapest(run, best, alike)}")
    return Choice(best, tuple(notes))


def _nearest(run: Run, sentences: Sequence[str]) -> Choice:
    for sentence in sentences:
        if not re.search(r"(?<![<>=!])=(?!=)", sentence):
            raise InputError(f"{sentence!r} is no wish; write such as 'latency_ms = 5'")
    wishes = bounds_of(run, [sentence.replace("=", "<=", 1) for sentence in sentences])
    names, known = [wish.name for wish in wishes], [get_objective(wish.name) for wish in wishes]
    found = _within(run, names, ())
    values = np.stack([minimized_values(evaluation, known) for evaluation in found])
    wished = as_minimized(known, np.array([wish.value for wish in wishes]))
    nearest = found[nearest_to_wish(values, wish=wished)]
    pairs = [(o, nearest.objectives[o.name].value, wish.value) for o, wish in zip(known, wishes, strict=True)]
    told = ", ".join(f"{o.name} {amount(value, o.unit)} for {amount(wish, o.unit)}" for o, value, wish in pairs)
    return Choice(nearest, (f"it has {told}",))


def _within(run: Run, names: Sequence[str], bounds: Sequence[Bound]) -> list[Evaluation]:
    """The designs that carry the objectives and keep the bounds."""
    names = [*names, *(bound.name for bound in bounds)]
    found = [e for e in run.judged.done if all(name in e.objectives for name in names)]
    for bound in bounds:
        kept = [e for e in found if bound.is_kept(e.objectives[bound.name].value)]
        if not kept and found:
            end = min if bound.relation == "<=" else max
            nearest = end(found, key=lambda evaluation: evaluation.objectives[bound.name].value)
            unit = get_objective(bound.name).unit
            raise InputError(
                f"no design of {run.path} has {bound.name} {bound.relation} {amount(bound.value, unit)}"
                f"{' and keeps the bounds before' if bound is not bounds[0] else ''}; nearest is {nearest.digest} with "
                f"{amount(nearest.objectives[bound.name].value, unit)}"
            )
        found = kept
    if not found:
        raise InputError(f"no design of {run.path} carries {' and '.join(dict.fromkeys(names))}")
    return found


def _reaching_beyond(evaluation: Evaluation, bounds: Sequence[Bound]) -> list[str]:
    notes = []
    for bound in bounds:
        estimate = evaluation.objectives[bound.name]
        end = estimate.high if bound.relation == "<=" else estimate.low
        if end is not None and not bound.is_kept(end):
            notes.append(
                f"the interval of its {bound.name} reaches {amount(end, get_objective(bound.name).unit)}, beyond the bound"
            )
    return notes


def _cheapest(run: Run, best: Evaluation, alike: Sequence[Evaluation]) -> str:
    """The one of the alike that costs least; empty where none costs less than the best, or no cost is known."""
    costs = [o.name for o in run.objectives if o.is_cost] + [name for name in best.objectives if get_objective(name).is_cost]
    name = "latency_ms" if "latency_ms" in costs else next(iter(costs), "")
    comparable = [evaluation for evaluation in alike if name in evaluation.objectives]
    if not comparable or name not in best.objectives:
        return ""
    least, unit = min(comparable, key=lambda evaluation: evaluation.objectives[name].value), get_objective(name).unit
    value, own = least.objectives[name].value, best.objectives[name].value
    if value >= own:
        return f"; none has less {name}"
    return f"; {least.digest} has least {name}, {amount(value, unit)} for {amount(own, unit)}"


def _counted(number: int) -> str:
    return "one other design" if number == 1 else f"{number} other designs"
