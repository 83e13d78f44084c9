"""Measuring: what is kept, what is skipped, what is refused, and the folder."""

import contextlib
import dataclasses
import errno
import itertools
import json

import numpy as np
import pytest
from known_machines import measured_on, random_networks, tiled_machine
from measured_networks import build_tiny, build_zero, sized

from latency_models.device import get_device
from latency_models.measure import measure
from latency_models.measurements import KERNELS_FILE, RECORDS_FILE, Control, MeasurementSet, load_all
from latency_models.network import Network, blocks_alone
from latency_models.timing import TimingProtocol
from latency_models.whole_files import read_arrays, write_arrays
from search_space import get_scale
from search_space.blocks import ResidualSpec, TransformerSpec

PROTOCOL = TimingProtocol(warmup=1, rounds=2, repeats_per_round=2)
NETWORKS = [sized(8), sized(12), sized(16)]


@pytest.fixture(scope="module")
def device():
    return get_device("litert-cpu")


@pytest.fixture(scope="module")
def measured(device) -> MeasurementSet:
    return measure(device, NETWORKS[:2], build_tiny, protocol=PROTOCOL)


def test_records_hold_what_was_run_and_what_loading_showed(measured, device):
    assert list(measured.measurements) == [network.key for network in NETWORKS[:2]]
    assert measured.fingerprint == device.fingerprint()
    for measurement in measured.measurements.values():
        assert [timing.clock for timing in measurement.timings] == ["thread_cpu", "wall"]
        assert measurement.timing.n == 4
        loaded = measurement.loaded
        assert min(loaded.load_ms, loaded.first_ms, loaded.model_bytes) > 0
        assert loaded.partitions == 1
    assert set(measured.profiles) == set(measured.measurements)


def test_known_networks_are_not_measured_again(measured, device):
    new = []
    again = measure(device, NETWORKS, build_tiny, protocol=PROTOCOL, known=measured, progress=lambda m, n: new.append(n))
    # With one more of the control's levels, all are scaled alike.
    factor = again.control.level_ms / measured.control.level_ms
    assert [again.measurements[key].timing for key in measured.measurements] == [
        m.timing.scaled(factor) for m in measured.measurements.values()
    ]
    assert len(again.measurements) == 3
    assert new == [1]


def test_groups_that_a_slow_machine_met_are_brought_to_the_controls_level():
    """Three groups on a known machine, the second while it was half as fast."""
    groups = [measured_on(tiled_machine, random_networks(9)[i : i + 3], profiled=True) for i in (0, 3, 6)]
    found = MeasurementSet(groups[0].fingerprint, {}, {}, Control(random_networks(1)[0]))
    for group, slower in zip(groups, (1.0, 2.0, 1.0), strict=True):
        found = found.merged(under_control(group._scaled(slower), 5.0 * slower))
    assert found.control.level_ms == 5.0
    for group in groups:
        for key, m in group.measurements.items():
            assert found.measurements[key].timing.ms == pytest.approx(m.timing.ms)
            assert found.profiles[key][0].ms == pytest.approx(group.profiles[key][0].ms)


def under_control(measured: MeasurementSet, *levels_ms: float) -> MeasurementSet:
    return dataclasses.replace(measured, control=Control(random_networks(1)[0], levels_ms))


def test_what_was_measured_before_there_was_a_control_stays_as_it_was(tmp_path):
    alone, *groups = (measured_on(tiled_machine, random_networks(7)[i : i + 2], profiled=True) for i in (0, 2, 4))
    (early,) = alone.measurements.keys() & {random_networks(1)[0].key}
    control = Control(random_networks(3)[2], without=frozenset(alone.measurements))
    found = dataclasses.replace(alone, control=control)
    for group, slower in zip(groups, (3.0, 1.0), strict=True):
        beside = dataclasses.replace(group._scaled(slower), control=Control(control.network, (5.0 * slower,)))
        found = found.merged(beside)
    assert found.measurements[early] == alone.measurements[early]
    assert found.profiles[early] == alone.profiles[early]
    ratios = [found.measurements[key].timing.ms / m.timing.ms for group in groups for key, m in group.measurements.items()]
    np.testing.assert_allclose(ratios, found.control.level_ms / 5.0)
    found.save(tmp_path)
    assert MeasurementSet.load(tmp_path) == found
    again = found.merged(dataclasses.replace(alone, control=Control(control.network, (5.0,))))
    assert not again.control.without  # measured anew, beside it


