"""The report of a run: one HTML file, no server, no network; it says what was found and how far to trust it."""

import base64
import html
import importlib.resources
import json
import shlex
from collections.abc import Iterable
from pathlib import Path

from experiments.amounts import amount
from experiments.evaluation import Evaluation
from experiments.front_view import interval, why_empty
from experiments.progress import duration
from experiments.report_data import failures, objective_names, report_data, space_size, trust_notes
from experiments.run_folder import Run, read_run
from experiments.whole_files import write_whole
from objectives import get_objective
from search_space import get_scale, picture, scale_names

_PICTURE_SIZE_LIMIT = 20 * 2**20
_MAX_FAILURES_SHOWN = 50


def write_report(run_dir: str | Path) -> Path:
    """Writes `report.html` into a run folder, finished or not, and returns its path.

    Raises:
        NotADirectoryError: there is no such folder.
        FileNotFoundError: the folder holds no ledger.
        InputError: a file in it is damaged.
    """
    run = read_run(run_dir)
    text = render(run)
    path = run.path / "report.html"
    write_whole(path, text)
    return path


def render(run: Run) -> str:
    """The page as text."""
    from plotly.offline import get_plotlyjs

    data = report_data(run)
    sections = [_header(run), _tiles(run), _trust(run), *_front_sections(run), _progress_section(run)]
    sections += [_supernet_section() if data["supernet"] else "", _samples(run), _failures(run)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        # Nothing is fetched, whatever a file in the run folder may have slipped in.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data: blob:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{_text(_title(run))} - PocketUNet</title><style>{_page_file('style.css')}</style></head><body><main>"
        f"{''.join(sections)}"
        "<footer>Written by PocketUNet from the ledger of the run.</footer></main>"
        f'<script type="application/json" id="data">{_inside_script(json.dumps(data, allow_nan=False))}</script>'
        f"<script>{get_plotlyjs()}</script><script>{_page_file('page.js')}</script></body></html>\n"
    )


def _header(run: Run) -> str:
    facts = [f"space {run.ledger.header.get('space', 'unknown')}"]
    if size := space_size(run):
        facts.append(f"{size:.2g} architectures")
    settings = run.settings
    facts += [
        f"{label} {settings[key]}"
        for key, label in (("deploy_scale", "deploy scale"), ("proxy_scale", "proxy scale"))
        if key in settings
    ]
    device = settings.get("latency", {}).get("device") if isinstance(settings.get("latency"), dict) else None
    facts += [f"device {device}"] * bool(device)
    facts.append(f"searcher {run.ledger.header.get('searcher', 'unknown')}")
    limits = run.ledger.header.get("limits") or {}
    facts += [f"{name} at most {amount(bound, get_objective(name).unit)}" for name, bound in limits.items()]
    items = "".join(f"<li>{_text(fact)}</li>" for fact in facts)
    return (
        f'<header><p class="eyebrow">Pareto front</p><h1>{_text(_title(run))}</h1>'
        f'<p class="goal">{_text(_goal(run))}</p><ul class="facts">{items}</ul></header>'
    )


def _goal(run: Run) -> str:
    """What was searched for, as in: minimize denoising_loss and latency_ms."""
    wanted: dict[str, list[str]] = {}
    for objective in run.objectives:
        wanted.setdefault(objective.direction, []).append(objective.name)
    return ", ".join(f"{direction} {' and '.join(names)}" for direction, names in wanted.items())


def _tiles(run: Run) -> str:
    seconds = sum(level.contents.seconds for level in run.levels)
    tiles = [(str(len(run.with_status(s))), s) for s in ("done", "infeasible", "failed")]
    tiles.append((str(len(run.front)), "on the front"))
    if run.knee:
        tiles += [(amount(run.knee.objectives[o.name].value, o.unit), f"{o.name} at the knee") for o in run.objectives]
    tiles.append((duration(seconds), "spent evaluating"))
    cells = "".join(f"<div><dt>{_text(label)}</dt><dd>{_text(value)}</dd></div>" for value, label in tiles)
    return f'<dl class="tiles">{cells}</dl>'


def _trust(run: Run) -> str:
    items = "".join(f'<li class="{level}">{_text(sentence)}</li>' for level, sentence in trust_notes(run))
    return _section("Is this front trustworthy?", f'<ul class="notes">{items}</ul>')


