"""XLA's programs: weights are their arguments, they are stored and loaded without a compiler, and need what they plan."""

import importlib.metadata
import os
import platform
from pathlib import Path

import jax
import jax.numpy as jnp
import measured_networks
import numpy as np
import pytest

from latency_models.device import check_equal, get_device
from latency_models.jax_reference import JaxProcess
from latency_models.xla import XlaCpu, describe_gpu
from latency_models.xla_program import ARGUMENTS_FILE, PROGRAM_FILE, XlaRunnable, compile_program

LARGE = measured_networks.sized(512, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A compiled program of some megabytes of weights."""
    folder = tmp_path_factory.mktemp("program")
    compile_program(LARGE, measured_networks.build_tiny, folder)
    return folder


def test_weights_are_arguments_and_not_in_the_program(folder):
    with np.load(folder / ARGUMENTS_FILE) as stored:
        weights, inputs = ([stored[name] for name in stored.files if name.startswith(kind)] for kind in ("weight", "input"))
    _, expected = measured_networks.build_tiny(LARGE)
    assert [x.shape for x in inputs] == [x.shape for x in expected]
    assert sorted(x.shape for x in weights) == sorted([(3, 3, 4, 512), (3, 3, 512, 4), *[(512, 512)] * 3, (1, 512)])
    assert (folder / PROGRAM_FILE).stat().st_size < 0.1 * sum(x.nbytes for x in weights)


def test_a_loaded_program_says_what_it_holds(folder):
    runnable = XlaRunnable(folder, clocks=("wall",))
    assert runnable.model_bytes == 4 * (2 * 9 * 4 * 512 + 3 * 512**2 + 512)
    runnable.run()
    assert runnable.output().shape == (1, 16, 16, 4)


def test_peak_memory_is_what_the_program_plans_and_some_megabytes_of_the_runtime(folder, tmp_path):
    plan = XlaRunnable(folder, clocks=("wall",))._program.get_compiled_memory_stats()
    planned = plan.argument_size_in_bytes + plan.temp_size_in_bytes + plan.output_size_in_bytes
    session = get_device("xla-cpu").load(LARGE, measured_networks.build_tiny, tmp_path)
    session.close()
    assert session.loaded.peak_bytes is not None
    assert planned < session.loaded.peak_bytes < planned + 40e6  # a compiler alone leaves more


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not hold a process to a core")
def test_a_program_is_compiled_and_run_for_one_core():
    process = JaxProcess(XlaCpu.start)
    assert process.call(measured_networks.cores, LARGE) == 1
    process.close()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_stays_with_the_process_between_runs():
    process = JaxProcess(XlaCpu.start)
    assert process.call(measured_networks.page_faults_of_a_run, LARGE) < 1000
    process.close()


@pytest.fixture(scope="module")
def narrow_folder(tmp_path_factory) -> Path:
    """The same program in bfloat16."""
    folder = tmp_path_factory.mktemp("bfloat16")
    compile_program(LARGE, measured_networks.build_tiny, folder, "bfloat16")
    return folder


def test_bfloat16_is_near_float32_and_not_equal(narrow_folder):
    runnable = XlaRunnable(narrow_folder, clocks=("wall",))
    runnable.run()
    function, inputs = measured_networks.build_tiny(LARGE)
    reference = np.asarray(function(*map(jnp.asarray, inputs)))
    assert runnable.output().dtype == np.float32
    check_equal(runnable.output(), reference, device="xla-gpu", tolerance=get_device("xla-gpu:dtype=bfloat16").tolerance)
    with pytest.raises(ValueError, match="differs from JAX"):
        check_equal(runnable.output(), reference, device="xla-gpu", tolerance=1e-4)


def test_bfloat16_weights_are_stored_as_such_and_the_time_step_is_not(folder, narrow_folder):
    wide, narrow = (XlaRunnable(x, clocks=("wall",)) for x in (folder, narrow_folder))
    assert 2 * narrow.model_bytes == wide.model_bytes
    assert [x.dtype for x in narrow._arguments[-3:]] == [jnp.bfloat16, jnp.float32, jnp.bfloat16]


def test_bfloat16_refuses_what_it_cannot_look_into(tmp_path):
    with pytest.raises(ValueError, match="operation 'scan' holds a program of its own; measure with dtype=float32"):
        compile_program(LARGE, measured_networks.build_loop, tmp_path, "bfloat16")


def test_settings_reach_the_compiler(tmp_path):
    compile_program(LARGE, measured_networks.build_tiny, tmp_path, settings={"xla_gpu_autotune_level": "0"})
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option: 'level'"):
        compile_program(LARGE, measured_networks.build_tiny, tmp_path, settings={"level": "0"})


def test_no_gpu_is_told_with_the_remedy_wherever_it_is_asked_for(tmp_path):
    device = get_device("xla-gpu")
    if importlib.metadata.entry_points(group="jax_plugins"):
        pytest.skip("a plugin for a GPU is installed here")
    reason = device.absence()
    assert reason is not None
    assert reason.startswith("JAX sees no GPU here: its CUDA plugin is not installed; on a machine with an NVIDIA GPU run ")
    assert reason.endswith("`make install EXTRAS=cuda`, or install jax[cuda13]")
    with pytest.raises(ValueError, match="JAX sees no GPU here"):
        device.fingerprint()
    with pytest.raises(ValueError, match="JAX sees no GPU here"):
        device.load(LARGE, measured_networks.build_tiny, tmp_path)


def test_a_plugin_without_a_gpu_is_told_in_jax_own_words(monkeypatch):
    monkeypatch.setattr("latency_models.xla._gpu_packages", lambda: ("jax-cuda13-pjrt",))
    device = get_device("xla-gpu")
    if jax.default_backend() == "gpu":
        pytest.skip("there is a GPU here")
    assert (device.absence() or "").startswith("JAX sees no GPU here: ")


def test_a_gpu_is_described_by_what_jax_and_the_driver_tell(monkeypatch, tmp_path):
    driver = tmp_path / "version"
    monkeypatch.setattr("latency_models.xla._DRIVER", driver)
    assert describe_gpu(jax.devices("cpu")[0]) == {"gpu": "cpu", "platform": "cpu", "driver": "unknown"}
    driver.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12.2.0"
    )
    assert describe_gpu(jax.devices("cpu")[0])["driver"] == "550.54.15"
