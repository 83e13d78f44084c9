"""Measures the networks that `bench_latency.py` fits and tests on: once each, and those held out in separate rounds again."""

import argparse
import time
from pathlib import Path

from experiments.measured_network import build_network
from latency_models.device import get_device
from latency_models.measure import measure
from latency_models.measurements import RECORDS_FILE, Control, MeasurementSet
from latency_models.network import Network
from latency_models.timing import TimingProtocol

SETS = Path(__file__).parent / "measurements"
_ORDER = ("first", "second", "third")


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
    folder = options.out / options.device.replace("-", "_").replace(":", "_").replace("=", "_").replace(",", "_")
    control = None
    for name, networks in zip(_ORDER, ([*held_out, *fitted], held_out, held_out), strict=True):
        protocol = TimingProtocol(rounds=options.interleaved)
        control = measure_round(options.device, networks, folder / name, protocol, control)


def measure_round(
    device: str, networks: list[Network], folder: Path, protocol: TimingProtocol, control: Control | None
) -> Control | None:
    """Loads and times each network that the folder does not hold; the control is that of the round before."""
    if (folder / RECORDS_FILE).is_file():
        known = MeasurementSet.load(folder)
    else:
        known = MeasurementSet(get_device(device).fingerprint(), {}, {}, control)

    def keep(measured: MeasurementSet, new: int) -> None:
        measured.save(folder)
        print(f"{time.strftime('%H:%M:%S')} {folder}: {len(measured.measurements)} of {len(networks)}", flush=True)

    return measure(get_device(device), networks, build_network, protocol=protocol, known=known, progress=keep).control


if __name__ == "__main__":
    main()