def test_folders_with_one_control_are_brought_to_one_level(tmp_path):
    """The second half was measured while the machine was half as fast."""
    halves = [measured_on(tiled_machine, random_networks(8)[i : i + 4], profiled=True) for i in (0, 4)]
    for name, half, slower in zip("ab", halves, (1.0, 2.0), strict=True):
        under_control(half._scaled(slower), *(5.0 * slower,) * 3).save(tmp_path / name)
    found = load_all([tmp_path / "a", tmp_path / "b"])
    truth = {key: m.timing.ms for half in halves for key, m in half.measurements.items()}
    assert found.control.level_ms == 5.0
    assert {key: m.timing.ms for key, m in found.measurements.items()} == pytest.approx(truth)
    other = dataclasses.replace(halves[1]._scaled(2.0), control=Control(random_networks(2)[1], (10.0,)))
    apart = under_control(halves[0], 5.0).merged(other)  # nothing tells what the other's level would be
    assert apart.control.without == set(halves[1].measurements)
    assert all(apart.measurements[key] == m for key, m in other.measurements.items())


def test_folders_with_one_control_come_to_one_level_whatever_folder_is_first(tmp_path):
    thirds = [measured_on(tiled_machine, random_networks(9)[i : i + 3], profiled=True) for i in (0, 3, 6)]
    first = dataclasses.replace(thirds[0], control=Control(random_networks(2)[1], (7.0,)))
    one, other = (under_control(x._scaled(slower), 5.0 * slower) for x, slower in zip(thirds[1:], (1.0, 2.0), strict=True))
    for name, measured in zip("abc", (first, one, other), strict=True):
        measured.save(tmp_path / name)
    found = load_all([tmp_path / name for name in "abc"])
    levels = [found.measurements[key].timing.ms / m.timing.ms for x in thirds[1:] for key, m in x.measurements.items()]
    np.testing.assert_allclose(levels, 1.25)  # the quartile of the control's 5 and 10 ms


def test_profiles_are_those_of_the_records_whatever_lay_there(tmp_path):
    one = measured_on(tiled_machine, random_networks(3), profiled=True)
    under_control(one, 5.0).save(tmp_path)
    kernels = (tmp_path / KERNELS_FILE).read_bytes()
    slower = under_control(one._scaled(2.0), 10.0)
    slower.save(tmp_path)
    (tmp_path / KERNELS_FILE).write_bytes(kernels)  # as a kill between the two files leaves it, the other way round
    assert MeasurementSet.load(tmp_path) == slower
    dataclasses.replace(slower, profiles={}).save(tmp_path)
    assert MeasurementSet.load(tmp_path).profiles == {}


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        measured_on(tiled_machine, random_networks(2)).save(tmp_path)
    assert caught.value.filename == str(tmp_path / RECORDS_FILE)


def test_whichever_byte_of_an_archive_is_changed_it_is_refused_or_read(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"a": np.arange(3.0), "b": np.array(["x", "y"])})
    content = path.read_bytes()
    for i, value in itertools.product(range(len(content)), (0, 255)):
        path.write_bytes(content[:i] + bytes([value]) + content[i + 1 :])
        with contextlib.suppress(ValueError, KeyError):
            read_arrays(path)


def test_a_control_runs_beside_networks_of_this_machine_and_survives_the_folder(measured, tmp_path):
    assert measured.control.network.key in measured.measurements
    assert len(measured.control.levels_ms) == 1
    measured.save(tmp_path)
    assert MeasurementSet.load(tmp_path) == measured
    record = json.loads((tmp_path / RECORDS_FILE).read_text())
    record["control"]["levels_ms"] = [0]
    (tmp_path / RECORDS_FILE).write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"control\.levels_ms must be positive milliseconds, got \[0\]"):
        MeasurementSet.load(tmp_path)


def test_a_network_given_twice_is_measured_once(device):
    assert len(measure(device, [NETWORKS[0]] * 2, build_tiny, protocol=PROTOCOL, profiled=False).measurements) == 1


def test_other_versions_do_not_mix(measured, device):
    old = dataclasses.replace(measured, fingerprint={**measured.fingerprint, "ai-edge-litert": "1.0"})
    with pytest.raises(ValueError, match=r"do not mix: ai-edge-litert is '1\.0' and '.*'; measure into a new folder"):
        measure(device, NETWORKS, build_tiny, protocol=PROTOCOL, known=old)


