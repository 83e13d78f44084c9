"""Carries predictors to a device of which only a few networks are measured.

There a kernel's cost is a non-negative mixture, for each kind of kernel, of what it costs on devices that are known well,
corrected for shapes as in a fit of its own (`kernel_costs`).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from latency_models.choice import choose
from latency_models.fitting import COVERAGE, observations
from latency_models.kernel_costs import KernelCosts, fit_costs
from latency_models.measurements import Measurement, MeasurementSet
from latency_models.network import Network
from latency_models.peak_memory import fit_peak_memory
from latency_models.predictor import HeldOut, Predictor
from latency_models.scores import attainable, conformal_margin, score

_LEAST_NETWORKS = 5


def calibrate(sources: Sequence[Predictor], measured: MeasurementSet) -> Predictor:
    """A predictor for the device of a few measurements.

    Its errors and its interval come from leaving out each network in turn, with so few wide and rough.

    Args:
      sources: Predictors of other devices, at least one.
      measured: Networks on the new device.

    Raises:
      ValueError: No sources, one that was not measured, fewer than 5 whole networks, or a scale that no source knows.
    """
    networks = _check(sources, measured)
    costs = [source.costs for source in sources]
    ms = np.array([m.timing.ms for m in networks])
    predicted = _leave_one_out(costs, measured, networks)
    macs = [limit for source in sources for limit in source.macs_range]
    return Predictor(
        costs=fit_costs(observations(measured, measured.measurements.values()), sources=costs),
        log_margin=conformal_margin(predicted, ms, coverage=COVERAGE),
        coverage=attainable(COVERAGE, n=len(networks)),
        held_out=HeldOut(score(predicted, ms), float(ms.min()), float(ms.max()), measured.repeatability),
        scales=tuple(sorted({scale for source in sources for scale in source.scales})),
        macs_range=(min(macs), max(macs)),
        fingerprint=measured.fingerprint,
        memory=fit_peak_memory(networks, coverage=COVERAGE),
    )


def choose_for_calibration(sources: Sequence[Predictor], pool: Sequence[Network], k: int) -> list[Network]:
    """The `k` networks of a pool that will tell most about a new device, given the known ones' costs.

    Raises:
      ValueError: No sources, one that was not measured, or a pool smaller than `k`.
    """
    _check_sources(sources)
    if not _LEAST_NETWORKS <= k <= len(pool):
        raise ValueError(f"k must be from {_LEAST_NETWORKS} to the pool's {len(pool)} networks, got {k}")
    return [pool[i] for i in choose(pool, k, costs=sources[0].costs)]


def _check(sources: Sequence[Predictor], measured: MeasurementSet) -> list[Measurement]:
    _check_sources(sources)
    networks = [m for m in measured.measurements.values() if m.network.architecture is not None]
    if len(networks) < _LEAST_NETWORKS:
        raise ValueError(f"a calibration needs at least {_LEAST_NETWORKS} networks, got {len(networks)}; measure more")
    known = {scale for source in sources for scale in source.scales}
    if unknown := {m.network.scale.name for m in networks} - known:
        raise ValueError(
            f"the predictors know scale {' and '.join(sorted(known))}, the measurements have {' and '.join(sorted(unknown))}; "
            "measure at a known scale"
        )
    return networks


def _check_sources(sources: Sequence[Predictor]) -> None:
    if not sources:
        raise ValueError("a calibration needs a predictor of a known device, got none; fit one first")
    for source in sources:
        if source.is_anchored:
            raise ValueError(
                f"{source.fingerprint['device']}: a calibration needs measured predictors; fit one of a device that is at hand"
            )


def _leave_one_out(
    sources: Sequence[KernelCosts], measured: MeasurementSet, networks: Sequence[Measurement]
) -> Float[np.ndarray, " networks"]:
    """Each network's latency, predicted by a calibration without it."""
    predicted = np.empty(len(networks))
    for i, left_out in enumerate(networks):
        rest = [m for m in measured.measurements.values() if m is not left_out]
        costs = fit_costs(observations(measured, rest), sources=sources)
        predicted[i] = costs.networks_ms([left_out.network.kernels])[0]
    return predicted
