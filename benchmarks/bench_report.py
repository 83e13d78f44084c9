"""How large the report of 5,000 designs is, how soon a browser paints it, and how soon its figures stand and follow a filter.

The designs are random ones of `digits` with invented numbers. The browser is a headless Chromium of this machine that opens
the file from disk, anew each time.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright
from record import write_result

from experiments.evaluation import Evaluation
from experiments.ledger_contents import LedgerContents
from experiments.records import Asked
from experiments.report import render
from experiments.run_folder import Run
from experiments.rungs import levels
from objectives import Estimate, get_objective
from search_space import get_scale, get_space
from search_space.counting import count_architectures

_OBJECTIVES = ("denoising_loss", "latency_ms")
# From a filter's change until the frame after the one in which the figures were drawn anew.
_FILTERED = """async () => {
    const [low, high] = extent('latency_ms');
    const begun = performance.now();
    keepBetween('latency_ms', low, low + (high - low) * (0.3 + 0.4 * Math.random()));
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""


def main() -> None:
    """Writes and opens the report, and writes `results/report.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--designs", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = invented_run(Path(folder), options.designs)
        begun = time.perf_counter()
        page = render(run)
        rendered = time.perf_counter() - begun
        path = Path(folder) / "report.html"
        path.write_text(page, encoding="utf-8")
        browser, (paints, drawn, filtered) = opened(path, options.repeats)
    once = {"n": 1, "low": None, "high": None}
    numbers = {
        "page_size": {"value": round(len(page.encode()) / 1e6, 3), "unit": "MB", **once},
        "render": {"value": round(rendered, 2), "unit": "s", **once},
        "first_contentful_paint": quantiles(paints) | {"browser": browser}, "figures_drawn": quantiles(drawn),
        "filter_to_figures": quantiles(filtered),
    }  # fmt: skip
    written = write_result(
        "report",
        shows=f"The report of {options.designs:,} designs: its size, the time to render it once the ledger is read, and in the "
        "browser the first paint, the time until all figures are drawn, and from a filter's change until the figures show it: "
        "medians; low and high are the quantiles between which 95 % of the repeats lie.",
        command=f"python benchmarks/bench_report.py --designs {options.designs}",
        numbers=numbers,
    )
    print(written.read_text())


def invented_run(path: Path, num: int) -> Run:
    """A run of so many architectures, in memory: loss falls with size, latency rises with it, both with noise."""
    rng, space = np.random.default_rng(0), get_space("digits")
    architectures = list({x.digest: x for x in (space.sample(rng) for _ in range(num + num // 100))}.values())[:num]
    counts = count_architectures(architectures, get_scale("digits-deploy"))
    events: list[Asked | Evaluation] = []
    for i, architecture in enumerate(architectures):
        macs = int(counts.macs[i])
        loss, latency = 0.08 + 0.5 / np.log(macs) ** 1.2 * rng.uniform(0.85, 1.15), macs / 6e7 * rng.uniform(0.9, 1.1)
        estimates = {
            "denoising_loss": Estimate(loss, low=loss * 0.985, high=loss * 1.015, n=512),
            "latency_ms": Estimate(latency, low=latency * 0.95, high=latency * 1.05, n=40),
            "macs": Estimate.exact(macs), "parameters": Estimate.exact(int(counts.parameters[i])),
            "peak_activation_bytes": Estimate.exact(int(counts.peak_activation_bytes[i])),
        }  # fmt: skip
        events.append(Asked(i, architecture))
        events.append(Evaluation(i, architecture.digest, architecture, "done", estimates, "f0", seconds=0.5))
    header = {"space": "digits", "fingerprint": "f0", "objectives": list(_OBJECTIVES), "limits": {}, "searcher": "nsga2"}
    ledger = LedgerContents(header, tuple(events), torn=False)
    return Run(path, tuple(levels(ledger, [get_objective(name) for name in _OBJECTIVES])), {"deploy_scale": "digits-deploy"})


def opened(path: Path, repeats: int) -> tuple[str, list[list[float]]]:
    """The browser; milliseconds until the first paint, until figures are drawn, and from a filter to them, of every repeat."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        times = [once_opened(browser, path) for _ in range(repeats + 1)][1:]  # the first one fills the disk cache
        version = browser.version
        browser.close()
    return f"Chromium {version}", [list(column) for column in zip(*times, strict=True)]


def once_opened(browser: Browser, path: Path) -> tuple[float, float, float]:
    """The three times of one opening."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", timeout=120_000)
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    drawn = page.evaluate("performance.getEntriesByName('figures-drawn')[0].startTime")
    filtered = page.evaluate(_FILTERED)
    page.close()
    return paint, drawn, filtered


def quantiles(times: list[float]) -> dict[str, object]:
    """A number of the result file, in milliseconds."""
    low, high = np.quantile(times, (0.025, 0.975))
    value = round(statistics.median(times), 1)
    return {"value": value, "unit": "ms", "n": len(times), "low": round(float(low), 1), "high": round(float(high), 1)}


if __name__ == "__main__":
    main()