def _front_sections(run: Run) -> Iterable[str]:
    if not run.front:
        yield _section("The front", _paragraph(why_empty(run)))
        return
    judged = "evaluated" if run.judged.rung is None else f"judged by {run.judged.name}"
    text = (
        f"Every architecture that was {judged}. Bars are 95 % intervals; point at one for its digest and its stages. "
        "Infeasible ones break a limit; their quality was not measured."
    )
    yield _section("The front", _paragraph(text), '<div id="scatters" class="figures"></div>')
    yield _section("Its members", _paragraph("Press a heading to sort, a digest to open."), _table(run))


def _table(run: Run) -> str:
    names = ["digest", *objective_names(run)]
    heads = "".join(f'<th scope="col" aria-sort="none"><button type="button">{_text(name)}</button></th>' for name in names)
    rows = "".join(_row(run, evaluation, len(names)) for evaluation in run.front)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>{rows}</table></div>'


def _row(run: Run, evaluation: Evaluation, num_columns: int) -> str:
    is_knee = run.knee is not None and evaluation.digest == run.knee.digest
    badge = ' <span class="badge">knee</span>' if is_knee else ""
    cells = []
    for name in objective_names(run):
        estimate = evaluation.objectives.get(name)
        shown = interval(estimate, get_objective(name)) if estimate else "-"
        cells.append(f'<td data-value="{estimate.value if estimate else ""}">{_text(shown)}</td>')
    return (
        f'<tbody><tr><th scope="row" data-value="{evaluation.digest}">'
        f'<button type="button" class="open" aria-expanded="false">{evaluation.digest}</button>{badge}</th>'
        f"{''.join(cells)}</tr>"
        f'<tr class="details" hidden><td colspan="{num_columns}">{_details(run, evaluation)}</td></tr></tbody>'
    )


def _details(run: Run, evaluation: Evaluation) -> str:
    scale = run.settings.get("deploy_scale")
    drawn = picture(evaluation.architecture, get_scale(scale) if scale in scale_names() else None)
    command = f"pocketunet handoff {shlex.quote(str(run.path))} --pick {evaluation.digest} --out {evaluation.digest}"
    measured = [
        f"{name}: {interval(e, get_objective(name))}"
        + (f", 95 % interval {e.low:.4g} to {e.high:.4g}" if e.half_width else "")
        + (f", n = {e.n}" if e.n else "")
        for name, e in evaluation.objectives.items()
    ]
    lines = "".join(
        f"<li>{_text(line)}</li>" for line in [*measured, f"measured the way of fingerprint {evaluation.fingerprint}"]
    )
    return (
        f'<div class="inside"><pre>{_text(drawn)}</pre><ul>{lines}</ul>'
        f'<p class="command"><code>{_text(command)}</code> <button type="button" class="copy">Copy</button></p></div>'
    )


def _progress_section(run: Run) -> str:
    history = run.summary["hypervolume"]
    if history is None:
        return ""
    reference = ", ".join(f"{name} {amount(value, get_objective(name).unit)}" for name, value in history["reference"].items())
    text = (
        "Hypervolume: the share of the box between the best values and the reference point "
        f"({reference}) that the front dominates. A curve that still climbs wants more evaluations."
    )
    return _section("Progress of the search", _paragraph(text), '<div id="hypervolume" class="figure"></div>')


def _supernet_section() -> str:
    return _section("Training of the shared weights", '<div id="supernet" class="figure"></div>')


def _samples(run: Run) -> str:
    path = run.path / "samples.png"
    if not path.is_file() or path.stat().st_size > _PICTURE_SIZE_LIMIT:
        return ""
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    source = f"data:image/png;base64,{encoded}"
    alt = "A grid of images drawn by the winner"
    return _section("What the winner draws", f'<img class="samples" alt="{alt}" src="{source}">')


def _failures(run: Run) -> str:
    failed = failures(run)
    if not failed:
        return ""
    shown = failed[:_MAX_FAILURES_SHOWN]
    items = "".join(f"<li><code>{e.digest}</code> {_text(e.reason or 'no reason was given')}</li>" for e in shown)
    more = f"And {len(failed) - len(shown)} more in the ledger." if len(failed) > len(shown) else ""
    return _section("Failed evaluations", f"<ul>{items}</ul>", _paragraph(more) if more else "")


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{''.join(parts)}</section>"


def _paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>"


def _title(run: Run) -> str:
    return str(run.settings.get("name") or run.path.resolve().name)


def _text(value: object) -> str:
    return html.escape(str(value))


def _inside_script(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _page_file(name: str) -> str:
    return (importlib.resources.files("experiments") / "report_page" / name).read_text(encoding="utf-8")
