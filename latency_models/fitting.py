"""Fits the latency predictor to measured networks, and says how wrong it is on networks it has not seen."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from latency_models.features import PRIOR_NS, features
from latency_models.network import Network
from latency_models.predictor import HeldOut, Predictor
from latency_models.regression import choose_strength, fit_costs
from latency_models.timing import Repeatability, Timing, repeatability

_LEAST_NETWORKS = 8
_FOLDS = 8
_COVERAGE = 0.9
_NS_PER_MS = 1e6


def fit(networks: Sequence[Network], timings: Sequence[Timing], *, fingerprint: Mapping[str, str]) -> Predictor:
    """Learns a predictor from measured networks.

    Args:
      networks: What was measured.
      timings: Their latencies, in the same order, all measured on one device.
      fingerprint: Of that device.

    Raises:
      ValueError: Fewer than 8 networks, unequal numbers of plans and timings, or clocks or statistics that differ.
    """
    _check(networks, timings)
    x, ms = features(networks), np.array([timing.ms for timing in timings])
    held_out = _cross_validate(x, ms)
    macs = [network.macs for network in networks]
    return Predictor(
        costs=_fit(x, ms),
        log_margin=_margin(held_out, ms),
        coverage=_COVERAGE,
        held_out=_score(held_out, ms, repeatability(timings)),
        scales=tuple(sorted({network.scale.name for network in networks})),
        macs_range=(min(macs), max(macs)),
        fingerprint=dict(fingerprint),
    )


def _check(networks: Sequence[Network], timings: Sequence[Timing]) -> None:
    if len(networks) != len(timings):
        raise ValueError(f"every network needs a timing, got {len(networks)} networks and {len(timings)} timings")
    if len(networks) < _LEAST_NETWORKS:
        raise ValueError(f"a predictor needs at least {_LEAST_NETWORKS} networks, got {len(networks)}; measure more")
    how = {(timing.clock, timing.statistic) for timing in timings}
    if len(how) > 1:
        raise ValueError(f"timings must share one clock and statistic, got {sorted(how)}; use one protocol")


def _fit(x: Float[np.ndarray, "n columns"], ms: Float[np.ndarray, " n"]) -> Float[np.ndarray, " columns"]:
    """Costs per unit, the prior's strength chosen from these networks alone."""
    prior = np.array(list(PRIOR_NS.values())) / _NS_PER_MS
    return fit_costs(x, ms, prior, strength=choose_strength(x, ms, prior))


def _cross_validate(x: Float[np.ndarray, "n columns"], ms: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Predictions of each network by a fit without it and the rest of its fold; folds deal sizes out evenly."""
    order = np.argsort(ms, kind="stable")
    folds = np.empty(len(ms), int)
    folds[order] = np.arange(len(ms)) % min(_FOLDS, len(ms))
    predicted = np.empty(len(ms))
    for fold in range(folds.max() + 1):
        seen = folds != fold
        predicted[~seen] = x[~seen] @ _fit(x[seen], ms[seen])
    return predicted


def _margin(predicted: Float[np.ndarray, " n"], ms: Float[np.ndarray, " n"]) -> float:
    """Cross-conformal half width (Vovk 2015): held-out residual number ceil((n + 1) coverage), at most the largest."""
    residuals = np.sort(np.abs(np.log(ms / predicted)))
    rank = int(np.ceil((len(ms) + 1) * _COVERAGE))
    return float(residuals[min(rank, len(ms)) - 1])


def _score(predicted: Float[np.ndarray, " n"], ms: Float[np.ndarray, " n"], repeats: Repeatability) -> HeldOut:
    errors = np.abs(predicted / ms - 1)
    return HeldOut(
        mape=float(errors.mean()),
        within_5=float((errors <= 0.05).mean()),
        within_10=float((errors <= 0.10).mean()),
        spearman=float(np.corrcoef(rankdata(predicted), rankdata(ms))[0, 1]),
        n=len(ms),
        smallest_ms=float(ms.min()),
        largest_ms=float(ms.max()),
        repeatability=repeats,
    )
