"""Measures the networks that `bench_latency.py` fits and tests on: once each, and those held out in separate rounds again."""

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from experiments.latency_measuring import measure_into, usable_device
from experiments.progress import terminal_progress
from latency_models.device import Device
from latency_models.local_device import Loader, LocalDevice
from latency_models.measurements import RECORDS_FILE, Control, MeasurementSet
from latency_models.network import Build, Network

SETS = Path(__file__).parent / "measurements"
ROUNDS = ("first", "second", "third")


def main() -> None:
    """Measures into `measurements/<device>/first`, `second` and `third`; what is there already is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="litert-cpu")
    parser.add_argument("--fitted", type=int, default=200, help="networks to fit on, at most")
    parser.add_argument("--held-out", type=int, default=60, help="networks never fitted, measured in three rounds")
    parser.add_argument("--interleaved", type=int, default=16, help="interleaved rounds of timing within each")
    parser.add_argument("--networks", type=Path, default=SETS / "litert_cpu" / "first", help="the set that lists the networks")
    parser.add_argument("--out", type=Path, default=SETS)
    options = parser.parse_args()
    listed = MeasurementSet.load(options.networks).measurements
    ordered = [listed[key].network for key in sorted(listed)]  # a key is a digest: this order is random, and always the same
    held_out, fitted = ordered[: options.held_out], ordered[options.held_out :][: options.fitted]
    folder = options.out / re.sub("[-:=,]", "_", options.device)
    device, control = usable_device(options.device), None
    with TemporaryDirectory(prefix="pocketunet-converted-") as converted:
        if isinstance(device, LocalDevice):
            convert_once(device, Path(converted))
        for name, networks in zip(ROUNDS, ([*held_out, *fitted], held_out, held_out), strict=True):
            control = measure_round(device, networks, folder / name, options.interleaved, control)


def convert_once(device: LocalDevice, kept: Path) -> None:
    """Lets a device convert each network for the first of its rounds, and load that same file in all of them."""
    convert = device.convert
    converted: dict[str, tuple[Loader, np.ndarray]] = {}

    def convert_or_recall(network: Network, build: Build, folder: Path) -> tuple[Loader, np.ndarray]:
        if network.key not in converted:
            folder = kept / network.key
            folder.mkdir()
            converted[network.key] = convert(network, build, folder)
        return converted[network.key]

    device.convert = convert_or_recall


def measure_round(
    device: Device, networks: list[Network], folder: Path, interleaved: int, control: Control | None
) -> Control | None:
    """Loads and times each network that the folder does not hold; the control is that of the round before."""
    if control and not (folder / RECORDS_FILE).is_file():
        MeasurementSet(device.fingerprint(), {}, {}, control).save(folder)
    with terminal_progress() as progress:
        return measure_into(folder, device, networks, rounds=interleaved, profiled=True, progress=progress).control


if __name__ == "__main__":
    main()
