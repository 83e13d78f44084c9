"""The contract of every device: it computes what JAX computes, is timed sensibly, and refuses with a reason."""

import jax.numpy as jnp
import numpy as np
import pytest

from latency_models import device as device_module
from latency_models import litert_conversion
from latency_models.device import Device, check_equal, default_device, device_names, get_device
from latency_models.litert_converter_process import ConverterProcess
from latency_models.timing import TimingProtocol, time_interleaved


@pytest.fixture(params=device_names())
def device(request) -> Device:
    return get_device(request.param)


def test_output_equals_jax_also_after_many_runs(device, make_network):
    function, inputs = make_network(16)
    runnable = device.prepare(function, inputs)
    expected = np.asarray(function(*map(jnp.asarray, inputs)))
    for _ in range(3):
        np.testing.assert_allclose(runnable(), expected, atol=1e-5)
    first = runnable()
    kept = first.copy()
    runnable.run()
    assert np.array_equal(first, kept)  # an output is a copy, not the runtime's buffer
    assert runnable.model_bytes > 0


def test_time_is_positive_and_grows_with_the_network(device, make_network):
    runs = [device.prepare(*make_network(width, 16)).run for width in (8, 64)]
    protocol = TimingProtocol(rounds=3, repeats_per_round=10)
    small, large = time_interleaved(runs, device.clock, protocol=protocol)
    assert 0 < small.ms < large.ms
    assert small.low <= small.ms <= small.high
    assert small.n == 30


def test_fingerprint_is_stable_and_names_the_runtime(device):
    fingerprint = device.fingerprint()
    assert fingerprint == device.fingerprint()
    assert {"device", "threads", "clock", "abi", "cpu", "jax"} <= set(fingerprint)
    assert all(isinstance(value, str) and value for value in fingerprint.values())


def test_refuses_a_function_of_several_outputs(device):
    with pytest.raises(ValueError, match="must return one array"):
        device.prepare(lambda x: (x, x), (np.ones((1, 4), np.float32),))


def test_refuses_a_network_whose_output_is_constant_zero(device):
    with pytest.raises(ValueError, match="give the network random weights"):
        device.prepare(lambda x: 0.0 * x, (np.ones((1, 4), np.float32),))


def test_a_whole_network_is_one_partition(make_network):
    assert get_device("litert-cpu").prepare(*make_network(16)).partitions == 1


def test_converter_refuses_with_its_reason_and_serves_on(make_network):
    def matmul_of_rank_4(x):
        return x.mean((1, 2), keepdims=True) @ jnp.asarray(np.random.default_rng(0).standard_normal((4, 4), np.float32)) - x

    inputs = (np.random.default_rng(0).standard_normal((1, 8, 8, 4)).astype(np.float32),)
    with pytest.raises(ValueError, match=r"converter refuses this network.*batch_matmul"):
        get_device("litert-cpu").prepare(matmul_of_rank_4, inputs)
    assert get_device("litert-cpu").prepare(*make_network(8)).model_bytes > 0


def test_a_crash_of_the_converter_is_a_refusal_and_the_next_conversion_works(monkeypatch, tmp_path):
    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal, sys\nsys.stdin.buffer.read(8)\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    converter = ConverterProcess()
    with monkeypatch.context() as patched:
        patched.setattr(litert_conversion, "__file__", str(crash))
        with pytest.raises(ValueError, match=r"crashed \(SIGSEGV\) on this network"):
            converter.convert(b"x" * 100_000, 1)
    with pytest.raises(ValueError, match="refuses this network"):  # a new child answers
        converter.convert(b"not a module", 1)


@pytest.mark.parametrize(
    ("output", "reference", "message"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), "returns shape"),
        (np.ones(4), np.full(4, 1.001), "differs from JAX by"),
        (np.ones(4), np.full(4, np.nan), "must be finite"),
        (np.full(4, np.nan), np.ones(4), "differs from JAX"),
    ],
)
def test_outputs_that_differ_are_refused(output, reference, message):
    with pytest.raises(ValueError, match=message):
        check_equal(output, reference, device="d")


def test_unknown_device_is_refused_with_the_table():
    with pytest.raises(ValueError, match="no device 'gpu'; known are litert-cpu, xla-cpu"):
        get_device("gpu")


def test_default_falls_back_and_names_the_missing_part(monkeypatch, capsys):
    assert default_device().name == "litert-cpu"
    monkeypatch.setattr(device_module, "_missing_packages", lambda name: ["litert_converter"] * (name == "litert-cpu"))
    assert default_device().name == "xla-cpu"
    assert "needs litert_converter, not installed here" in capsys.readouterr().err
    get_device.cache_clear()
    with pytest.raises(ValueError, match="install litert-converter or use device 'xla-cpu'"):
        get_device("litert-cpu")
