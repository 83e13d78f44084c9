"""What the report's page draws, as plain data in columns: one entry a row, a row for each design that is known of.

Rows are what was judged, then what broke a limit, then what failed, then published designs that were not evaluated. Strings
are as the files have them: the page shows them as text.
"""

import html
import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.evaluation import Evaluation
from experiments.json_files import is_number, read_json
from experiments.report_designs import (
    costs_unjudged,
    counted_costs,
    deployed_at,
    gene_columns,
    published_designs,
    stage_columns,
)
from experiments.report_trust import failures
from experiments.run_folder import Run
from experiments.searchers.minimized import minimized_values
from objectives import Estimate, Objective, as_minimized, get_objective
from objectives.front import front_probability, non_dominated
from search_space import Architecture, Scale

# A curve with more points than a screen has columns is thinned.
_MAX_CURVE_POINTS = 600
# Probabilities are then off by at most 5 %, with a confidence of 95 %.
NUM_DRAWS = 400
_DIGITS = 6


def report_data(run: Run) -> dict[str, Any]:
    """Everything that the page draws."""
    priced, failed = [*run.judged.done, *run.with_status("infeasible")], failures(run)
    evaluations = [*priced, *failed]
    row_of = {evaluation.digest: row for row, evaluation in reversed([*enumerate(evaluations)])}
    designs, scale = published_designs(run), deployed_at(run)
    others = [design for design in designs if design.architecture.digest not in row_of]
    row_of |= {design.architecture.digest: len(evaluations) + i for i, design in enumerate(others)}
    rows = {design.name: row_of[design.architecture.digest] for design in designs}
    architectures = [e.architecture for e in evaluations] + [design.architecture for design in others]
    estimates: list[Mapping[str, Estimate]] = [e.objectives for e in priced]
    estimates += costs_unjudged([e.architecture for e in failed], run, scale) if scale and failed else [{} for _ in failed]
    estimates += [_estimates(x.architecture, run, scale) for x in others if scale]
    front = [row_of[member.digest] for member in run.front]
    return {
        "run": shlex.quote(str(run.path)),
        "fingerprint": run.judged.done[0].fingerprint if run.judged.done else None,
        "digests": [architecture.digest for architecture in architectures],
        "kinds": [e.status for e in evaluations] + ["published"] * len(others),
        "reasons": {row: e.reason for row, e in enumerate(evaluations) if e.reason},
        "objectives": [_column(name, [known.get(name) for known in estimates]) for name in objective_names(run)],
        "genes": gene_columns(architectures),
        "scale": {"resolution": scale.resolution, "base_width": scale.base_width} if scale else None,
        "stages": stage_columns(architectures, scale) if scale else None,
        "published": {
            rows[x.name]: {
                "name": x.name,
                "title": x.title,
                "source": x.source,
                "is_judged": x.architecture.digest in run.known,
            }
            for x in designs
        },
        "front": front,
        "knee": row_of[run.knee.digest] if run.knee else None,
        "probability": member_probabilities(run),
        "fronts": _fronts(run),
        "axes": objective_pairs([get_objective(name) for name in objective_names(run)])[0],
        "hypervolume": run.summary["hypervolume"],
        "supernet": training_curve(read_json(run.path / "supernet" / "history.json")),
    }


def _estimates(architecture: Architecture, run: Run, scale: Scale) -> dict[str, Estimate]:
    """What can be counted of a published design, and what was found of it on a level that is not the front's."""
    counted = {name: Estimate.exact(value) for name, value in counted_costs(architecture, scale).items()}
    return {**counted, **run.known.get(architecture.digest, {})}


def objective_names(run: Run) -> list[str]:
    """The sweep's objectives first, then whatever else was recorded with every evaluation that is done."""
    names = [objective.name for objective in run.objectives]
    recorded = [set(evaluation.objectives) for evaluation in run.judged.done]
    others = set.intersection(*recorded) - set(names) if recorded else set()
    return names + sorted(others)


