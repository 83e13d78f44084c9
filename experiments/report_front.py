"""The front on the report's page: figure, selection, members, comparison, published designs, sample grids; each as HTML."""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.amounts import amount
from experiments.evaluation import Evaluation
from experiments.front_view import interval, why_empty, why_one
from experiments.report_data import NUM_DRAWS, objective_names
from experiments.report_designs import counted_costs, deployed_at, published_designs
from experiments.report_html import paragraph, section, text
from experiments.run_folder import Run
from objectives import get_objective

# Of all pictures together, before base64 makes them a third longer: the page stays far below 8 MB.
PICTURES_LIMIT = 900_000


def front_sections(run: Run, data: dict[str, Any]) -> Iterable[str]:
    """All that is about single designs, and about which of them to take."""
    pictures = _Pictures()
    winner = None if run.has_outdated_winner else pictures.source(run.path / "samples.png")
    if run.front:
        yield _figure(run, data)
        yield _selection()
        yield _members(run, data)
        yield _comparison()
    else:
        yield section("The front", paragraph(why_empty(run)))
    yield _published(run, data)
    if winner:
        alt = "A grid of images drawn by the winner"
        yield section("What the winner draws", f'<img class="samples" alt="{alt}" src="{winner}">')
    yield _grids(run, data, pictures)


def _figure(run: Run, data: dict[str, Any]) -> str:
    judged = "evaluated" if run.judged.rung is None else f"judged by {run.judged.name}"
    words = (
        f"Every architecture that was {judged}; the line joins the best in the two objectives that you choose. Bars are "
        "intervals: of 95 %, of what a latency predictor tells 90 %. Point at a design for its numbers, click to open it; by "
        "keyboard, arrow keys go from one to the next and Enter opens. Infeasible ones break a limit; their quality was not "
        "measured."
    )
    failed = data["kinds"].count("failed")
    if failed:
        words += f" {failed} failed, with costs at most, and are listed below."
    if data["published"]:
        words += " Published designs stand where both objectives are known of them."
    words += f" {why_one(run)}"
    choices = "".join(
        f'<label>{label} <select id="axis-{axis}">{_options(objective_names(run), data["axes"][axis])}</select></label>'
        for axis, label in (("x", "across"), ("y", "up"))
    )
    figure = (
        '<div id="scatter" class="figure tall" tabindex="0" role="application" aria-label="Designs by two objectives: '
        'arrow keys go from one to the next, Enter opens"></div>'
    )
    return section("The front", paragraph(words), f'<div class="controls">{choices}</div>', figure, name="front")


def _options(names: list[str], chosen: str) -> str:
    return "".join(f"<option{' selected' * (name == chosen)}>{text(name)}</option>" for name in names)


def _selection() -> str:
    words = (
        "Each line is a design. Draw along an axis to keep a part of it, click on the axis to let go; or set the ends below. "
        "The figure above and the members below show what is kept."
    )
    return section(
        "Narrow it down",
        paragraph(words),
        '<div class="controls"><output id="kept" aria-live="polite"></output>'
        '<button type="button" id="reset">Keep all</button></div>',
        '<div class="scroll" id="parallel-scroll"><div id="parallel"><canvas aria-hidden="true"></canvas></div></div>',
        '<div id="filters"></div>',
        '<details id="axes"><summary>Choose axes</summary><div></div></details>',
        name="selection",
    )


def _members(run: Run, data: dict[str, Any]) -> str:
    names = objective_names(run)
    heads = [("compare", ""), ("digest", "sortable"), ("P(front)", "sortable"), *((name, "sortable") for name in names)]
    cells = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" class="sort">{text(name)}</button></th>'
        if kind
        else f'<th scope="col">{text(name)}</th>'
        for name, kind in heads
    )
    rows = "".join(_row(run, *member, names) for member in zip(run.front, data["front"], data["probability"], strict=True))
    words = (
        "Press a heading to sort, a digest to open, and mark two to four to compare. P(front) is how probably a design is on "
        f"the front at all, from {NUM_DRAWS} draws with all intervals independent and normal; errors that designs share, as "
        "those of a latency predictor often are, would leave it more certain."
    )
    parts = (
        f'<div class="scroll members" tabindex="0"><table id="members"><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody>'
        '</table></div><p id="none-kept" hidden>No member of the front is in the selection.</p>'
    )
    return section("Its members", paragraph(words), parts)


