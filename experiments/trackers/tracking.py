"""Opens trackers for a run, tells each what it does not have yet, and keeps their failures from the run."""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from experiments.trackers.registry import check_installed, open_tracker
from experiments.trackers.tracker import Log, TrackedRun, Tracker
from experiments.whole_files import write_whole

_KEY = "tracker_key"


def kept_key(folder: Path) -> str:
    """The key by which trackers find again what goes on in a folder; drawn the first time, and kept there."""
    path = folder / _KEY
    if not path.is_file():
        write_whole(path, secrets.token_hex(8))
    return path.read_text("utf-8")


@contextlib.contextmanager
def track(names: Sequence[str], run: TrackedRun, say: Callable[[str], None]) -> Iterator[Log]:
    """The log of a run, which goes to every tracker; steps that a tracker has are not told it again.

    A tracker that fails, at whatever, is told of once and left out from there on: no run ends for it.

    Args:
        names: of trackers.
        run: what they are told about the run.
        say: is told of failures.

    Raises:
        InputError: a name is unknown, or its package is not installed.
    """
    check_installed(names)
    trackers = _Trackers(say)
    for name in dict.fromkeys(names):
        trackers.open(name, run)
    try:
        yield trackers.log
    except BaseException:
        trackers.close(is_done=False)
        raise
    trackers.close(is_done=True)


class _Trackers:
    """Those that are open and have not failed, each with the last step that it has of every series."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._open: dict[str, tuple[Tracker, dict[str, int]]] = {}

    def open(self, name: str, run: TrackedRun) -> None:
        with self._leaving_out(name):
            tracker = open_tracker(name, run)
            self._open[name] = (tracker, dict(tracker.last_steps()))

    def log(self, series: str, step: int, values: Mapping[str, float]) -> None:
        for name, (tracker, last_steps) in list(self._open.items()):
            if step > last_steps.get(series, 0):
                with self._leaving_out(name):
                    tracker.log(series, step, values)
                    last_steps[series] = step

    def close(self, *, is_done: bool) -> None:
        for name, (tracker, _) in list(self._open.items()):
            with self._leaving_out(name):
                tracker.close(is_done=is_done)

    @contextlib.contextmanager
    def _leaving_out(self, name: str) -> Iterator[None]:
        """A failure inside is told, and is the last that is heard of the tracker."""
        try:
            yield
        except Exception as error:
            self._open.pop(name, None)
            told = str(error).partition("\n")[0]
            self._say(f"warning: tracker {name} failed and is left out from here on: {type(error).__name__}: {told}")
