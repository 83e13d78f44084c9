"""The loss over the steps of a training, for programs (`history.json`), for TensorBoard, and for whoever logs it."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from experiments.errors import InputError
from experiments.json_files import is_number, read_json
from experiments.whole_files import naming, write_whole

HISTORY, EVENTS = "history.json", "tensorboard"
_NUM_POINTS = 200
SeriesLog = Callable[[int, Mapping[str, float]], None]  # (step, values by name)


class DivergedError(InputError):
    """A training whose loss is not finite."""


class _Events:
    """TensorBoard's file of scalars.

    The library's `SummaryWriter` writes it from a thread. A full disk ends that thread, and then a training waits for it for
    ever; here whoever adds a point gets the error.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        """Begins a file; what other files of the folder say of `first_step` and later is void."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._protocol: Any = event_pb2
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        with naming(folder):
            self._writer = EventsWriter(str(folder / "events"))
            self._write(step=first_step, session_log=self._protocol.SessionLog(status=self._protocol.SessionLog.START))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the values of a step."""
        from tensorboardX.summary import scalar

        with naming(self._folder):
            for name, value in values.items():
                self._write(step=step, summary=scalar(name, value))
            self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        with naming(self._folder):
            self._writer.close()

    def _write(self, **keys: Any) -> None:
        self._writer.write_event(self._protocol.Event(wall_time=time.time(), **keys))


class TrainingCurve:
    """Means of losses over about two hundred spans of steps; a training that goes on goes on with its curve.

    Attributes:
        points: one for each span, with the number of its last step.
    """

    def __init__(self, folder: Path | None, *, num_steps: int, done: int = 0, log: SeriesLog | None = None) -> None:
        """Starts behind the last step that is done; what was written beyond it is dropped.

        Args:
            folder: of both files; None to keep nothing.
            num_steps: of the whole training.
            done: steps that a training before has done.
            log: is told of each new point once it is saved.
        """
        self._folder, self._num_steps, self._every = folder, num_steps, max(1, num_steps // _NUM_POINTS)
        self._losses: list[Mapping[str, Any]] = []
        self._log = log
        self._events: _Events | None = None
        kept = folder / HISTORY if folder else None
        self.points = [point for point in (_read_points(kept) if kept else []) if point["step"] <= done]
        self._num_logged = len(self.points)
        if folder:
            self._events = _Events(folder / EVENTS, first_step=done + 1)

    def __enter__(self) -> "TrainingCurve":
        """Is closed when the block ends."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes TensorBoard's file."""
        if self._events:
            self._events.close()

    def add(self, step: int, losses: Mapping[str, Any], *, ends_span: bool = False) -> str | None:
        """Takes the losses of a step, arrays that may still be computed; where a span ends, what is to be said of it.

        Args:
            step: its number, from 1.
            losses: by name; `loss` is the one that is minimised.
            ends_span: whether the next step belongs to something else.

        Raises:
            DivergedError: a loss of the span is not finite.
        """
        self._losses.append(losses)
        if step % self._every and step != self._num_steps and not ends_span:
            return None
        means = {name: float(np.mean([of[name] for of in self._losses])) for name in losses}
        self._losses.clear()
        if bad := [name for name, mean in means.items() if not math.isfinite(mean)]:
            raise DivergedError(f"training diverged: at step {step} the {bad[0]} is {means[bad[0]]}; lower the learning rate")
        self.points.append({"step": step, **means})
        if self._events:
            self._events.add(step, means)
        return ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())

    def save(self) -> None:
        """Writes `history.json` as a whole, and logs what is new in it: points that a retreat takes back are in neither."""
        if self._folder:
            write_whole(self._folder / HISTORY, json.dumps(self.points) + "\n")
        if self._log:
            _log_points(self.points[self._num_logged :], self._log)
        self._num_logged = len(self.points)


def log_history(folder: Path, log: SeriesLog) -> int:
    """Logs what a folder's `history.json` holds, where there is one; returns its last step, or 0."""
    _log_points(_read_points(folder / HISTORY), log)
    return last_step(folder)


def last_step(folder: Path) -> int:
    """The last step in a folder's `history.json`; 0 where there is none."""
    points = _read_points(folder / HISTORY)
    return points[-1]["step"] if points else 0


def _read_points(path: Path) -> list[dict[str, Any]]:
    points = read_json(path) or []
    if not isinstance(points, list) or not all(isinstance(x, dict) and is_number(x.get("step")) for x in points):
        raise InputError(f"{path}: these are no losses of a training, each with its step; delete it, a new curve is begun")
    return points


def _log_points(points: Sequence[Mapping[str, Any]], log: SeriesLog) -> None:
    for point in points:
        log(point["step"], {name: value for name, value in point.items() if name != "step"})
