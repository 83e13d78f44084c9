"""Progress without a terminal: few lines, each with what is done and what is left."""

import pytest

from experiments import progress
from experiments.progress import duration, silent_progress, terminal_progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_seldom_and_estimate_what_is_left(clock, capsys):
    with terminal_progress() as display, display.stage("training", 100, done=20) as stage:
        for _ in range(40):
            clock[0] += 1.0
            stage.advance(note="loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "training: 100 steps, 20 done before",
        "training: 35 of 100, about 1 min 5 s left, loss 0.5",
        "training: 50 of 100, about 50 s left, loss 0.5",
        "training: done in 40 s, loss 0.5",
    ]


def test_silence_says_nothing(capsys):
    display = silent_progress()
    with display.stage("training", 2) as stage:
        stage.advance(2)
    display.say("done")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text
