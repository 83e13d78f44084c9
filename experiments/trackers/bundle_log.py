"""What is logged of a bundle's training: the losses over time, and what the new bundle promises."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from experiments.bundle import read_expected
from experiments.trackers.registry import check_installed
from experiments.trackers.tracker import Log, TrackedRun, Tracking, untracked
from experiments.trackers.tracking import kept_key, track
from experiments.training_curve import log_history


def track_bundle(names: Sequence[str], bundle: Path, *, command: str, say: Callable[[str], None]) -> Tracking:
    """Opens a run for each training of a bundle, the same for one that goes on; local stores lie in the bundle's folder.

    Args:
        names: of trackers.
        bundle: whose folder it is.
        command: what is done to it, for people.
        say: is told of failures.

    Raises:
        InputError: a name is unknown, or its package is not installed.
    """
    check_installed(names)

    def tracking(folder: Path, settings: Mapping[str, Any]) -> AbstractContextManager[Log]:
        name = f"{command} {settings['architecture']}"
        return track(names, TrackedRun(bundle, kept_key(folder), name, {"command": command, **settings}), say)

    return tracking if names else untracked


def log_bundle(folder: Path, log: Log) -> None:
    """Logs a bundle that was trained: `training`, its history, and `expected`, its promises, at the last step."""
    steps = log_history(folder, functools.partial(log, "training"))
    promises = read_expected(folder)["promises"]
    log("expected", steps, {name: promise["value"] for name, promise in promises.items()})
