"""A runtime that dies or refuses in its child process: a message, and nothing hangs."""

import measured_networks
import numpy as np
import pytest

from latency_models.local_session import LocalSession


@pytest.mark.parametrize(
    ("load", "signal_name"),
    [(measured_networks.dying_of_a_crash, "SIGSEGV"), (measured_networks.dying_of_a_kill, "SIGKILL")],
)
def test_a_death_at_a_run_is_a_message_and_so_is_every_request_after_it(load, signal_name):
    session = LocalSession(load, subject="device 'd'")
    assert np.array_equal(session.output(), np.ones(1))
    with pytest.raises(ValueError, match="device 'd': no profile of 3 runs"):  # an error is no death
        session.profile(3)
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"device 'd' crashed \({signal_name}\) when asked to run this network"):
            session.run(1)
    session.close()


def test_a_runtime_that_does_not_load_says_why_in_its_own_words():
    with pytest.raises(ValueError, match="device 'd': cannot load; it says: ERROR: the first cause$"):
        LocalSession(measured_networks.not_loading, subject="device 'd'")


def test_what_the_runtime_takes_when_it_starts_is_not_the_networks():
    peaks = []
    for load, start in (
        (measured_networks.hold_memory, None),
        (measured_networks.dying_of_a_kill, measured_networks.hold_memory),
    ):
        session = LocalSession(load, start=start, subject="device 'd'")
        session.close()
        peaks.append(session.loaded.peak_bytes)
    in_load, at_start = peaks
    assert at_start < 10e6 < 100e6 <= in_load


def test_a_runtime_that_does_not_start_says_why():
    with pytest.raises(ValueError, match="device 'd': cannot load; it says: ERROR: the first cause$"):
        LocalSession(measured_networks.dying_of_a_kill, start=measured_networks.not_loading, subject="device 'd'")


def test_a_card_counts_its_own_memory():
    session = LocalSession(measured_networks.on_a_card, subject="device 'd'")
    session.close()
    assert session.loaded.peak_bytes == 12345
