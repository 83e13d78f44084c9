"""Measuring: which architectures, what is kept, what is skipped, and the file."""

import dataclasses
import json

import numpy as np
import pytest

from latency_models.device import get_device
from latency_models.measure import choose_architectures, load_measurements, measure, save_measurements
from latency_models.timing import TimingProtocol
from search_space import get_scale, get_space, layer_plan

PROTOCOL = TimingProtocol(warmup=1, rounds=2, repeats_per_round=2)


@pytest.fixture(scope="module")
def builds(plans, make_network):
    """Three plans with stand-in networks: how long a network takes is the device's business, not the plan's."""
    return [(plan, *make_network(width)) for plan, width in zip(plans, (8, 12, 16), strict=False)]


@pytest.fixture(scope="module")
def measured(builds):
    return measure(get_device("litert-cpu"), builds[:2], protocol=PROTOCOL)


def test_records_name_the_network_and_the_device(builds, measured):
    assert [m.digest for m in measured] == [plan.architecture.digest for plan, _, _ in builds[:2]]
    assert {m.scale for m in measured} == {"digits-deploy"}
    assert all(m.timing.ms > 0 and m.partitions == 1 and m.model_bytes > 0 for m in measured)
    assert measured[0].fingerprint == get_device("litert-cpu").fingerprint()


def test_known_networks_are_not_measured_again(builds, measured):
    new = []
    again = measure(get_device("litert-cpu"), builds, protocol=PROTOCOL, known=measured, progress=new.extend)
    assert again[:2] == measured
    assert [m.digest for m in new] == [builds[2][0].architecture.digest]


def test_other_devices_measurements_do_not_count(builds, measured):
    foreign = [dataclasses.replace(m, fingerprint={**m.fingerprint, "cpu": "another"}) for m in measured]
    new = []
    measure(get_device("litert-cpu"), builds[:1], protocol=PROTOCOL, known=foreign, progress=new.extend)
    assert len(new) == 1


def test_a_refusal_names_the_architecture(plans):
    broken = (plans[0], lambda x: 0.0 * x, (np.ones((1, 4), np.float32),))
    with pytest.raises(
        ValueError, match=f"architecture {plans[0].architecture.digest} at scale 'digits-deploy'.*random weights"
    ):
        measure(get_device("litert-cpu"), [broken], protocol=PROTOCOL)


def test_file_round_trip_and_refusals(measured, tmp_path):
    path = tmp_path / "measurements.json"
    save_measurements(path, measured)
    assert load_measurements(path) == measured
    record = json.loads(path.read_text())
    for damaged, message in [
        ({**record, "schema": 9}, "schema must be 1, got 9; delete it"),
        ({"schema": 1}, "key 'measurements' is missing"),
        ({**record, "measurements": [{"digest": "x"}]}, "with the keys digest, scale"),
        ([], "missing or of a wrong type"),
    ]:
        path.write_text(json.dumps(damaged))
        with pytest.raises(ValueError, match=rf"measurements\.json.*{message}"):
            load_measurements(path)
    path.write_text('{"schema": 1, "measure')
    with pytest.raises(ValueError, match=r"measurements\.json"):
        load_measurements(path)


def test_chosen_architectures_span_the_sizes_evenly():
    space, scale = get_space("digits"), get_scale("digits-deploy")
    chosen = choose_architectures(space, scale, 8, np.random.default_rng(0))
    log_macs = np.sort([np.log(layer_plan(a, scale).macs) for a in chosen])
    assert len({a.digest for a in chosen}) == 8
    assert {space.smallest(), space.largest()} <= set(chosen)
    assert all(space.contains(a) for a in chosen)
    random = np.sort([np.log(layer_plan(space.sample(np.random.default_rng(i)), scale).macs) for i in range(8)])
    assert np.diff(log_macs).max() < np.ptp(log_macs) / 3
    assert np.ptp(log_macs) > np.ptp(random)
    assert chosen == choose_architectures(space, scale, 8, np.random.default_rng(0))


def test_too_few_architectures_are_refused():
    with pytest.raises(ValueError, match="must be from 3 to"):
        choose_architectures(get_space("digits"), get_scale("digits-deploy"), 2, np.random.default_rng(0))
