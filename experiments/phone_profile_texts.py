"""What the commands about phone profiles print: a profile beside the figures that anchor it, and its kernel options."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from experiments.amounts import amount, text_table
from latency_models.kernel_options import OPTIONS
from latency_models.network import Network
from latency_models.phone_profiles import anchors, figure_ms, phone_profile
from latency_models.predictor import Predictor
from latency_models.published_networks import is_derivable, is_whole
from latency_models.published_profiles import PublishedLatency, published_figures
from search_space import layer_plan

_ABOUT = ("runtime", "precision", "compute_unit", "options", "options_of_anchors", "interval", "other_runtimes")


def profile_text(predictor: Predictor, phone: str) -> str:
    """What a profile rests on, and what it says of all figures of its phone."""
    about = [f"{key.replace('_', ' ')}: {predictor.fingerprint[key]}" for key in _ABOUT]
    anchoring = anchors(phone)
    figures = dict.fromkeys((*anchoring, *(figure for figure in published_figures(phone) if is_derivable(figure))))
    rows = [("network", "", "image", "batch", "published ms", "profile ms")]
    rows += [_figure_row(predictor, figure, figure in anchoring) for figure in figures]
    low, high = np.expm1(-predictor.log_margin), np.expm1(predictor.log_margin)
    promise = f"{predictor.coverage:.0%} interval: {low:+.0%} to {high:+.0%}"
    return "\n".join([predictor.fingerprint["device"], *about, promise, "", text_table(rows, num_left=2)])


def options_json(phone: str, network: Network, *, name: str) -> dict[str, Any]:
    """A network's predicted latency and counted memory with each kernel option of a phone the other way round, all and none.

    Raises:
        ValueError: no figure anchors the phone.
    """
    published = phone_profile(phone)
    on = published.execution.options if published.execution else frozenset()
    rows = [_options_row("as published", phone, network, on)]
    for option in OPTIONS:
        rows.append(_options_row(f"{'without' if option in on else 'with'} {option}", phone, network, on ^ {option}))
    rows += [_options_row("with all", phone, network, frozenset(OPTIONS)), _options_row("without any", phone, network, ())]
    return {
        "name": name,
        "scale": network.scale.name,
        "device": published.fingerprint["device"],
        "coverage": published.coverage,
        "profile": published.fingerprint,
        "rows": rows,
    }


def options_text(found: Mapping[str, Any]) -> str:
    """The same for people."""
    first = found["rows"][0]
    table = [("kernels", "ms", "interval", "change", "peak memory", "change", "")]
    for row in found["rows"]:
        changes = (row[key] / first[key] - 1 for key in ("latency_ms", "peak_memory_bytes"))
        ms_change, bytes_change = (f"{change:+.1%}" if row is not first else "" for change in changes)
        interval = f"{row['low_ms']:.4g} to {row['high_ms']:.4g}"
        memory, mark = amount(row["peak_memory_bytes"], "bytes"), "outside" if row["is_outside"] else ""
        table.append((row["kernels"], f"{row['latency_ms']:.4g}", interval, ms_change, memory, bytes_change, mark))
    listed = "\n".join(f"{option}: {says}" for option, says in OPTIONS.items())
    return "\n\n".join(
        [
            f"{found['name']} at scale {found['scale']} on {found['device']}",
            text_table(table),
            f"as published: {found['profile']['options_of_anchors']}",
            "Memory is counted: weights, and most activations alive at once; nothing of a runtime's own.",
            listed,
        ]
    )


def _options_row(kernels: str, phone: str, network: Network, options: Collection[str]) -> dict[str, Any]:
    predictor = phone_profile(phone, switch_on=options, switch_off=set(OPTIONS) - set(options))
    assert predictor.execution is not None
    assert network.architecture is not None
    (ms,), (low,), (high,) = predictor.predict([network])
    return {
        "kernels": kernels,
        "options": sorted(options),
        "latency_ms": float(ms),
        "low_ms": float(low),
        "high_ms": float(high),
        "is_outside": bool(predictor.is_outside([network])[0]),
        "peak_memory_bytes": predictor.execution.peak_bytes(layer_plan(network.architecture, network.scale)),
    }


def _figure_row(predictor: Predictor, figure: PublishedLatency, is_anchor: bool) -> tuple[str, ...]:
    bound = "< " * figure.is_upper_bound
    return (
        figure.network, "anchor" if is_anchor else f"no anchor: {_why_not(figure)}", str(figure.resolution),
        str(figure.batch or "?"), f"{bound}{figure.ms:,.1f}", f"{figure_ms(predictor, figure):,.1f}",
    )  # fmt: skip


def _why_not(figure: PublishedLatency) -> str:
    if figure.mark != "verified":
        return figure.mark
    return "where it ran is not stated" if is_whole(figure) else "not a whole UNet"