def test_a_refusal_names_the_network_and_keeps_the_groups_before(device, monkeypatch):
    monkeypatch.setattr("latency_models.measure._GROUP_SIZE", 1)
    kept = []
    with pytest.raises(ValueError, match=rf"network {NETWORKS[0].key}: .*random weights"):
        measure(device, NETWORKS[:1], build_zero, protocol=PROTOCOL)
    networks = [NETWORKS[0], sized(8, 4)]
    with pytest.raises(ValueError, match=f"network {networks[1].key}"):
        measure(device, networks, build_tiny_or_zero, protocol=PROTOCOL, profiled=False, progress=lambda m, n: kept.append(m))
    assert list(kept[-1].measurements) == [networks[0].key]


def build_tiny_or_zero(network: Network):
    return build_zero(network) if network.blocks[0].resolution == 4 else build_tiny(network)


def test_folder_gives_everything_back(tmp_path):
    measured = measured_on(tiled_machine, random_networks(5), profiled=True)
    specs = [(ResidualSpec(24, 0, 48, "full"), 16), (TransformerSpec(48, 1, "cross", "relu", 2, True, "gelu"), 16)]
    alone = measured_on(tiled_machine, [blocks_alone(specs, get_scale("digits-deploy"))])
    measured.merged(alone).save(tmp_path)
    assert MeasurementSet.load(tmp_path) == measured.merged(alone)
    # A kill after the profiles of a new group were written, and before its records were.
    measured_on(tiled_machine, random_networks(2)).save(tmp_path)
    assert set(MeasurementSet.load(tmp_path).profiles) <= {network.key for network in random_networks(2)}


def test_folders_of_one_device_are_read_together(tmp_path):
    first, second = random_networks(4)[:2], random_networks(4)[2:]
    for name, networks in (("a", first), ("b", second)):
        measured_on(tiled_machine, networks).save(tmp_path / name)
    assert len(load_all([tmp_path / "a", tmp_path / "b"]).measurements) == 4
    other = dataclasses.replace(measured_on(tiled_machine, second), fingerprint={"device": "other"})
    other.save(tmp_path / "b")
    with pytest.raises(ValueError, match=r"b: .*device is 'known machine' and 'other'"):
        load_all([tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: r.update(schema=9), "schema must be 2, got 9; move it away"),
        (lambda r: r.pop("measurements"), "key 'measurements' is missing"),
        (lambda r: r["measurements"][0].pop("loaded"), "with the keys network, timings, loaded"),
        (lambda r: r["measurements"][0].update(timings=[]), "at least one timing"),
        (lambda r: r["measurements"][0]["network"].update(scale="none"), "no scale 'none'"),
        (lambda r: r["measurements"][0]["network"].pop("architecture"), "must name 'scale' and 'architecture' or 'blocks'"),
        (lambda r: r["measurements"][0]["timings"][0].update(ms=0), r"timing\.ms must be a positive number"),
    ],
)
def test_damaged_records_are_refused(tmp_path, damage, message):
    measured_on(tiled_machine, random_networks(1)).save(tmp_path)
    path = tmp_path / RECORDS_FILE
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"measurements\.json.*{message}"):
        MeasurementSet.load(tmp_path)


def test_torn_files_are_refused(tmp_path):
    measured_on(tiled_machine, random_networks(1), profiled=True).save(tmp_path)
    path = tmp_path / KERNELS_FILE
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"kernels\.npz cannot be read"):
        MeasurementSet.load(tmp_path)
    (tmp_path / RECORDS_FILE).write_text('{"schema": 2, "meas')
    with pytest.raises(ValueError, match=r"measurements\.json"):
        MeasurementSet.load(tmp_path)


def test_large_networks_are_timed_alone(monkeypatch):
    from latency_models.measure import _groups, _held_bytes

    small, large = sized(8), sized(512)
    monkeypatch.setattr("latency_models.measure._GROUP_BYTES", 3 * _held_bytes(small) + 1)
    groups = [[n.key for n in group] for group in _groups([small, sized(9), large, small])]
    assert groups == [[small.key, sized(9).key], [large.key], [small.key]]
    assert [len(group) for group in _groups([small] * 19)] == [3] * 6 + [1]


def test_a_large_network_is_no_control(monkeypatch):
    from latency_models.measure import _choose_control, _held_bytes

    networks = [sized(8), sized(12), sized(512), sized(520)]
    assert _choose_control(networks, without=()).network == networks[2]
    monkeypatch.setattr("latency_models.measure._CONTROL_BYTES", _held_bytes(networks[1]))
    assert _choose_control(networks, without=()).network == networks[1]
    assert _choose_control(networks[1:], without=()) is None


def test_repeatability_is_that_of_the_two_halves():
    measured = measured_on(tiled_machine, random_networks(3))
    assert measured.repeatability.within_5 == 1
    assert np.isclose(measured.repeatability.median_gap, 0)
