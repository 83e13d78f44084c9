"""XLA's programs: weights are their arguments, they are stored and loaded without a compiler, and need what they plan."""

import os
from pathlib import Path

import measured_networks
import numpy as np
import pytest

from latency_models.device import get_device
from latency_models.jax_reference import JaxProcess
from latency_models.xla import XlaCpu
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
