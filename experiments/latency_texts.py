"""What the latency commands print: measurements, a fit, a prediction."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.amounts import amount, text_table
from latency_models.kernels import Kernel
from latency_models.measurements import Measurement, MeasurementSet
from latency_models.network import Network
from latency_models.predictor import Predictor
from latency_models.timing import Clock, Repeatability
from search_space import Architecture, Scale, layer_plan

_CLOCKS: dict[Clock, str] = {
    "thread_cpu": "CPU time of the computing thread",
    "process_cpu": "CPU time of the process",
    "wall": "wall time",
}
_AXES = ("rows", "columns", "depth")
_LISTED = 8  # operations that a backend left out


def measured_text(measured: MeasurementSet) -> str:
    """What a folder of measurements holds, and how well they repeat."""
    networks = list(measured.measurements.values())
    whole = [m for m in networks if m.network.architecture is not None]
    ms = [m.timing.ms for m in networks]
    lines = [
        f"{len(whole)} networks and {len(networks) - len(whole)} blocks on {measured.fingerprint['device']}, "
        f"{min(ms):.3g} to {max(ms):.3g} ms ({_CLOCKS[networks[0].timing.clock]})",
        f"repeatability: {_repeatability(measured.repeatability)}",
    ]
    if control := measured.control:
        slowest = max(control.levels_ms) / control.level_ms - 1
        alone = f", of all but {len(control.without)}" if control.without else ""
        lines.append(
            f"the machine was up to {slowest:.0%} slower at times; taken off by a control, {control.network.key}{alone}"
        )
    if len(networks[0].timings) > 1:
        lines += [f"{_CLOCKS[clock]}: {_ratio(networks, i):.2f} times that" for i, clock in enumerate(_clocks(networks)) if i]
    return "\n".join([*lines, *_pieces(networks)])


def fit_text(predictor: Predictor, measured: MeasurementSet) -> str:
    """A predictor's held-out error, how well its measurements repeat, and where it extrapolates."""
    held_out, score = predictor.held_out, predictor.held_out.score
    low, high = np.expm1(-predictor.log_margin), np.expm1(predictor.log_margin)
    smallest, largest = (amount(macs, "MACs") for macs in predictor.macs_range)
    lines = [
        measured_text(measured),
        f"held out: {score.n} networks of {held_out.smallest_ms:.3g} to {held_out.largest_ms:.3g} ms: mean error "
        f"{score.mape:.1%}, within 5 % {score.within_5:.1%}, within 10 % {score.within_10:.1%}, "
        f"rank correlation {score.spearman:.4f}",
        f"{predictor.coverage:.0%} interval: {low:+.1%} to {high:+.1%}",
    ]
    if memory := predictor.memory:
        lines.append(
            f"peak memory: mean error {memory.mape:.1%}, within 5 % {memory.within_5:.1%} of {memory.n} networks held out"
        )
    lines += [
        f"it extrapolates at scales other than {' and '.join(predictor.scales)}, outside {smallest} to {largest} MACs, and for "
        "kernels unlike these:",
        _ranges_text([m.network for m in measured.measurements.values()]),
    ]
    return "\n".join(lines)


def prediction_json(predictor: Predictor, network: Network, *, name: str) -> dict[str, Any]:
    """A network's predicted latency and memory, and where the time goes.

    Raises:
        ValueError: the predictor was fitted on another scale.
    """
    (ms,), (low,), (high,) = predictor.predict([network])
    explained = predictor.explain(network)
    assert network.architecture is not None
    return {
        "name": name,
        "scale": network.scale.name,
        "device": predictor.fingerprint["device"],
        "latency_ms": float(ms),
        "low_ms": float(low),
        "high_ms": float(high),
        "coverage": predictor.coverage,
        "is_outside": bool(predictor.is_outside([network])[0]),
        "far_ms": explained.far_ms,
        "peak_memory_bytes": _peak_memory_bytes(predictor, network.architecture, network.scale),
        "by_stage_ms": explained.by_stage,
        "by_kernel_ms": explained.by_kind,
        "per_run_ms": explained.per_run_ms,
        "profile": predictor.fingerprint if predictor.is_anchored else None,
    }


def prediction_text(found: Mapping[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"{found['name']} at scale {found['scale']} on {found['device']}: {found['latency_ms']:.4g} ms "
        f"({found['coverage']:.0%} interval {found['low_ms']:.4g} to {found['high_ms']:.4g})"
    ]
    if found["peak_memory_bytes"]:
        counted = ", counted" if found["profile"] else ""
        lines.append(f"peak memory: {amount(found['peak_memory_bytes'], 'bytes')}{counted}")
    if found["is_outside"]:
        share = found["far_ms"] / found["latency_ms"]
        seen = "published" if found["profile"] else "measured"
        lines.append(
            f"outside what was {seen} ({share:.0%} of the time in kernels unlike all {seen} ones): "
            "the interval promises nothing"
        )
    for title, key in (("stage", "by_stage_ms"), ("kernel", "by_kernel_ms")):
        rows = [(title, "ms", "share")]
        rows += [(name, f"{ms:.3f}", f"{ms / found['latency_ms']:.1%}") for name, ms in found[key].items()]
        lines.append(f"\n{text_table(rows)}")
    return "\n".join(lines)


def _peak_memory_bytes(predictor: Predictor, architecture: Architecture, scale: Scale) -> float | None:
    """Predicted where it was measured, counted for a profile."""
    if predictor.execution is not None:
        return float(predictor.execution.peak_bytes(layer_plan(architecture, scale)))
    return predictor.memory and float(predictor.memory.predict([architecture], scale)[0])


def _clocks(networks: Sequence[Measurement]) -> list[Clock]:
    return [timing.clock for timing in networks[0].timings]


def _ratio(networks: Sequence[Measurement], i: int) -> float:
    """Median ratio of a network's i-th timing to its first."""
    return float(np.median([m.timings[i].ms / m.timing.ms for m in networks if len(m.timings) > i]))


def _repeatability(found: Repeatability | None) -> str:
    if found is None:
        return "not known, since only results were recorded"
    return (
        f"the two halves of the rounds differ by {found.median_gap:.1%} (median), "
        f"by at most 5 % for {found.within_5:.1%}, by at most 10 % for {found.within_10:.1%}"
    )


def _pieces(networks: Sequence[Measurement]) -> list[str]:
    """Which networks the runtime's accelerated backend did not take whole, and what it left out of them."""
    split = [m for m in networks if m.loaded.partitions not in (None, 1)]
    if not split:
        return []
    left_out = Counter(what for m in split for what in m.loaded.left_out)
    return [
        f"not in one partition: {', '.join(f'{m.network.key} ({m.loaded.partitions})' for m in split)}",
        *(f"  left to slower kernels in {count} of them: {what}" for what, count in left_out.most_common(_LISTED)),
        *([f"  and {len(left_out) - _LISTED} more"] if len(left_out) > _LISTED else []),
    ]


def _ranges_text(networks: Sequence[Network]) -> str:
    """For each kind of kernel, how many shapes were measured and between which dimensions they lie."""
    by_kind: dict[str, set[Kernel]] = {}
    for network in networks:
        for kernel in network.kernels:
            by_kind.setdefault(kernel.kind, set()).add(kernel)
    rows: list[tuple[str, ...]] = [("kernel", "shapes", *_AXES)]
    for kind, kernels in sorted(by_kind.items()):
        ranges = [_range([getattr(kernel, axis) for kernel in kernels]) for axis in _AXES]
        rows.append((kind, str(len(kernels)), *ranges))
    return text_table(rows)


def _range(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)}" if max(values) else ""
