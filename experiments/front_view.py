"""The front of a run for a terminal, and as JSON for programs."""

import dataclasses
import shlex
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.amounts import amount, brief
from experiments.choosing import told_apart
from experiments.evaluation import Evaluation
from experiments.limits import violation
from experiments.progress import duration
from experiments.records import evaluation_to_json
from experiments.run_folder import Run
from experiments.rungs import saved_share
from experiments.searchers.minimized import minimized_values
from experiments.trust_record import ranking_notes, read_trust
from objectives import Estimate, Objective, get_objective

_NUM_NEAREST = 5
_DIGEST_WIDTH = 16
_COSTS_SHOWN = ("latency_ms", "parameters", "macs", "peak_activation_bytes")


def front_json(run: Run, *, order: Objective | None = None) -> dict[str, Any]:
    """What `front.json` holds (counts, front, hypervolume), the folder, the knee's digest, bounds and rank correlations."""
    trust = read_trust(run)
    return {
        **run.summary,
        "front": [evaluation_to_json(evaluation) for evaluation in _ordered(run, order or run.objectives[0])],
        "run": str(run.path),
        "knee": run.knee.digest if run.knee else None,
        "where": [dataclasses.asdict(bound) for bound in run.bounds],
        "trust": trust.model_dump(include={"tau", "tau_equal_cost"}) if trust else None,
    }


def print_front(run: Run, *, order: Objective | None = None, console: Console | None = None) -> None:
    """Prints the counts, the front as a table with its knee marked, how far to trust its ranking, and what to do next.

    Args:
        run: whose front.
        order: by which objective, best first; None for the front's own order.
        console: where to; None for the terminal.
    """
    console = console or Console()
    console.print("\n".join([summary(run), *rung_lines(run)]), highlight=False, markup=False, soft_wrap=True)
    if not run.front:
        console.print(why_empty(run), highlight=False, markup=False)
        return
    if reason := why_one(run):
        console.print(reason, highlight=False, markup=False, soft_wrap=True)
    shown = _ordered(run, order)
    alike = _like_a_cheaper_one(run)
    console.print(_table(run, shown, alike))
    assert run.knee is not None
    console.print("* the knee: where giving up a little of one objective stops paying in another", style="dim")
    if alike:
        console.print(
            "~ by the intervals, a cheaper one may be no worse; `quality measure` tells finer",
            style="dim",
        )
    for level, text in ranking_notes(run):
        console.print(text, style="bold" if level == "warning" else "dim", highlight=False, markup=False, soft_wrap=True)
    pick = run.knee.digest if run.bounds else "knee"
    next_step = f"Next: pocketunet handoff {shlex.quote(str(run.path))} --pick {pick} --out {pick}"
    console.print(next_step, highlight=False, markup=False, soft_wrap=True)


def summary(run: Run) -> str:
    """One line: where it is, and how many of which outcome."""
    counts = [f"{len(run.with_status(status))} {status}" for status in ("done", "infeasible", "failed")]
    in_flight = len(run.ledger.in_flight)
    counts += [f"{in_flight} in flight"] * (in_flight > 0)
    taken_over = run.ledger.num_taken_over
    counts += [f"{taken_over} of all from an earlier ledger"] * (taken_over > 0)
    within = " and ".join(f"{b.name} {b.relation} {amount(b.value, get_objective(b.name).unit)}" for b in run.bounds)
    found = f"{run.path}: {', '.join(counts)}; {len(run.front)} on the front{f' of those with {within}' if within else ''}"
    return f"{found}, judged by {run.judged.name}" if run.judged.rung else found


def rung_lines(run: Run) -> list[str]:
    """A line for each rung above the search, and one for the time that they save; none without rungs."""
    lines = []
    for level in run.levels[1:]:
        failed = sum(evaluation.status == "failed" for evaluation in level.contents.evaluations)
        stands = f"{len(level.done)} done, {failed} failed, {len(level.left)} left of {len(level.promoted)} promoted"
        lines.append(f"rung      {level.name}: {stands}")
    if (saved := saved_share(run.levels)) is not None:
        spent = duration(sum(level.contents.seconds for level in run.levels))
        share = f"{max(0.0, 100 * saved):.0f} %"
        lines.append(f"saved     {share} of the time of judging all as the last rung does; all took {spent}")
    return lines


