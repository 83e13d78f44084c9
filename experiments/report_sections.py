"""What the report says beside the front: what was searched, counts, trust, progress, failures; each as HTML."""

from collections.abc import Iterable
from typing import Any

from experiments.amounts import amount
from experiments.progress import duration
from experiments.report_html import facts, items, paragraph, section, text
from experiments.report_trust import failures, limit_lines, space_size, trust_measures, trust_notes
from experiments.run_folder import Run
from objectives import get_objective

_MAX_FAILURES_SHOWN = 50


def title(run: Run) -> str:
    """The sweep's name; without one, that of the folder."""
    return str(run.settings.get("name") or run.path.resolve().name)


def header(run: Run) -> str:
    """The title, the goal, and the facts that no front can be read without."""
    told = [f"space {run.ledger.header.get('space', 'unknown')}"]
    if size := space_size(run):
        told.append(f"{size:.2g} architectures")
    settings = run.settings
    told += [
        f"{label} {settings[key]}"
        for key, label in (("deploy_scale", "deploy scale"), ("proxy_scale", "proxy scale"))
        if key in settings
    ]
    if run.latency_device:
        told.append(f"device {run.latency_device}")
    told.append(f"searcher {run.ledger.header.get('searcher', 'unknown')}")
    limits = run.ledger.header.get("limits") or {}
    told += [f"{name} at most {amount(bound, get_objective(name).unit)}" for name, bound in limits.items()]
    return (
        f'<header><p class="eyebrow">Pareto front</p><h1>{text(title(run))}</h1>'
        f'<p class="goal">{text(_goal(run))}</p>{items(told, kind="facts")}</header>'
    )


def tiles(run: Run) -> str:
    """The numbers that a reader looks for first."""
    seconds = sum(level.contents.seconds for level in run.levels)
    shown = [(s, str(len(run.with_status(s)))) for s in ("done", "infeasible")] + [("failed", str(len(failures(run))))]
    shown.append(("on the front", str(len(run.front))))
    if run.knee:
        shown += [(f"{o.name} at the knee", amount(run.knee.objectives[o.name].value, o.unit)) for o in run.objectives]
    return facts([*shown, ("spent evaluating", duration(seconds))], kind="tiles")


def trust_section(run: Run) -> str:
    """Numbers and sentences that say how far to trust the front."""
    notes = "".join(f'<li class="{level}">{text(sentence)}</li>' for level, sentence in trust_notes(run))
    measures = [(name, value) for value, name in trust_measures(run)]
    parts = [facts(measures, kind="tiles measures")] * bool(measures)
    parts += [f'<ul class="notes">{notes}</ul>', items(limit_lines(run), kind="limits")]
    return section("Is this front trustworthy?", *parts)


def progress_section(run: Run, data: dict[str, Any]) -> Iterable[str]:
    """Hypervolume over time, and the training of the shared weights."""
    if history := run.summary["hypervolume"]:
        told = [f"{name} {amount(value, get_objective(name).unit)}" for name, value in history["reference"].items()]
        words = (
            "Hypervolume: the share of the box between the best values and the reference point "
            f"({', '.join(told)}) that the front dominates. A curve that still climbs wants more evaluations."
        )
        yield section("Progress of the search", paragraph(words), '<div id="hypervolume" class="figure"></div>')
    if data["supernet"]:
        yield section("Training of the shared weights", '<div id="supernet" class="figure"></div>')


def failures_section(run: Run, data: dict[str, Any]) -> str:
    """Failed evaluations with their reasons: they have no values, and are on no figure."""
    failed = failures(run)
    if not failed:
        return ""
    rows = [row for row, kind in enumerate(data["kinds"]) if kind == "failed"]
    shown = zip(rows, failed[:_MAX_FAILURES_SHOWN], strict=False)
    listed = "".join(
        f'<li><button type="button" class="open" data-row="{row}">{e.digest}</button> '
        f"{text(e.reason or 'no reason was given')}</li>"
        for row, e in shown
    )
    more = len(failed) - _MAX_FAILURES_SHOWN
    rest = paragraph(f"And {more} more in the ledger.") if more > 0 else ""
    return section("Failed evaluations", f'<ul class="failures">{listed}</ul>', rest, name="failures")


def _goal(run: Run) -> str:
    """What was searched for, as in: minimize denoising_loss and latency_ms."""
    wanted: dict[str, list[str]] = {}
    for objective in run.objectives:
        wanted.setdefault(objective.direction, []).append(objective.name)
    return ", ".join(f"{direction} {' and '.join(names)}" for direction, names in wanted.items())