def objective_pairs(objectives: Sequence[Objective]) -> list[dict[str, str]]:
    """The pairs that are worth a scatter: each quality over each cost, latency first; all pairs where one kind lacks.

    A single objective is drawn over itself.

    >>> objective_pairs([get_objective("macs"), get_objective("denoising_loss"), get_objective("latency_ms")])[0]
    {'x': 'latency_ms', 'y': 'denoising_loss'}
    """
    costs = sorted((o.name for o in objectives if o.is_cost), key=lambda name: name != "latency_ms")
    qualities = [o.name for o in objectives if not o.is_cost]
    if costs and qualities:
        return [{"x": cost, "y": quality} for quality in qualities for cost in costs]
    pairs = itertools.combinations(objectives, 2) if len(objectives) > 1 else zip(objectives, objectives, strict=True)
    return [{"x": x.name, "y": y.name} for x, y in pairs]


def member_probabilities(run: Run) -> list[float]:
    """How probably each member of the front is on it, in the front's order; see `objectives.front.front_probability`."""
    done = run.judged.done
    if not done:
        return []
    values = np.stack([minimized_values(evaluation, run.objectives) for evaluation in done])
    found = front_probability(values, _half_widths(done, run.objectives), num_samples=NUM_DRAWS)
    by_digest = dict(zip((evaluation.digest for evaluation in done), found.round(3).tolist(), strict=True))
    return [by_digest[member.digest] for member in run.front]


def training_curve(history: Any) -> dict[str, Any] | None:
    """Columns of numbers over steps, from a list of records; None where there is nothing to draw."""
    found = history if isinstance(history, list) else []
    records = [record for record in found if isinstance(record, Mapping) and is_number(record.get("step"))]
    if not records:
        return None
    thinned = records[:: math.ceil(len(records) / _MAX_CURVE_POINTS)]
    series = [key for key in records[0] if key != "step" and all(is_number(r.get(key)) for r in thinned)]
    # Plotly reads a little HTML in the names of its traces.
    columns = {html.escape(str(key)): [record[key] for record in thinned] for key in series}
    return {"step": [record["step"] for record in thinned], "series": columns} if columns else None


def _fronts(run: Run) -> list[dict[str, Any]]:
    """The front of any two objectives: names, rows of the members, and how probably each of them is one."""
    done, objectives = run.judged.done, [get_objective(name) for name in objective_names(run)]
    found = []
    for pair in itertools.combinations(objectives, 2) if done else ():
        values = as_minimized(pair, np.array([[e.objectives[o.name].value for o in pair] for e in done]))
        rows = np.flatnonzero(non_dominated(values)).tolist()
        probability = front_probability(values, _half_widths(done, pair), num_samples=NUM_DRAWS)
        found.append({"of": [o.name for o in pair], "rows": rows, "probability": probability[rows].round(3).tolist()})
    return found


def _half_widths(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> np.ndarray:
    """As [evaluations, objectives]; 0 where no interval is known."""
    return np.array([[e.objectives[o.name].half_width or 0.0 for o in objectives] for e in evaluations])


def _column(name: str, estimates: Sequence[Estimate | None]) -> dict[str, Any]:
    """An objective with its value in every row; the ends of intervals, where any has a length; n, where it is one number."""
    objective = get_objective(name)
    known = [e if e and e.is_finite else None for e in estimates]
    column: dict[str, Any] = {"name": name, "unit": objective.unit, "direction": objective.direction}
    column["values"] = [None if e is None else _short(e.value) for e in known]
    if any(e is not None and e.half_width for e in known):
        column["low"] = [None if e is None or e.low is None else _short(e.low) for e in known]
        column["high"] = [None if e is None or e.high is None else _short(e.high) for e in known]
    numbers = {e.n for e in known if e is not None and e.half_width}
    column["n"] = numbers.pop() if len(numbers) == 1 else None
    return column


def _short(value: float) -> float:
    """As many digits as anything shows: a page of thousands of designs stays small."""
    rounded = float(f"{value:.{_DIGITS}g}")
    return int(rounded) if rounded.is_integer() else rounded