def _row(run: Run, evaluation: Evaluation, row: int, probability: float, names: list[str]) -> str:
    is_knee = run.knee is not None and evaluation.digest == run.knee.digest
    badge = ' <span class="badge">knee</span>' if is_knee else ""
    cells = [f'<td data-value="{probability}">{probability:.2f}</td>']
    for name in names:
        estimate = evaluation.objectives.get(name)
        shown = interval(estimate, get_objective(name)) if estimate else "-"
        cells.append(f'<td data-value="{estimate.value if estimate else ""}">{text(shown)}</td>')
    return (
        f'<tr data-row="{row}"><td><input type="checkbox" class="choose" data-row="{row}" '
        f'aria-label="Compare {evaluation.digest}"></td>'
        f'<th scope="row" data-value="{evaluation.digest}">'
        f'<button type="button" class="open" data-row="{row}">{evaluation.digest}</button>{badge}</th>{"".join(cells)}</tr>'
    )


def _comparison() -> str:
    words = "Mark two to four designs in the table above, or in what opens when you click on one."
    return section("Side by side", f'<p id="compare-hint">{text(words)}</p>', '<div id="comparison"></div>', name="compare")


def _published(run: Run, data: dict[str, Any]) -> str:
    designs, scale = published_designs(run), deployed_at(run)
    if not designs or scale is None:
        return ""
    row_of = {design["name"]: row for row, design in data["published"].items()}
    names = list(dict.fromkeys(["macs", "parameters", "peak_activation_bytes", *objective_names(run)]))
    rows = []
    for design in designs:
        counted, known = counted_costs(design.architecture, scale), run.known.get(design.architecture.digest, {})
        cells = [
            amount(counted[name], get_objective(name).unit)
            if name in counted
            else interval(known[name], get_objective(name))
            if name in known
            else "not evaluated"
            for name in names
        ]
        opener = f'<button type="button" class="open" data-row="{row_of[design.name]}">{text(design.title)}</button>'
        cells_html = "".join(f"<td>{text(cell)}</td>" for cell in (*cells, design.source))
        rows.append(f'<tr><th scope="row">{opener}</th>{cells_html}</tr>')
    words = (
        "Designs that others published and that this space can express, counted as the run counts. What needs a device or "
        "weights is known of those only that the run evaluated."
    )
    heads = "".join(f'<th scope="col">{text(name)}</th>' for name in ("design", *names, "source"))
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return section("Published designs", paragraph(words), f'<div class="scroll" tabindex="0">{table}</div>', name="published")


def _grids(run: Run, data: dict[str, Any], pictures: "_Pictures") -> str:
    """The grids that `quality measure` left of members of the front, the newest of each; those that are too many are named."""
    newest: dict[str, Path] = {}
    for path in sorted(run.path.glob("quality/*/*.png"), key=lambda path: path.stat().st_mtime):
        newest[path.stem] = path
    members = sorted(zip(run.front, data["front"], strict=True), key=lambda member: member[1] != data["knee"])
    figures, left_out = [], []
    for member, row in members:
        if (path := newest.get(member.digest)) is None:
            continue
        if source := pictures.source(path):
            figures.append(
                f'<figure><img class="samples" data-row="{row}" alt="Samples of {member.digest}" src="{source}"><figcaption>'
                f'<button type="button" class="open" data-row="{row}">{member.digest}</button></figcaption></figure>'
            )
        else:
            left_out.append(str(path.relative_to(run.path)))
    if not members:
        return ""
    if not figures and not left_out:
        command = f"pocketunet quality measure {data['run']} --ids front"
        return section("Samples", paragraph(f"None of the front's designs are here yet: {command} draws and measures them."))
    words = "What pocketunet quality measure drew with the supernet's weights, the first samples of each."
    rest = paragraph(f"Not in here, to keep this page small: {', '.join(left_out)}.") if left_out else ""
    return section("Samples", paragraph(words), f'<div class="grids">{"".join(figures)}</div>', rest, name="samples")


class _Pictures:
    """Puts pictures into the page as long as there is room for them."""

    def __init__(self) -> None:
        self._left = PICTURES_LIMIT

    def source(self, path: Path) -> str:
        """A data URI; empty where there is no such file, or no room for it."""
        if not path.is_file() or path.stat().st_size > self._left:
            return ""
        self._left -= path.stat().st_size
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
