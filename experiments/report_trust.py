"""What a reader should weigh before trusting a front: sentences, and the few numbers that they rest on."""

import itertools
from collections.abc import Mapping
from typing import Any

from experiments.amounts import amount
from experiments.evaluation import Evaluation
from experiments.json_files import is_number
from experiments.run_folder import Run
from experiments.rungs import saved_share
from experiments.trust_record import ranking_notes, read_trust
from objectives import get_objective
from search_space import get_space


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
    notes += ranking_notes(run)
    if any("latency_ms" in evaluation.objectives for evaluation in done):
        notes.append(_latency_note(run))
    if overlaps := _overlapping_neighbours(run):
        notes.append(("warning", f"{overlaps}; their order may be chance."))
    if failed:
        share = 100 * len(failed) / (len(failed) + sum(len(level.done) for level in run.levels))
        level = "warning" if share > 5 else "note"
        notes.append((level, f"{len(failed)} evaluations failed ({share:.1f} %). The first: {failed[0].reason}"))
    if run.ledger.torn:
        notes.append(("note", "The ledger's last line is torn, as a kill leaves it; the same sweep goes on from there."))
    return notes


def trust_measures(run: Run) -> list[tuple[str, str]]:
    """What there is to measure trust by: pairs of a value and what it is of."""
    found = []
    if record := read_trust(run):
        found += [(str(tau), f"Kendall's tau of {name} with the truth") for name in record.own if (tau := record.tau[name])]
    if error := held_out_error(run):
        found.append((f"{100 * error['mape']:.1f} %", f"mean error of predicted latency, {error['n']} held out"))
    asked = [e for e in run.ledger.evaluations if e.status != "failed"]
    if asked and _limits(run):
        share = 1 - len(run.with_status("infeasible")) / len(asked)
        found.append((f"{100 * share:.0f} %", "keep the limits, of those looked at"))
    return found


def limit_lines(run: Run) -> list[str]:
    """For each limit, how many of the architectures that were looked at break it."""
    lines = []
    for name, bound in _limits(run).items():
        known = [e.objectives[name].value for e in run.ledger.evaluations if name in e.objectives]
        broken = sum(value > bound for value in known)
        lines.append(f"{name} at most {amount(bound, get_objective(name).unit)}: {broken} of {len(known)} break it.")
    return lines


def failures(run: Run) -> list[Evaluation]:
    """What failed, in the search and on its rungs."""
    return [e for level in run.levels for e in level.contents.evaluations if e.status == "failed"]


def space_size(run: Run) -> int | None:
    """The number of architectures of the run's space; None where this version does not know the space."""
    try:
        return get_space(str(run.ledger.header.get("space"))).size
    except ValueError:
        return None


def held_out_error(run: Run) -> dict[str, Any] | None:
    """The latency predictor's error on networks that it has not seen, as `latency/predictor.json` states it."""
    held_out = run.predictor_record.get("held_out")
    held_out = held_out.get("score") if isinstance(held_out, Mapping) else None
    keys = ("mape", "within_10", "spearman", "n")
    complete = isinstance(held_out, Mapping) and all(is_number(held_out.get(key)) for key in keys)
    return dict(held_out) if complete and isinstance(held_out, Mapping) else None


def _evaluations_note(run: Run, num_done: int) -> tuple[str, str]:
    size = space_size(run)
    of = f" of {size:.2g} architectures" if size else ""
    level = "warning" if num_done < 50 else "note"
    return level, f"{num_done} evaluations{of}: the true front may lie beyond this one."


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


def _anchored(run: Run) -> str:
    """The device of a predictor that published figures anchor, in brackets; empty where it was measured."""
    record = run.predictor_record
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
        f"correlation is {error['spearman']:.3f}. {_measuring(run)}"
    )
    return ("warning" if error["mape"] > 0.1 else "note"), text


def _measuring(run: Run) -> str:
    latency = run.settings.get("latency")
    is_given = isinstance(latency, Mapping) and latency.get("predictor")
    return "Measure the pick on its device." if is_given else "The hand-off measures the pick."


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


def _limits(run: Run) -> dict[str, float]:
    return run.ledger.header.get("limits") or {}
