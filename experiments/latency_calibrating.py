"""Carries predictors to another device: chooses networks, measures them there, calibrates."""

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.latency_measuring import measure_into
from experiments.measured_network import build_network
from experiments.progress import Progress
from latency_models.calibration import calibrate, choose_for_calibration
from latency_models.csv_device import CsvDevice, check_no_table, write_template
from latency_models.device import Device
from latency_models.litert_file import MODEL_FILE, litert_converter
from latency_models.measurements import MeasurementSet
from latency_models.network import Network, network_of
from latency_models.predictor import Predictor
from search_space import get_scale, get_space, layer_plan, space_names
from search_space.spaces import deploy_scale

_POOL = 300
_MEASUREMENTS = "measurements"


def networks_to_calibrate(
    sources: Sequence[Predictor], *, space_name: str | None, scale_name: str | None, k: int, seed: int
) -> list[Network]:
    """The `k` networks of a space that will tell most about a new device; by default of that of the predictors' scale.

    Raises:
        ValueError: there is no such space or scale, `k` is out of range, or a predictor knows another scale.
    """
    space = get_space(space_name or _space_of(sources))
    scale = get_scale(scale_name or deploy_scale(space))
    for source in sources:
        source.check_scale(scale)
    rng = np.random.default_rng(seed)
    drawn = [network_of(layer_plan(space.sample(rng), scale)) for _ in range(max(_POOL, k))]
    pool = list({network.key: network for network in drawn}.values())
    return choose_for_calibration(sources, pool, k)


def _space_of(sources: Sequence[Predictor]) -> str:
    """Name of the shipped space whose networks run at the scale that the predictors were fitted on."""
    scales = sources[0].scales
    runs_at = {name: deploy_scale(get_space(name)) for name in space_names()}
    names = [name for name, scale in runs_at.items() if scale in scales]
    if len({runs_at[name] for name in names}) != 1:
        raise ValueError(f"scales {', '.join(scales)} do not say which space's networks to choose; give --space")
    return names[0]


def write_models_to_measure(table: Path, networks: Sequence[Network], *, with_models: bool, progress: Progress) -> None:
    """Writes a table to be filled in, and beside it a .tflite file of each network, `models/DIGEST@SCALE.tflite`.

    Files that are there are kept, so that the same command goes on after a kill; the table comes last.

    Raises:
        ValueError: the table exists, or the converter refuses a network.
    """
    check_no_table(table)
    if with_models:
        _convert(table.parent / "models", networks, progress)
    write_template(table, networks)


def _convert(folder: Path, networks: Sequence[Network], progress: Progress) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with progress.stage("Converting", len(networks)) as stage:
        for network in networks:
            model = folder / f"{network.key}.tflite"
            if model.is_file():
                stage.advance()
                continue
            with tempfile.TemporaryDirectory(prefix="pocketunet-latency-") as scratch:
                litert_converter().convert(network, build_network, Path(scratch))
                shutil.move(Path(scratch) / MODEL_FILE, model.with_suffix(".partial"))
                model.with_suffix(".partial").replace(model)
            stage.advance()


def calibrate_to(
    out: Path, device: Device, predictors: Sequence[Path], *, space_name: str | None, scale_name: str | None, k: int,
    rounds: int, seed: int, progress: Progress,
) -> tuple[Predictor, MeasurementSet]:  # fmt: skip
    """Measures `k` designed networks of a space on a device and writes the calibrated predictor into a folder.

    Of a table of recorded latencies, all networks are used.

    Raises:
        ValueError: a predictor is damaged or knows another scale, `out` holds one of another device, or the device refuses a
            network; what was measured is kept, and the same command goes on.
    """
    sources = [Predictor.load(path) for path in predictors]
    Predictor.check_free(out, device.fingerprint())
    if isinstance(device, CsvDevice):
        chosen = device.table.networks
    else:
        chosen = networks_to_calibrate(sources, space_name=space_name, scale_name=scale_name, k=k, seed=seed)
    measured = measure_into(out / _MEASUREMENTS, device, chosen, rounds=rounds, profiled=True, progress=progress)
    if isinstance(device, CsvDevice):  # a row that was taken out, or corrected to another network, counts no longer
        rows = {key: x for key, x in measured.measurements.items() if key in device.table.rows}
        measured = dataclasses.replace(measured, measurements=rows)
        measured.save(out / _MEASUREMENTS)
    predictor = calibrate(sources, measured)
    predictor.save(out)
    return predictor, measured
