"""Measures networks on a device, in interleaved groups."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from latency_models.device import Device, Session
from latency_models.measurements import Control, Measurement, MeasurementSet
from latency_models.network import Build, Network
from latency_models.timing import Timing, TimingProtocol, time_interleaved

_GROUP_SIZE = 8  # networks that are timed round by round together
_GROUP_BYTES = 2 << 30  # of all of them together, as `_held_bytes` counts; a larger network is timed alone
_CONTROL_BYTES = _GROUP_BYTES // 4
_PROFILED_RUNS = 5
_LOADS_AT_ONCE = 2  # one is lowered while the other is converted


def measure(
    device: Device,
    networks: Sequence[Network],
    build: Build,
    *,
    protocol: TimingProtocol,
    known: MeasurementSet | None = None,
    profiled: bool = True,
    progress: Callable[[MeasurementSet, int], None] | None = None,
) -> MeasurementSet:
    """Measures each network; those already known from this very device are not measured again.

    Args:
      device: Where to run.
      networks: What to run.
      build: Makes a network's function and inputs.
      protocol: How often to run, and which statistic.
      known: Earlier measurements, all of which are kept.
      profiled: Whether to ask for each kernel's time as well.
      progress: Called after each group with all measurements so far and the number of new ones; save there to resume later.

    Raises:
      ValueError: The known measurements come from another device or version, or the device refuses a network; the
        message names what differs, or the network.
    """
    found = known or MeasurementSet(device.fingerprint(), {}, {})
    found.check_fingerprint(device.fingerprint())
    asked = list({network.key: network for network in networks}.values())
    new = [network for network in asked if network.key not in found.measurements]
    with contextlib.ExitStack() as stack:
        control = None
        chosen = found.control or _choose_control(asked, without=found.measurements)
        if device.is_shared and chosen and new:
            found = dataclasses.replace(found, control=chosen)
            control = stack.enter_context(_loaded(device, chosen.network, build))
        for group in _groups(new):
            measured, level = _measure_group(device, group, build, protocol=protocol, profiled=profiled, control=control)
            if chosen and level is not None:
                measured = dataclasses.replace(measured, control=Control(chosen.network, (level,)))
            found = found.merged(measured)
            if progress:
                progress(found, len(group))
    return found


def _choose_control(networks: Sequence[Network], *, without: Iterable[str]) -> Control | None:
    """The median of those that may stay loaded beside the others; None where there are not two of them.

    `without` are the keys of networks that were measured before there was one.
    """
    small = sorted((x for x in networks if _held_bytes(x) <= _CONTROL_BYTES), key=lambda network: network.macs)
    return Control(small[len(small) // 2], without=frozenset(without)) if len(small) > 1 else None


@contextlib.contextmanager
def _loaded(device: Device, network: Network, build: Build) -> Iterator[Session]:
    """A network on the device, with a folder of its own as long."""
    with TemporaryDirectory(prefix="pocketunet-latency-") as folder:
        try:
            session = device.load(network, build, Path(folder))
        except ValueError as error:
            raise ValueError(f"network {network.key}: {error}") from error
        with contextlib.closing(session):
            yield session


def _measure_group(
    device: Device,
    group: Sequence[Network],
    build: Build,
    *,
    protocol: TimingProtocol,
    profiled: bool,
    control: Session | None,
) -> tuple[MeasurementSet, float | None]:
    """The group's measurements, and how long the control took beside them."""
    with contextlib.ExitStack() as stack:

        def load(network: Network) -> Session:
            return stack.enter_context(_loaded(device, network, build))

        with ThreadPoolExecutor(_LOADS_AT_ONCE) as executor:
            sessions = list(executor.map(load, group))
        timings, level = _timings(sessions, protocol, control)
        profiles = [session.profile(_PROFILED_RUNS) if profiled else None for session in sessions]
        measured = {
            network.key: Measurement(network, times, session.loaded)
            for network, times, session in zip(group, timings, sessions, strict=True)
        }
        kernels = {network.key: profile for network, profile in zip(group, profiles, strict=True) if profile}
        return MeasurementSet(device.fingerprint(), measured, kernels), level


def _timings(
    sessions: Sequence[Session], protocol: TimingProtocol, control: Session | None
) -> tuple[list[tuple[Timing, ...]], float | None]:
    if recorded := [session.recorded for session in sessions if session.recorded]:
        return [(timing,) for timing in recorded], None
    return time_interleaved(sessions, protocol=protocol, control=control)


def _groups(networks: Iterable[Network]) -> Iterator[list[Network]]:
    """Networks in their order, as many at a time as are timed together."""
    for _, group in itertools.groupby(networks, key=_GroupNumber()):
        yield list(group)


class _GroupNumber:
    """Numbers networks by group: a new one begins where the old is full."""

    def __init__(self) -> None:
        self._number = self._size = self._bytes = 0

    def __call__(self, network: Network) -> int:
        self._size += 1
        self._bytes += _held_bytes(network)
        if self._size > _GROUP_SIZE or (self._size > 1 and self._bytes > _GROUP_BYTES):
            self._number += 1
            self._size, self._bytes = 1, _held_bytes(network)
        return self._number


def _held_bytes(network: Network) -> int:
    """Weights, and what its largest kernel reads and writes: a runtime holds several times as much while it is loaded."""
    return network.weight_bytes + max(kernel.bytes for kernel in network.kernels)
