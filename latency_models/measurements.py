"""Measurements of one device as a value, and the folder that keeps them: JSON, and the kernels' times as an npz."""

import dataclasses
import functools
import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latency_models.device import KernelTime, Loaded
from latency_models.kernel_labels import Labels, label_kernels
from latency_models.network import Network
from latency_models.timing import Repeatability, Timing, repeatability
from latency_models.whole_files import read_arrays, write_arrays, write_record

SCHEMA_VERSION = 2
RECORDS_FILE, KERNELS_FILE = "measurements.json", "kernels.npz"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One network on one device.

    Attributes:
      network: What was run.
      timings: Its latency by clock, the clock that counts first.
      loaded: What loading it showed: size, partitions, first run, peak of memory.
    """

    network: Network
    timings: tuple[Timing, ...]
    loaded: Loaded

    @property
    def timing(self) -> Timing:
        """The latency."""
        return self.timings[0]

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` turns back into this value."""
        timings = [timing.to_json() for timing in self.timings]
        return {"network": self.network.to_json(), "timings": timings, "loaded": dataclasses.asdict(self.loaded)}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Measurement":
        """Reads what `to_json` wrote.

        Raises:
          ValueError: A key is missing or unknown, or a value is damaged.
        """
        if not isinstance(record, Mapping) or set(record) != {"network", "timings", "loaded"}:
            raise ValueError(f"a measurement must be an object with the keys network, timings, loaded, got {record!r}")
        if not record["timings"]:
            raise ValueError("a measurement must have at least one timing")
        timings = tuple(Timing.from_json(x) for x in record["timings"])
        loaded = Loaded(**{**record["loaded"], "left_out": tuple(record["loaded"].get("left_out", ()))})
        return Measurement(Network.from_json(record["network"]), timings, loaded)


@dataclasses.dataclass(frozen=True)
class Control:
    """A network that was timed beside every group of others: a shared machine is slower for minutes at a time.

    Attributes:
      network: What was run.
      levels_ms: How long it took beside each group.
      without: Keys of networks that are kept with the others and were measured without it: their level is not known.
    """

    network: Network
    levels_ms: tuple[float, ...] = ()
    without: frozenset[str] = frozenset()

    @property
    def level_ms(self) -> float:
        """How long it takes while the machine does little else: a lower quartile. Latencies are what networks take then."""
        return float(np.quantile(self.levels_ms, 0.25))


@dataclasses.dataclass(frozen=True)
class MeasurementSet:
    """Measurements that may be compared with each other.

    Attributes:
      fingerprint: Of the device that made them all.
      measurements: By the network's key.
      profiles: Times of the kernels of a network, by its key, for those that were profiled.
      control: What ran beside them; None where the device does nothing else, or there was no network for it.
    """

    fingerprint: dict[str, str]
    measurements: dict[str, Measurement]
    profiles: dict[str, tuple[KernelTime, ...]]
    control: Control | None = None

    @property
    def repeatability(self) -> Repeatability | None:
        """How well the two halves of the rounds agree; None where only results were recorded."""
        return repeatability([m.timing for m in self.measurements.values()])

    @functools.cached_property
    def labels(self) -> dict[str, Labels]:
        """What profiles say of kernels, by the network's key.

        Profilers read the wall clock, which other load stretches: no profile counts for longer than its network's run.
        """
        found = {}
        for key, profile in self.profiles.items():
            if measurement := self.measurements.get(key):
                stretched = max(1.0, sum(kernel.ms for kernel in profile) / measurement.timing.ms)
                found[key] = label_kernels(measurement.network, [kernel.scaled(1 / stretched) for kernel in profile])
        return found

    def check_fingerprint(self, fingerprint: Mapping[str, str]) -> None:
        """Refuses another device or version.

        Raises:
          ValueError: The fingerprints differ; the message names where.
        """
        if differing := differences(self.fingerprint, fingerprint):
            raise ValueError(
                f"measurements of different devices or versions do not mix: {'; '.join(differing)}; measure into a new folder"
            )

    def merged(self, other: "MeasurementSet") -> "MeasurementSet":
        """Both together; what both have is the other's.

        Where one control ran beside both, all are brought to its joint level. Otherwise each stays at its own.

        Raises:
          ValueError: They come from different devices or versions.
        """
        self.check_fingerprint(other.fingerprint)
        control = self._joint_control(other)
        one, two = (measured._at_level_of(control) for measured in (self, other))
        measurements, profiles = {**one.measurements, **two.measurements}, {**one.profiles, **two.profiles}
        return dataclasses.replace(self, measurements=measurements, profiles=profiles, control=control)

    def _joint_control(self, other: "MeasurementSet") -> Control | None:
        """The control of both together: this set's, if it has one."""
        if (control := self.control or other.control) is None:
            return None
        beside = [x.control for x in (self, other) if x.control and x._ran_beside(control)]
        levels = tuple(ms for each in beside for ms in each.levels_ms)
        without = (self._without(control) - set(other.measurements)) | other._without(control)
        return Control(control.network, levels, without)

    def _ran_beside(self, control: Control) -> bool:
        return self.control is not None and self.control.network.key == control.network.key

    def _without(self, control: Control) -> frozenset[str]:
        """Keys of what was measured without this control."""
        return self.control.without if self.control and self._ran_beside(control) else frozenset(self.measurements)

    def _at_level_of(self, control: Control | None) -> "MeasurementSet":
        """What was measured beside a control, as it is at the control's level."""
        if control is None or self.control is None or not self._ran_beside(control) or not self.control.levels_ms:
            return self
        return self._scaled(control.level_ms / self.control.level_ms, kept=self.control.without)

    def _scaled(self, factor: float, *, kept: Collection[str] = ()) -> "MeasurementSet":
        """The same on a machine that takes so many times as long, but for those to be kept as they are."""
        measurements = {
            key: m if key in kept else dataclasses.replace(m, timings=tuple(timing.scaled(factor) for timing in m.timings))
            for key, m in self.measurements.items()
        }
        profiles = {
            key: profile if key in kept else tuple(kernel.scaled(factor) for kernel in profile)
            for key, profile in self.profiles.items()
        }
        return dataclasses.replace(self, measurements=measurements, profiles=profiles)

    def save(self, folder: Path) -> None:
        """Writes a folder; a kill leaves either the old files or the new ones."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.profiles:
            level = {"level_ms": np.array(self.control.level_ms)} if self.control and self.control.levels_ms else {}
            write_arrays(folder / KERNELS_FILE, _profile_arrays(self.profiles) | level)
        else:
            (folder / KERNELS_FILE).unlink(missing_ok=True)
        records = [m.to_json() for m in self.measurements.values()]
        record = {"schema": SCHEMA_VERSION, "fingerprint": self.fingerprint, "measurements": records}
        if self.control:
            control = {"network": self.control.network.to_json(), "levels_ms": list(self.control.levels_ms)}
            record["control"] = control | ({"without": sorted(self.control.without)} if self.control.without else {})
        write_record(folder / RECORDS_FILE, record)

    @staticmethod
    def load(folder: Path) -> "MeasurementSet":
        """Reads what `save` wrote.

        Raises:
          ValueError: A file is damaged or of another version; the message names it, the key and the remedy.
          FileNotFoundError: There is no such folder or file.
        """
        path = folder / RECORDS_FILE
        try:
            record = json.loads(path.read_text())
            if record["schema"] != SCHEMA_VERSION:
                raise ValueError(f"schema must be {SCHEMA_VERSION}, got {record['schema']!r}")
            measurements = [Measurement.from_json(x) for x in record["measurements"]]
            fingerprint = dict(record["fingerprint"])
            control = _read_control(record.get("control"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"measurements {path}: key {error} is missing or of a wrong type; {_REMEDY}") from None
        except ValueError as error:
            raise ValueError(f"measurements {path}: {error}; {_REMEDY}") from None
        by_key = {m.network.key: m for m in measurements}
        return MeasurementSet(fingerprint, by_key, _read_profiles(folder / KERNELS_FILE, by_key, control), control)


_REMEDY = "move it away and measure again"


def differences(fingerprint: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """What two fingerprints say differently, in words."""
    keys = sorted({*fingerprint, *other})
    return [
        f"{key} is {fingerprint.get(key)!r} and {other.get(key)!r}" for key in keys if fingerprint.get(key) != other.get(key)
    ]


def first_difference(fingerprint: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    """That of the devices' names, which says most, or the first other one; None where they are equal."""
    return min(differences(fingerprint, other), key=lambda told: not told.startswith("device is "), default=None)


