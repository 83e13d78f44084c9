"""What the report says, as plain data: points, curves, notes; `report_page/page.js` draws it."""

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.evaluation import Evaluation
from experiments.front_view import interval
from experiments.run_folder import Run, read_json
from experiments.rungs import saved_share
from experiments.trust_record import read_trust, trust_summary, trust_warnings
from objectives import Objective, get_objective
from search_space import get_space, picture

# A curve with more points than a screen has columns is thinned.
_MAX_CURVE_POINTS = 600


def report_data(run: Run) -> dict[str, Any]:
    """Everything that the page's figures draw; strings that may hold anything are escaped for HTML."""
    return {
        "objectives": [_objective(name) for name in objective_names(run)],
        "pairs": objective_pairs([get_objective(name) for name in objective_names(run)]),
        "points": [_point(run, e) for e in (*run.judged.done, *run.with_status("infeasible"))],
        "hypervolume": run.summary["hypervolume"],
        "supernet": training_curve(read_json(run.path / "supernet" / "history.json")),
    }


def objective_names(run: Run) -> list[str]:
    """The sweep's objectives first, then whatever else was recorded with every evaluation that is done."""
    names = [objective.name for objective in run.objectives]
    recorded = [set(evaluation.objectives) for evaluation in run.judged.done]
    others = set.intersection(*recorded) - set(names) if recorded else set()
    return names + sorted(others)


def objective_pairs(objectives: Sequence[Objective]) -> list[dict[str, str]]:
    """The pairs that are worth a scatter: each quality over each cost, latency first; all pairs where one kind lacks.

    >>> objective_pairs([get_objective("macs"), get_objective("denoising_loss"), get_objective("latency_ms")])[0]
    {'x': 'latency_ms', 'y': 'denoising_loss'}
    """
    costs = sorted((o.name for o in objectives if o.is_cost), key=lambda name: name != "latency_ms")
    qualities = [o.name for o in objectives if not o.is_cost]
    if costs and qualities:
        return [{"x": cost, "y": quality} for quality in qualities for cost in costs]
    return [{"x": x.name, "y": y.name} for x, y in itertools.combinations(objectives, 2)]


def training_curve(history: Any) -> dict[str, Any] | None:
    """Columns of numbers over steps, from a list of records or from columns; None where there is nothing to draw."""
    records = history
    if isinstance(history, Mapping):
        columns = {key: column for key, column in history.items() if isinstance(column, list)}
        records = [dict(zip(columns, row, strict=False)) for row in zip(*columns.values(), strict=False)]
    if not isinstance(records, list) or not records or not all(isinstance(record, Mapping) for record in records):
        return None
    step = next((key for key in ("step", "steps") if key in records[0]), None)
    if step is None:
        return None
    thinned = records[:: math.ceil(len(records) / _MAX_CURVE_POINTS)]
    series = [key for key in records[0] if key != step and all(_is_number(r.get(key)) for r in thinned)]
    columns = {html.escape(str(key)): [record[key] for record in thinned] for key in series}
    return {"step": [record[step] for record in thinned], "series": columns} if columns else None


def trust_notes(run: Run) -> list[tuple[str, str]]:
    """What a reader should weigh before trusting the front: pairs of a level (note, warning) and a sentence."""
    done, failed = run.with_status("done"), failures(run)
    notes = [_evaluations_note(run, len(done)), *_rungs_note(run)]
    notes += [
        ("note", f"{o.name} is a stand-in, judged at the proxy scale with shared weights. {o.description}")
        for o in run.objectives
        if not o.is_cost
    ]
    scales = [str(run.settings.get(key, f"the {key.split('_')[0]} scale")) for key in ("proxy_scale", "deploy_scale")]
    if any(not o.is_cost for o in run.objectives) and any(o.is_cost for o in run.objectives):
        notes.append(
            (
                "note",
                f"Quality is ranked at {scales[0]}, cost counted at {scales[1]}: that ranks carry over is an assumption.",
            )
        )
    notes += _ranking_notes(run)
    if any("latency_ms" in evaluation.objectives for evaluation in done):
        notes.append(_latency_note(run))
    if overlaps := _overlapping_neighbours(run):
        notes.append(("warning", f"{overlaps}; their order may be chance."))
    if failed:
        share = 100 * len(failed) / max(len(failed) + len(done), 1)
        level = "warning" if share > 5 else "note"
        notes.append((level, f"{len(failed)} evaluations failed ({share:.1f} %). The first: {failed[0].reason}"))
    if run.ledger.torn:
        notes.append(("note", "The ledger's last line is torn, as a kill leaves it; the same sweep goes on from there."))
    return notes


def _evaluations_note(run: Run, num_done: int) -> tuple[str, str]:
    size = space_size(run)
    of = f" of {size:.2g} architectures" if size else ""
    level = "warning" if num_done < 50 else "note"
    return level, f"{num_done} evaluations{of}: the true front may lie beyond this one."


