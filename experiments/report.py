"""The report of a run: one HTML file, no server, no network; it says what was found and how far to trust it."""

import base64
import gzip
import importlib.resources
import json
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.report_data import report_data
from experiments.report_front import front_sections
from experiments.report_html import text
from experiments.report_provenance import provenance_section
from experiments.report_sections import failures_section, header, progress_section, tiles, title, trust_section
from experiments.run_folder import Run, read_run
from experiments.whole_files import write_whole

# In this order: each uses what those before it define.
_SCRIPTS = (
    "state.js", "format.js", "figures.js", "scatter.js", "parallel.js", "filters.js", "drawing.js", "details.js",
    "compare.js", "table.js", "page.js",
)  # fmt: skip


def write_report(run_dir: str | Path, *, out: Path | None = None) -> Path:
    """Writes the report of a run, finished or not, and returns its path.

    Args:
        run_dir: the folder of the run.
        out: the file; by default `report.html` in the folder.

    Raises:
        NotADirectoryError: there is no such folder.
        FileNotFoundError: the folder holds no ledger.
        InputError: a file in it is damaged, or the folder is not to be written into and no other file is named.
    """
    run = read_run(run_dir)
    page = render(run)
    path = out or run.path / "report.html"
    try:
        write_whole(path, page)
    except PermissionError:
        raise InputError(f"{path}: permission denied; choose another file with --out") from None
    return path


def render(run: Run) -> str:
    """The page as text."""
    from plotly.offline import get_plotlyjs

    data = report_data(run)
    sections = [header(run), tiles(run), trust_section(run), *front_sections(run, data), *progress_section(run, data)]
    sections += [failures_section(run, data), provenance_section(run)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        # Nothing is fetched, whatever a file in the run folder may have slipped in.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data: blob:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{text(title(run))} - PocketUNet</title><style>{_page_file('style.css')}</style></head><body><main>"
        f"{''.join(sections)}"
        "<footer>Written by PocketUNet from the ledger of the run.</footer></main>"
        '<dialog id="details" aria-labelledby="details-title"></dialog><div id="tip" role="status" hidden></div>'
        f'<script type="application/json" id="data">{_inside_script(data)}</script>'
        # No script to the browser until the page is painted: reading it takes longer than all the rest. It is packed.
        f'<script type="text/plain" id="plotly">{_packed(get_plotlyjs())}</script>'
        f'<script>"use strict";\n{"".join(map(_page_file, _SCRIPTS))}</script></body></html>\n'
    )


def _inside_script(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    written = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return written.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _packed(script: str) -> str:
    return base64.b64encode(gzip.compress(script.encode("utf-8"), mtime=0)).decode("ascii")


def _page_file(name: str) -> str:
    return (importlib.resources.files("experiments") / "report_page" / name).read_text(encoding="utf-8")
