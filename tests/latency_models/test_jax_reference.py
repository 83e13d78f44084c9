"""The process in which JAX builds networks: kept for small ones, replaced after large ones, and a message when it is killed."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import measured_networks
import pytest

from latency_models import jax_reference
from latency_models.jax_reference import JaxProcess, check_free_memory, compute, use_cpu

SMALL = measured_networks.sized(8)


def test_one_child_serves_small_networks_asked_for_from_several_threads():
    process = JaxProcess(use_cpu)
    with ThreadPoolExecutor(2) as threads:
        numbers = set(threads.map(lambda _: process.call(measured_networks.process_id, SMALL), range(4)))
    process.close()
    assert len(numbers) == 1
    assert os.getpid() not in numbers


def test_a_large_network_has_a_child_of_its_own_that_has_ended_when_its_result_is_there(monkeypatch):
    monkeypatch.setattr(jax_reference, "_LARGE_BYTES", 0)
    process = JaxProcess(use_cpu)
    first, second = (process.call(measured_networks.process_id, SMALL) for _ in range(2))
    assert first != second
    for number in (first, second):
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


def test_a_large_network_without_memory_for_it_is_refused(monkeypatch):
    monkeypatch.setattr(jax_reference, "_LARGE_BYTES", 0)
    monkeypatch.setattr(jax_reference, "_LOWERING_COPIES", 1e10)
    with pytest.raises(ValueError, match=r"needs about .* GB of free memory for JAX to lower it, .* GB are free; end other"):
        JaxProcess(use_cpu).call(measured_networks.process_id, SMALL)


def test_a_child_that_is_killed_is_a_message_and_the_next_network_is_served():
    process = JaxProcess(use_cpu)
    with pytest.raises(ValueError, match="was killed; is there enough free memory"):
        process.call(compute, SMALL, measured_networks.build_killed)
    assert process.call(measured_networks.process_id, SMALL) != os.getpid()
    process.close()


@pytest.mark.parametrize("error", [RuntimeError("RESOURCE_EXHAUSTED: out of memory"), ValueError("one array"), MemoryError()])
def test_what_jax_refuses_in_the_child_is_a_refusal_here(error):
    process = JaxProcess(use_cpu)
    try:
        with pytest.raises(ValueError, match="RESOURCE_EXHAUSTED|one array|MemoryError") as caught:
            process.call(raising, SMALL, error)
        assert caught.traceback[-1].path.name == "jax_reference.py"
    finally:
        process.close()


def raising(network, error):
    raise error


def test_the_child_ends_with_a_parent_that_is_killed():
    """Started as a program of its own, that is killed as soon as it has said who its child is."""
    program = (
        "import sys, time, test_jax_reference as here\n"
        "from latency_models.jax_reference import JaxProcess\n"
        "if __name__ == '__main__':\n"
        "    print(JaxProcess(here.nothing).call(here.child, here.SMALL), flush=True)\n"
        "    time.sleep(600)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def nothing():
    pass


def child(network):
    return os.getpid()


def test_memory_that_is_there_is_no_reason_to_refuse():
    check_free_memory(1, "a test")