def _ranking_notes(run: Run) -> list[tuple[str, str]]:
    if all(objective.is_cost for objective in run.objectives):
        return []
    if (record := read_trust(run)) is None:
        return [("note", f"Nobody has looked how well the search ranks; this does: pocketunet quality trust {run.path}")]
    return [("note", trust_summary(record)), *(("warning", f"{text[0].upper()}{text[1:]}.") for text in trust_warnings(record))]


def failures(run: Run) -> list[Evaluation]:
    """What failed, in the search and on its rungs."""
    return [e for level in run.levels for e in level.contents.evaluations if e.status == "failed"]


def _rungs_note(run: Run) -> list[tuple[str, str]]:
    if len(run.levels) == 1:
        return []
    steps = [f"{len(level.done)} of them by {level.name}" for level in run.levels[1:]]
    text = f"{len(run.levels[0].done)} were judged by {run.levels[0].name}, {', '.join(steps)}. "
    left = sum(len(level.left) for level in run.levels)
    text += f"{left} that were promoted are still to be judged. " if left else ""
    text += f"The front is that of {run.judged.name}"
    text += ": what was not promoted cannot be on it." if run.judged.rung else "."
    if (saved := saved_share(run.levels)) is not None:
        text += f" That took {100 * (1 - saved):.0f} % of the time that judging all in the last way would take."
    return [("note", text)]


def space_size(run: Run) -> int | None:
    """The number of architectures of the run's space; None where this version does not know the space."""
    try:
        return get_space(str(run.ledger.header.get("space"))).size
    except ValueError:
        return None


def held_out_error(run: Run) -> dict[str, Any] | None:
    """The latency predictor's error on networks that it has not seen, as `latency/predictor.json` states it."""
    held_out = _predictor_record(run).get("held_out")
    held_out = held_out.get("score") if isinstance(held_out, Mapping) else None
    keys = ("mape", "within_10", "spearman", "n")
    complete = isinstance(held_out, Mapping) and all(_is_number(held_out.get(key)) for key in keys)
    return dict(held_out) if complete and isinstance(held_out, Mapping) else None


def _predictor_record(run: Run) -> Mapping[str, Any]:
    record = read_json(run.path / "latency" / "predictor.json")
    return record if isinstance(record, Mapping) else {}


def _anchored(run: Run) -> str:
    """The device of a predictor that published figures anchor, in brackets; empty where it was measured."""
    record = _predictor_record(run)
    fingerprint = record.get("fingerprint") if "execution" in record else None
    return f" for {fingerprint.get('device')}" if isinstance(fingerprint, Mapping) else ""


def _latency_note(run: Run) -> tuple[str, str]:
    error = held_out_error(run)
    if error is None:
        return (
            "warning",
            "Latency comes without a held-out error: measure the architecture that you pick on its device.",
        )
    anchored = _anchored(run)
    text = (
        f"Latency is predicted{anchored}. On {error['n']} {'published figures' if anchored else 'networks'} that it had not "
        f"seen, the predictor is off by "
        f"{100 * error['mape']:.1f} % on average, {100 * error['within_10']:.0f} % are within 10 %, and the rank "
        f"correlation is {error['spearman']:.3f}. The hand-off measures the pick."
    )
    return ("warning" if error["mape"] > 0.1 else "note"), text


def _overlapping_neighbours(run: Run) -> str:
    """Which share of neighbours on the front have overlapping intervals of a quality; empty where none do."""
    for objective in run.objectives:
        ends = [e.objectives[objective.name] for e in run.front]
        spans = [(e.low, e.high) for e in ends if e.low is not None and e.high is not None and e.low < e.high]
        if objective.is_cost or len(spans) < 2:
            continue
        pairs = list(itertools.pairwise(spans))
        count = sum(a[0] <= b[1] and b[0] <= a[1] for a, b in pairs)
        if count:
            return f"{count} of {len(pairs)} neighbours on the front have overlapping intervals of {objective.name}"
    return ""


def _objective(name: str) -> dict[str, str]:
    objective = get_objective(name)
    return {"name": name, "unit": objective.unit, "direction": objective.direction}


def _point(run: Run, evaluation: Evaluation) -> dict[str, Any]:
    kind = evaluation.status if evaluation.status != "done" else "dominated"
    if any(evaluation.digest == member.digest for member in run.front):
        kind = "knee" if run.knee and evaluation.digest == run.knee.digest else "front"
    values = {name: [e.value, e.low, e.high] for name, e in evaluation.objectives.items() if e.is_finite}
    return {"kind": kind, "digest": evaluation.digest, "values": values, "hover": _hover(evaluation)}


def _hover(evaluation: Evaluation) -> str:
    known = [(name, get_objective(name)) for name in evaluation.objectives]
    lines = [f"{name} {interval(evaluation.objectives[name], objective)}" for name, objective in known]
    if evaluation.reason:
        lines.append(evaluation.reason)
    drawn = html.escape(picture(evaluation.architecture)).replace(" ", "&nbsp;").replace("\n", "<br>")
    return "<br>".join([f"<b>{evaluation.digest}</b>", *map(html.escape, lines), "", drawn])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
