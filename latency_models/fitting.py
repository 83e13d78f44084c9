"""Fits the latency predictor to measurements, and says how wrong it is on networks it has not seen."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from latency_models.kernel_costs import Observations, Sum, fit_costs, observe
from latency_models.kernels import Kernel
from latency_models.measurements import Measurement, MeasurementSet
from latency_models.peak_memory import fit_peak_memory
from latency_models.predictor import HeldOut, Predictor
from latency_models.scores import attainable, conformal_margin, score

_LEAST_NETWORKS = 8
_FOLDS = 8
COVERAGE = 0.9
# Standard deviations of what is measured: a whole run; one kernel, which a profile gives in whole microseconds and
# which differs between networks with what lies in the caches; the sum of all kernels of no class of their own.
_NETWORK_SD = 0.015
_KERNEL_SD, _KERNEL_SD_MS = 0.03, 5e-4
_GROUP_SD, _GROUP_SD_MS = 0.04, 0.02


def fit(measured: MeasurementSet) -> Predictor:
    """Learns a predictor from measured networks and blocks.

    Raises:
      ValueError: Fewer than 8 whole networks.
    """
    networks = [m for m in measured.measurements.values() if m.network.architecture is not None]
    if len(networks) < _LEAST_NETWORKS:
        raise ValueError(f"a predictor needs at least {_LEAST_NETWORKS} networks, got {len(networks)}; measure more")
    ms = np.array([m.timing.ms for m in networks])
    predicted = cross_validate(measured, networks)
    macs = [m.network.macs for m in networks]
    return Predictor(
        costs=fit_costs(observations(measured, measured.measurements.values())),
        log_margin=conformal_margin(predicted, ms, coverage=COVERAGE),
        coverage=attainable(COVERAGE, n=len(networks)),
        held_out=HeldOut(score(predicted, ms), float(ms.min()), float(ms.max()), measured.repeatability),
        memory=fit_peak_memory(networks, coverage=COVERAGE),
        scales=tuple(sorted({m.network.scale.name for m in measured.measurements.values()})),
        macs_range=(min(macs), max(macs)),
        fingerprint=measured.fingerprint,
    )


def observations(measured: MeasurementSet, chosen: Iterable[Measurement]) -> Observations:
    """What the chosen measurements say about kernels: whole runs, and single kernels where there is a profile."""
    sums: list[Sum] = []
    single: dict[Kernel, list[float]] = defaultdict(list)
    for measurement in chosen:
        kernels = measurement.network.kernels
        ms = measurement.timing.ms
        sums.append(Sum(kernels, ms, _NETWORK_SD * ms, is_network=True))
        if labels := measured.labels.get(measurement.network.key):
            singles, groups = labels
            for kernel, kernel_ms in singles:
                single[kernel].append(kernel_ms)
            sums += [Sum(group, total, _GROUP_SD * total + _GROUP_SD_MS, is_network=False) for group, total in groups]
    for kernel, times in single.items():
        ms = float(np.median(times))
        sd = np.hypot(_KERNEL_SD * ms * (1 + len(times) ** -0.5) / 2, _KERNEL_SD_MS)
        sums.append(Sum((kernel,), ms, float(sd), is_network=False))
    return observe(sums)


def cross_validate(measured: MeasurementSet, networks: Sequence[Measurement]) -> Float[np.ndarray, " networks"]:
    """Predictions of each whole network by a fit without it and the rest of its fold; blocks alone are in every fit."""
    folds = _folds(np.array([m.timing.ms for m in networks]))
    blocks = [m for m in measured.measurements.values() if m.network.architecture is None]
    predicted = np.empty(len(networks))
    for fold in range(folds.max() + 1):
        seen = [m for m, number in zip(networks, folds, strict=True) if number != fold]
        costs = fit_costs(observations(measured, [*blocks, *seen]))
        held_out = [m.network.kernels for m, number in zip(networks, folds, strict=True) if number == fold]
        predicted[folds == fold] = costs.networks_ms(held_out)
    return predicted


def _folds(ms: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Numbers of folds, which deal sizes out evenly."""
    folds = np.empty(len(ms), int)
    folds[np.argsort(ms, kind="stable")] = np.arange(len(ms)) % min(_FOLDS, len(ms))
    return folds
