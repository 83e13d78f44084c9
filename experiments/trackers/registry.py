"""The trackers that can be asked for by name."""

import dataclasses
import difflib
import importlib.util
from collections.abc import Callable, Sequence

from experiments.errors import InputError
from experiments.trackers.tracker import TrackedRun, Tracker


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A tracker that is known: the module that it imports, the package that has it, and what opens it."""

    module: str
    package: str
    open: Callable[[TrackedRun], Tracker]


def _mlflow(run: TrackedRun) -> Tracker:
    from experiments.trackers.mlflow_tracker import MLflowTracker

    return MLflowTracker(run)


def _wandb(run: TrackedRun) -> Tracker:
    from experiments.trackers.wandb_tracker import WandbTracker

    return WandbTracker(run)


_KINDS = {
    "mlflow": _Kind("mlflow", "mlflow-skinny or mlflow", _mlflow),
    "wandb": _Kind("wandb", "wandb", _wandb),
}


def tracker_names() -> tuple[str, ...]:
    """Names that can be asked for."""
    return tuple(_KINDS)


def known_tracker(name: str) -> str:
    """The name itself.

    Raises:
        InputError: no tracker is called so.
    """
    if name not in _KINDS:
        nearest = difflib.get_close_matches(name, _KINDS, n=1, cutoff=0.0)[0]
        raise InputError(f"there is no tracker {name!r}; did you mean {nearest!r}? Known: {', '.join(_KINDS)}")
    return name


def check_installed(names: Sequence[str]) -> None:
    """Looks for the packages of trackers without importing them.

    Raises:
        InputError: a name is unknown, or its package is not installed; the message names the package.
    """
    for name in names:
        kind = _KINDS[known_tracker(name)]
        if importlib.util.find_spec(kind.module) is None:
            raise InputError(
                f"tracker {name!r} needs {kind.package}, which is not installed here; `make install` brings it, or leave the "
                "tracker out"
            )


def open_tracker(name: str, run: TrackedRun) -> Tracker:
    """A tracker by its name, ready to log a run; whatever its library raises comes through."""
    return _KINDS[known_tracker(name)].open(run)