def load_all(folders: Sequence[Path]) -> MeasurementSet:
    """The measurements of several folders together, first of those beside which one control ran; of equal ones the last's.

    Raises:
      ValueError: A file is damaged, or they come from different devices or versions; the message names the folder.
      FileNotFoundError: There is no such folder.
    """
    by_control, first = dict[str | None, MeasurementSet](), None
    for folder in folders:
        measured = MeasurementSet.load(folder)
        first = first or measured
        try:
            first.check_fingerprint(measured.fingerprint)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
        control = measured.control.network.key if measured.control else None
        by_control[control] = by_control[control].merged(measured) if control in by_control else measured
    return functools.reduce(MeasurementSet.merged, by_control.values())


def _read_control(record: Mapping[str, Any] | None) -> Control | None:
    if record is None:
        return None
    levels = tuple(float(ms) for ms in record["levels_ms"])
    if not levels or not all(0 < ms < math.inf for ms in levels):
        raise ValueError(f"control.levels_ms must be positive milliseconds, got {record['levels_ms']!r}")
    return Control(Network.from_json(record["network"]), levels, frozenset(record.get("without", ())))


def _profile_arrays(profiles: Mapping[str, tuple[KernelTime, ...]]) -> dict[str, np.ndarray]:
    """Profiles one after the other; names are numbers into a table."""
    kernels = [kernel for profile in profiles.values() for kernel in profile]
    names, numbers = np.unique([kernel.name for kernel in kernels], return_inverse=True)
    return {
        "networks": np.array(list(profiles)),
        "lengths": np.array([len(profile) for profile in profiles.values()]),
        "names": names,
        "kernels": numbers.astype(np.int32),
        "ms": np.array([kernel.ms for kernel in kernels]),
    }


def _read_profiles(path: Path, wanted: Mapping[str, Measurement], control: Control | None) -> dict[str, tuple[KernelTime, ...]]:
    """Profiles of the measured networks at the control's level: a kill between the two files leaves others, and another."""
    if not path.is_file():
        return {}
    try:
        stored = read_arrays(path)
        arrays = {key: stored[key] for key in ("networks", "lengths", "names", "kernels", "ms")}
    except (ValueError, KeyError) as error:
        raise ValueError(f"kernel profiles {path} cannot be read ({error}); {_REMEDY}") from None
    ends = np.cumsum(arrays["lengths"])
    factor = control.level_ms / float(stored["level_ms"]) if control and "level_ms" in stored else 1.0
    without = control.without if control else ()
    kernels = [KernelTime(str(arrays["names"][i]), float(ms)) for i, ms in zip(arrays["kernels"], arrays["ms"], strict=True)]
    return {
        str(key): tuple(kernel if key in without else kernel.scaled(factor) for kernel in kernels[end - length : end])
        for key, end, length in zip(arrays["networks"], ends, arrays["lengths"], strict=True)
        if str(key) in wanted
    }
