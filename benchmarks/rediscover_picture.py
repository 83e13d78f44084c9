"""Pictures of `rediscover.py`.

Fronts with the published designs, and how often the fronts have MobileDiffusion's traits; what a short training does to losses.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from rediscover_found import COMPARED, COST, CROSSED, FIRST, QUALITY, WINNER, Found

from experiments.evaluation import Evaluation
from experiments.rediscovery.traits import TRAITS
from objectives.denoising import mean_estimate

COLOURS = {"search": "tab:blue", "snapfusion": "tab:orange"}
TITLES = {"search": "fronts of pocket, a line for each seed", "snapfusion": "fronts of SnapFusion's evolution"}
MARKERS = "*PXDsv^"  # of published designs
BAND_COLOURS = ("tab:blue", "tab:green", "tab:purple", "tab:olive", "tab:orange", "tab:red")
WINNER_COLOURS = {WINNER: "tab:red", FIRST: "tab:orange"}
WIDEST = 1e3  # odds ratio; what reaches beyond ends at the edge


def draw(found: Found, path: Path) -> None:
    """Writes a PNG file, and beside it one with `-trained` after its name."""
    figure = Figure(figsize=(13, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _fronts(found, left)
    _traits(found, right)
    _save(figure, path)
    if found.published[COMPARED[0]].digest in found.trained:
        figure = Figure(figsize=(9, 6), layout="constrained")
        _trained(found, figure.subplots())
        _save(figure, path.with_stem(f"{path.stem}-trained"))


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _fronts(found: Found, axes: Axes) -> None:
    done = [x for run in found.runs["search"] for x in run.with_status("done")]
    axes.scatter(*_values(done), s=2, color="0.8", label="evaluated", rasterized=True)
    for name, runs in found.runs.items():
        for seed, run in enumerate(runs):
            label = TITLES[name] if not seed else None
            axes.step(*_values(run.front), where="post", color=COLOURS[name], linewidth=1, label=label)
    for marker, (name, design) in zip(MARKERS, found.published.items(), strict=True):
        axes.plot(*_values([design]), marker, color="black", markersize=7, label=name)
    if FIRST in found.winners:
        axes.plot(*_values([found.winners[FIRST][1]]), "o", color=WINNER_COLOURS[FIRST], markeredgecolor="black", label=FIRST)
    _along_latency(axes)
    axes.set_ylabel(f"denoising loss at {found.config.proxy_scale}, supernet's weights")
    axes.legend(fontsize=8, ncols=2)


def _along_latency(axes: Axes) -> None:
    axes.set(xscale="log", xlabel="predicted latency at full width, litert-cpu, ms")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.xaxis.set_minor_locator(NullLocator())


def _trained(found: Found, axes: Axes) -> None:
    """The loss of each design as inherited and after training, with the interval of what it has above Stable Diffusion's."""
    teacher = found.trained[found.published[COMPARED[0]].digest]
    for name, design in found.compared_trained.items():
        if design.digest not in found.trained:
            continue
        ms, above = design.objectives[COST.name].value, mean_estimate(found.trained[design.digest] - teacher)
        low, high = (above.value if end is None else end for end in (above.low, above.high))
        before, after = (losses.mean() for losses in (found.losses(design), found.trained[design.digest]))
        colour = WINNER_COLOURS.get(name, "0.3")
        axes.plot([ms, ms], [before, after], ":", color=colour, linewidth=1)
        axes.plot([ms], [before], "o", color=colour, markerfacecolor="white")
        axes.errorbar([ms], [after], yerr=[[above.value - low], [high - above.value]], fmt="o", color=colour)
        label = name.replace(f"with {CROSSED}", "with cross-attention")
        axes.annotate(
            label,
            (ms, before),
            (3, 6),
            textcoords="offset points",
            fontsize=8,
            color=colour,
            rotation=40,
            rotation_mode="anchor",
        )
    _along_latency(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel(f"denoising loss at {found.config.proxy_scale}: hollow as inherited, filled after training")


def _values(designs: Sequence[Evaluation]) -> tuple[np.ndarray, np.ndarray]:
    cost, quality = (np.array([x.objectives[objective.name].value for x in designs]) for objective in (COST, QUALITY))
    return cost, quality


def _traits(found: Found, axes: Axes) -> None:
    for band_number, (band, rows, _) in enumerate(found.enriched):
        for row, x in enumerate(rows):
            low, value, high = (float(np.clip(end, 1 / WIDEST, WIDEST)) for end in (x.low, x.odds_ratio, x.high))
            ends = [[value - low], [high - value]]
            label = f"band of {band.title}, {len(band.distinct)} designs" if not row else None
            place, colour = row + (band_number - 2.5) / 8, BAND_COLOURS[band_number]
            axes.errorbar([value], [place], xerr=ends, fmt="o", ms=4, color=colour, label=label)
    axes.axvline(1, color="0.6", linewidth=1)
    axes.set(xscale="log", xlim=(1 / WIDEST, WIDEST), xlabel="odds in the fronts over odds among random designs")
    axes.set_yticks(range(len(TRAITS)), [trait.name for trait in TRAITS], fontsize=8)
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
