"""Measures networks into a folder: which ones, where, and so that a kill loses no more than the group in hand."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.describe import find_subject
from experiments.errors import InputError
from experiments.locks import locked
from experiments.measured_network import build_network
from experiments.progress import Progress
from latency_models.choice import choose_architectures, choose_blocks
from latency_models.csv_device import CsvDevice
from latency_models.device import Device, get_device
from latency_models.measure import measure
from latency_models.measurements import RECORDS_FILE, MeasurementSet
from latency_models.network import Network, network_of
from latency_models.timing import TimingProtocol
from search_space import get_scale, get_space, layer_plan, scale_names
from search_space.spaces import deploy_scale


def usable_device(spec: str) -> Device:
    """The device of a name, if it can measure from here.

    Raises:
        InputError: there is none of this name, or it is not there; the message says why, and the remedy.
    """
    try:
        device = get_device(spec)
    except ValueError as error:
        raise InputError(str(error)) from None
    if reason := device.absence():
        raise InputError(f"device {spec!r} cannot be used: {reason}")
    return device


def networks_of_space(space_name: str, *, scale_name: str | None, n: int, num_blocks: int, seed: int) -> list[Network]:
    """The architectures and single blocks of a space that tell most about all of it.

    Args:
        space_name: name of the space.
        scale_name: where they live; by default where the space's networks are to run.
        n: number of architectures, both extremes among them; 0 or at least 3.
        num_blocks: number of single blocks.
        seed: of the random pool from which both are chosen.

    Raises:
        ValueError: there is no such space or scale, or a number is out of range.
    """
    space = get_space(space_name)
    scale = get_scale(scale_name or deploy_scale(space))
    rng = np.random.default_rng(seed)
    chosen = choose_architectures(space, scale, n, rng) if n else []
    blocks = choose_blocks(space, scale, num_blocks, rng) if num_blocks else []
    return [*blocks, *(network_of(layer_plan(architecture, scale)) for architecture in chosen)]


def named_network(name: str, *, scale_name: str | None, known: Sequence[str] = ()) -> Network:
    """A published design, an architecture file or a bundle as a network.

    Args:
        name: of the design, or a path.
        scale_name: where it lives; by default at its own scale.
        known: scales of a predictor; by default it lives at the first of these where its own is none of them.

    Raises:
        InputError: there is none of that name, or its scale is not known, or not one that ships: a record names the scale
            alone.
    """
    plan = find_subject(name, scale=scale_name).plan
    if plan is not None and (plan.scale.name not in scale_names() or get_scale(plan.scale.name) != plan.scale):
        raise InputError(f"{name}: its scale {plan.scale.name!r} is none of those that ship; give --scale")
    if scale_name is None and known and (plan is None or plan.scale.name not in known):
        plan = find_subject(name, scale=known[0]).plan
    if plan is None:
        raise InputError(f"{name}: the scale is not known; give --scale")
    return network_of(plan)


def measure_into(
    folder: Path, device: Device, networks: Sequence[Network], *, rounds: int, profiled: bool, progress: Progress
) -> MeasurementSet:
    """Measures what the folder does not hold yet; a table of recorded latencies is looked up anew.

    Raises:
        InputError: another process measures into the folder.
        ValueError: the folder's measurements come from another device or version, or the device refuses a network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / RECORDS_FILE, what="folder of measurements"):
        known = MeasurementSet.load(folder) if (folder / RECORDS_FILE).is_file() else None
        if known and isinstance(device, CsvDevice):  # which may have been corrected since, and costs nothing to look up
            asked = {network.key for network in networks}
            kept = {key: measurement for key, measurement in known.measurements.items() if key not in asked}
            known = dataclasses.replace(known, measurements=kept)
        done = sum(network.key in known.measurements for network in networks) if known else 0
        with progress.stage(f"Measuring on {device.name}", len(networks), done=done) as stage:

            def keep(measured: MeasurementSet, new: int) -> None:
                measured.save(folder)
                stage.advance(new)

            protocol = TimingProtocol(rounds=rounds)
            return measure(device, networks, build_network, protocol=protocol, known=known, profiled=profiled, progress=keep)
