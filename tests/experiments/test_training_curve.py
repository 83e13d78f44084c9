"""The loss over time: its points, that a resumed training goes on with them, and what TensorBoard reads."""

import errno
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from experiments.errors import InputError
from experiments.training_curve import EVENTS, HISTORY, TrainingCurve, log_history

ROOT = Path(__file__).parents[2]


def events(folder):
    """Steps and losses, and the steps from which on TensorBoard drops what came before, in the order of the files."""
    scalars, purged = [], []
    for path in sorted((folder / EVENTS).iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            if event.HasField("session_log"):
                purged.append(event.step)
            scalars += [(event.step, value.simple_value) for value in event.summary.value if value.tag == "loss"]
    return scalars, purged


def train(folder, *, start=0, end, num_steps):
    with TrainingCurve(folder, num_steps=num_steps, done=start) as curve:
        notes = [curve.add(step, {"loss": 100.0 - step}) for step in range(start + 1, end + 1)]
        curve.save()
    return notes


def test_points_are_means_of_spans_and_the_last_step_ends_one(tmp_path):
    notes = train(tmp_path, end=1001, num_steps=1001)
    points = json.loads((tmp_path / HISTORY).read_text())
    assert [point["step"] for point in points] == [*range(5, 1001, 5), 1001]
    assert points[0]["loss"] == pytest.approx(97)
    assert notes[:5] == [None] * 4 + ["loss 97.0000"]
    scalars, _ = events(tmp_path)
    assert scalars == [(point["step"], pytest.approx(point["loss"], rel=1e-6)) for point in points]


def test_a_training_that_goes_on_goes_on_with_its_curve(tmp_path):
    train(tmp_path / "whole", end=40, num_steps=40)
    train(tmp_path / "cut", end=30, num_steps=40)  # killed at 30, and its last checkpoint is of 20
    train(tmp_path / "cut", start=20, end=40, num_steps=40)
    assert (tmp_path / "cut" / HISTORY).read_bytes() == (tmp_path / "whole" / HISTORY).read_bytes()
    _, purged = events(tmp_path / "cut")
    assert 21 in purged


FULL = """
import resource, sys
from pathlib import Path
from experiments.training_curve import TrainingCurve
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with TrainingCurve(Path(sys.argv[1]), num_steps=1000) as curve:
    for step in range(1, 1001):
        curve.add(step, {"loss": 1.0})
"""


def test_a_full_disk_ends_a_training_with_an_error_that_names_the_folder(tmp_path):
    call = [sys.executable, "-c", FULL, str(tmp_path)]
    found = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == f"OSError: [Errno {errno.EFBIG}] File too large: '{tmp_path / EVENTS}'"


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    with TrainingCurve(tmp_path, num_steps=4) as curve:
        curve.add(1, {"loss": 1.0})
        with pytest.raises(InputError, match="training diverged: at step 2 the loss is nan; lower the learning rate"):
            curve.add(2, {"loss": float("nan")})


@pytest.mark.parametrize(
    ("text", "told"),
    [("[{", "this is no JSON file"), ('{"a": 1}', "these are no losses"), ('[{"loss": 1}]', "these are no losses")],
)
def test_a_damaged_history_is_told(tmp_path, text, told):
    (tmp_path / HISTORY).write_text(text)
    with pytest.raises(InputError, match=told):
        TrainingCurve(tmp_path, num_steps=4)
    with pytest.raises(InputError, match=told):
        log_history(tmp_path, lambda *_: None)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(None, end=3, num_steps=3)
    assert not list(tmp_path.iterdir())


def test_a_log_is_told_new_points_and_from_the_file_all_of_them(tmp_path):
    train(tmp_path, end=2, num_steps=4)
    new, every = {}, {}
    with TrainingCurve(tmp_path, num_steps=4, done=2, log=new.__setitem__) as curve:
        curve.add(3, {"loss": 1.5})
        curve.add(4, {"loss": 0.5})
        curve.save()
    assert new == {3: {"loss": 1.5}, 4: {"loss": 0.5}}
    assert log_history(tmp_path, every.__setitem__) == 4
    assert every == {1: {"loss": 99.0}, 2: {"loss": 98.0}} | new
    assert log_history(tmp_path / "nothing", every.__setitem__) == 0


def test_points_that_were_not_saved_before_a_training_stepped_back_are_not_logged(tmp_path):
    logged = []
    with TrainingCurve(tmp_path, num_steps=4, log=lambda step, values: logged.append((step, values))) as curve:
        curve.add(1, {"loss": 1.0})
        curve.save()
        curve.add(2, {"loss": 2.0})
    with TrainingCurve(tmp_path, num_steps=4, done=1, log=lambda step, values: logged.append((step, values))) as curve:
        curve.add(2, {"loss": -2.0})
        curve.save()
        curve.save()
    assert logged == [(1, {"loss": 1.0}), (2, {"loss": -2.0})]
    assert [point["loss"] for point in json.loads((tmp_path / HISTORY).read_text())] == [1.0, -2.0]
