"""The contract of every device of this machine: it computes what JAX computes, is timed sensibly, refuses with a reason.

A new device gets these tests by its entry in the table; its options are listed here.
"""

import dataclasses
import importlib.metadata
import pickle
from collections.abc import Iterator

import jax.numpy as jnp
import measured_networks
import numpy as np
import pytest

from latency_models import device as device_module
from latency_models.device import (
    _cpu_model,
    check_equal,
    default_device,
    device_names,
    get_device,
    installed_version,
    missing_packages,
)
from latency_models.local_device import LocalDevice
from latency_models.local_session import LocalSession

ELSEWHERE = ("adb", "csv")  # devices that do not give the output back
PLAIN = tuple(name for name in device_names() if name not in ELSEWHERE)
LITERT_OPTIONS = ("litert-cpu:threads=2", "litert-cpu:dtype=float16", "litert-cpu:dtype=int8")
WITH_OPTIONS = (*LITERT_OPTIONS, "xla-gpu:dtype=bfloat16", "xla-gpu:autotune=off")
SMALL, LARGE = measured_networks.sized(8), measured_networks.sized(512, 16)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A device with a network of some microseconds and one of some milliseconds on it."""

    device: LocalDevice
    small: LocalSession
    large: LocalSession


def local_device(spec: str) -> LocalDevice:
    """The device, or a skip with the reason why it is not here."""
    if missing := missing_packages(spec.partition(":")[0]):
        pytest.skip(f"needs {missing}")
    device = get_device(spec)
    assert isinstance(device, LocalDevice)
    if reason := device.absence():
        pytest.skip(reason)
    return device


@pytest.fixture(scope="module", params=[*PLAIN, *WITH_OPTIONS])
def loaded(request, tmp_path_factory) -> Iterator[Loaded]:
    device = local_device(request.param)
    small, large = (
        device.load(network, measured_networks.build_tiny, tmp_path_factory.mktemp("network")) for network in (SMALL, LARGE)
    )
    yield Loaded(device, small, large)
    small.close()
    large.close()
    large.close()  # is allowed


def test_output_equals_jax_before_and_after_many_runs(loaded):
    for network, session in ((SMALL, loaded.small), (LARGE, loaded.large)):
        function, inputs = measured_networks.build_tiny(network)
        expected = np.asarray(function(*map(jnp.asarray, inputs)))
        first = session.output()
        kept = first.copy()
        session.run(3)
        assert np.array_equal(first, kept)  # an output is a copy, not the runtime's buffer
        for output in (first, session.output()):
            np.testing.assert_allclose(output, expected, atol=loaded.device.tolerance * np.abs(expected).max())


def test_other_inputs_give_the_output_that_jax_computes_for_them(loaded):
    function, inputs = measured_networks.build_tiny(SMALL)
    others = (inputs[0][:, ::-1] + 0.5, inputs[1] + 100, inputs[2])
    expected = np.asarray(function(*map(jnp.asarray, others)))
    atol = loaded.device.tolerance * np.abs(expected).max()
    before = loaded.small.output()
    np.testing.assert_allclose(loaded.small.output_of(others), expected, atol=atol)
    assert np.abs(before - expected).max() > 3 * atol
    np.testing.assert_allclose(loaded.small.output_of(inputs), before, rtol=0, atol=0)


def test_every_clock_reads_something_and_a_larger_network_more(loaded):
    small, large = loaded.small.run(5), loaded.large.run(5)
    assert list(small) == list(large)
    for clock, milliseconds in large.items():
        assert milliseconds.shape == (5,)
        assert 0 < small[clock].min() < milliseconds.min()


def test_a_profile_adds_up_to_about_the_run(loaded):
    profile = loaded.large.profile(3)
    if profile is None:
        return
    assert len(profile) > 10
    assert all(kernel.name and kernel.ms >= 0 for kernel in profile)
    run = loaded.large.run(3)["wall"]
    assert 0.2 * run.min() < sum(kernel.ms for kernel in profile) < 20 * run.max()


def test_loading_says_what_a_row_must_record(loaded):
    found = loaded.large.loaded
    assert found.partitions in (1, None)
    assert found.left_out == ()
    assert found.load_ms > 0
    assert found.first_ms > 0
    assert found.model_bytes > loaded.small.loaded.model_bytes > 0


def test_a_network_of_more_weights_needs_more_memory(loaded):
    small, large = loaded.small.loaded.peak_bytes, loaded.large.loaded.peak_bytes
    assert small is not None
    assert large is not None
    assert large > small > 0


def test_fingerprint_is_stable_and_names_what_a_latency_depends_on(loaded):
    fingerprint = loaded.device.fingerprint()
    assert fingerprint == loaded.device.fingerprint()
    assert {"device", "threads", "dtype", "clock", "abi", "system", "cpu", "jax"} <= set(fingerprint)
    assert all(isinstance(value, str) and value for value in fingerprint.values())
    assert fingerprint["device"] == loaded.device.name


def test_its_name_makes_the_same_device_again(loaded):
    assert get_device(loaded.device.name).fingerprint() == loaded.device.fingerprint()
    assert loaded.device.description


@pytest.mark.parametrize("spec", PLAIN)
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (measured_networks.build_two_outputs, "must return one array"),
        (measured_networks.build_zero, "give the network random weights"),
    ],
)
def test_a_function_that_is_no_network_is_refused(spec, build, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        local_device(spec).load(SMALL, build, tmp_path)


def test_every_option_is_in_a_fingerprint():
    fingerprints = [get_device(spec).fingerprint() for spec in ("litert-cpu", *LITERT_OPTIONS)]
    assert [f["threads"] for f in fingerprints] == ["1", "2", "1", "1"]
    assert [f["dtype"] for f in fingerprints] == ["float32", "float32", "float16", "int8"]
    assert ["ai-edge-quantizer" in f for f in fingerprints] == [False, False, True, True]
    assert fingerprints[0]["clock"] != fingerprints[1]["clock"]


def test_builders_cross_into_child_processes():
    assert pickle.loads(pickle.dumps(measured_networks.build_tiny)) is measured_networks.build_tiny


@pytest.mark.parametrize(
    ("output", "reference", "message"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), "returns shape"),
        (np.ones(4), np.full(4, 1.001), "differs from JAX by 1.0e-03 of the largest output, allowed is 1e-04"),
        (np.ones(4), np.full(4, np.nan), "must be finite"),
        (np.full(4, np.nan), np.ones(4), "differs from JAX"),
    ],
)
def test_outputs_that_differ_are_refused(output, reference, message):
    with pytest.raises(ValueError, match=message):
        check_equal(output, reference, device="d", tolerance=1e-4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gpu", "no device 'gpu'; known are litert-cpu, "),
        ("litert-cpu:threads=3", "option threads must be one of 1, 2, got '3'; write litert-cpu\\[:threads=1\\|2"),
        ("litert-cpu:dtype=bfloat16", "dtype must be one of float32, float16, int8, got 'bfloat16'"),
        ("litert-cpu:cores=2", "option 'cores' is not known; known are threads, dtype"),
        ("litert-builtin:threads=2", "option 'threads' is not known; known are none; write litert-builtin"),
        ("litert-builtin:phone", "takes no argument, got 'phone'"),
        ("xla-cpu:a,b", "takes one argument, got a, b"),
        (
            "xla-gpu:dtype=float16",
            "dtype must be one of float32, bfloat16, got 'float16'; write xla-gpu\\[:dtype=float32\\|bfloat16",
        ),
    ],
)
def test_a_device_that_is_not_there_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        get_device(spec)


def test_a_runtime_that_came_as_another_distribution_is_named(monkeypatch):
    monkeypatch.setattr("latency_models.device.packages_distributions", lambda: {"jax_of_tonight": ["jax"]})
    assert installed_version("jax-of-tonight") == f"jax {importlib.metadata.version('jax')}"
    with pytest.raises(ValueError, match="package no-such is not installed"):
        installed_version("no-such")


def test_default_falls_back_and_names_the_missing_part(monkeypatch, capsys):
    assert default_device().name == "litert-cpu"
    monkeypatch.setattr(device_module, "missing_packages", lambda name: ["litert_converter"] * name.startswith("litert"))
    assert default_device().name == "xla-cpu"
    assert "needs litert_converter, not installed here" in capsys.readouterr().err
    get_device.cache_clear()
    with pytest.raises(ValueError, match="install litert-converter or use device 'xla-cpu'"):
        get_device("litert-cpu")


def test_generations_of_a_processor_are_told_apart(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nstepping\t: 1\n\nprocessor\t: 1\n"
    )
    assert _cpu_model(cpuinfo) == "AMD EPYC (cpu family 26, model 2, stepping 1)"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Cortex-X4\n")
    assert _cpu_model(cpuinfo) == "Cortex-X4"
    assert _cpu_model(tmp_path / "none")
