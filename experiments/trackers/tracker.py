"""What a tracker is, what it is told about a run, and the log that the rest of the program writes to."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from experiments.nested import flattened

# (series, step, values by name): the numbers of one step of a series, whose steps are counted from 1 and only grow.
Log = Callable[[str, int, Mapping[str, float]], None]
# Opens the log of a training in a folder, where what goes on is found again, that is given these settings.
Tracking = Callable[[Path, Mapping[str, Any]], AbstractContextManager[Log]]


@dataclasses.dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told when it is opened.

    Attributes:
        folder: in which a local store is made.
        key: letters and digits by which the run is found again when it goes on.
        name: for people.
        settings: what it was started with, as plain data, nested or not.
    """

    folder: Path
    key: str
    name: str
    settings: Mapping[str, Any]


@runtime_checkable
class Tracker(Protocol):
    """Where the numbers of one run go. A class of it is opened with a `TrackedRun`; every method may fail."""

    def last_steps(self) -> Mapping[str, int]:
        """By series, the last step that it had when it was opened."""
        ...

    def log(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Takes a step that it does not have; may hold it back for a moment."""
        ...

    def close(self, *, is_done: bool) -> None:
        """Writes what it holds back, and that the run has ended, well or not."""
        ...


def log_nothing(series: str, step: int, values: Mapping[str, float]) -> None:
    """The log of what is not tracked."""


def untracked(folder: Path, settings: Mapping[str, Any]) -> AbstractContextManager[Log]:
    """Opens the log of a training that is not tracked."""
    return contextlib.nullcontext(log_nothing)


def dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings as one mapping; lists become text, and what is null is left out.

    >>> dotted({"data": "digits", "search": {"batch": None, "population": 24}, "objectives": ["macs"]})
    {'data': 'digits', 'search.population': 24, 'objectives': '["macs"]'}
    """
    told = {key: value for key, value in flattened(settings).items() if value is not None}
    return {key: json.dumps(value) if isinstance(value, list | tuple) else value for key, value in told.items()}
