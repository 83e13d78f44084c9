"""Carries predictors to another device: chooses networks, measures them there, calibrates."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.latency_measuring import measure_into
from experiments.progress import Progress
from latency_models.calibration import calibrate, choose_for_calibration
from latency_models.device import Device
from latency_models.measurements import MeasurementSet
from latency_models.network import network_of
from latency_models.predictor import Predictor
from search_space import get_scale, get_space, layer_plan
from search_space.spaces import deploy_scale

_POOL = 300
_MEASUREMENTS = "measurements"


def calibrate_to(
    out: Path, device: Device, predictors: Sequence[Path], *, space_name: str, scale_name: str | None, k: int, rounds: int,
    seed: int, progress: Progress,
) -> tuple[Predictor, MeasurementSet]:  # fmt: skip
    """Measures `k` designed networks of a space on a device and writes the calibrated predictor into a folder.

    Raises:
        ValueError: a predictor is damaged or knows another scale, or the device refuses a network; what was measured is
            kept, and the same command goes on.
    """
    sources = [Predictor.load(path) for path in predictors]
    space = get_space(space_name)
    scale = get_scale(scale_name or deploy_scale(space))
    for source in sources:
        source.check_scale(scale)
    rng = np.random.default_rng(seed)
    pool = [network_of(layer_plan(space.sample(rng), scale)) for _ in range(max(_POOL, k))]
    chosen = choose_for_calibration(sources, pool, k)
    measured = measure_into(out / _MEASUREMENTS, device, chosen, rounds=rounds, profiled=True, progress=progress)
    predictor = calibrate(sources, measured)
    predictor.save(out)
    return predictor, measured
