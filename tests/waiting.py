"""Waiting for what other processes do."""

import time


def wait_for(condition, *, seconds=300):
    """Returns once the condition holds; it must within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not get on"
        time.sleep(0.01)