def why_empty(run: Run) -> str:
    """Why there is no front, with the remedy, or with the first failure's reason."""
    if failed := run.with_status("failed"):
        return f"No architecture is done, so there is no front. The first failure: {failed[0].reason}"
    if run.with_status("infeasible"):
        nearest = "".join(f"\n  {evaluation.digest}: {evaluation.reason}" for evaluation in least_violating(run))
        return f"No architecture keeps the limits, so there is no front. Nearest to them:{nearest}"
    return "Nothing is evaluated yet, so there is no front; `pocketunet sweep` goes on."


def why_one(run: Run) -> str:
    """Why the front has one member; empty where it has more, or none."""
    if len(run.front) != 1:
        return ""
    num = sum(run.is_within(evaluation) for evaluation in run.judged.done)
    if num == 1 and run.bounds:
        return f"One of {len(run.judged.done)} designs keeps the bounds, so it is all of the front."
    if num == 1:
        return "One design alone was evaluated, so it is all of the front; let the sweep go on."
    if len(run.objectives) == 1:
        return f"With one objective the front is the best of {num} designs."
    names = " and ".join(objective.name for objective in run.objectives)
    return f"One of {num} designs is the best in {names} alike: they do not pull against each other, or too few were looked at."


def least_violating(run: Run) -> list[Evaluation]:
    """The infeasible evaluations that break the limits least, in all; at most five, the nearest first."""
    limits = run.ledger.header.get("limits") or {}
    return sorted(run.with_status("infeasible"), key=lambda evaluation: violation(evaluation.objectives, limits))[:_NUM_NEAREST]


def shown_objectives(run: Run) -> list[str]:
    """Names of the objectives that a table of the front shows: those of the sweep, then the costs that came along."""
    names = [objective.name for objective in run.objectives]
    return names + [name for name in _COSTS_SHOWN if name not in names and any(name in e.objectives for e in run.front)]


def interval(estimate: Estimate, objective: Objective) -> str:
    """An estimate, with half of its interval's length as a share where it has one.

    >>> interval(Estimate(4.0, low=3.8, high=4.2), get_objective("latency_ms"))
    '4.00 ms ±5%'
    """
    text = amount(estimate.value, objective.unit)
    if estimate.half_width and estimate.value:
        return f"{text} ±{brief(100 * estimate.half_width / abs(estimate.value))}%"
    return text


def _ordered(run: Run, order: Objective | None) -> list[Evaluation]:
    """The front by an objective, best first, those last that do not carry it; or in its own order."""
    if order is None:
        return list(run.front)
    carrying = [evaluation for evaluation in run.front if order.name in evaluation.objectives]
    ordered = sorted(carrying, key=lambda evaluation: minimized_values(evaluation, [order])[0])
    return ordered + [evaluation for evaluation in run.front if order.name not in evaluation.objectives]


def _like_a_cheaper_one(run: Run) -> set[str]:
    """Digests of members that are better than a cheaper one in no quality beyond doubt."""
    costs = [objective for objective in run.objectives if objective.is_cost]
    qualities = [objective for objective in run.objectives if not objective.is_cost]
    if not costs or not qualities:
        return set()
    spent = {e.digest: minimized_values(e, costs) for e in run.front}
    worth = {e.digest: minimized_values(e, qualities) for e in run.front}

    def is_like(one: Evaluation, other: Evaluation) -> bool:
        is_cheaper = np.all(spent[other.digest] <= spent[one.digest]) and np.any(spent[other.digest] < spent[one.digest])
        gains = worth[other.digest] - worth[one.digest]
        told = [told_apart(one.objectives[q.name], other.objectives[q.name]) for q in qualities]
        return bool(is_cheaper) and not any(gain > 0 and apart for gain, apart in zip(gains, told, strict=True))

    return {one.digest for one in run.front if any(is_like(one, other) for other in run.front)}


def _table(run: Run, shown: Sequence[Evaluation], alike: Collection[str]) -> Table:
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("digest", no_wrap=True, min_width=_DIGEST_WIDTH)  # whole on the narrowest terminal: it is copied
    known = [get_objective(name) for name in shown_objectives(run)]
    for objective in known:
        table.add_column(objective.name, justify="right", overflow="fold")
    for evaluation in shown:
        is_knee = evaluation is run.knee
        cells = [_cell(evaluation, objective) for objective in known]
        table.add_row(
            "*" * is_knee + "~" * (evaluation.digest in alike), evaluation.digest, *cells, style="bold" if is_knee else ""
        )
    return table


def _cell(evaluation: Evaluation, objective: Objective) -> str:
    estimate = evaluation.objectives.get(objective.name)
    return interval(estimate, objective) if estimate else "-"
