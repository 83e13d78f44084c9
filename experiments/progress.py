"""Progress of long stages, with an estimate of the time left: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

# A line in a log file for each of these: seldom enough to read, often enough to see that it lives.
_SECONDS_BETWEEN_LINES = 15.0


@runtime_checkable
class Progress(Protocol):
    """What a long stage reports to; call `stage`, and inside it the function that it gives, once for every step."""

    def stage(self, title: str, total: int, *, done: int = 0) -> AbstractContextManager["Stage"]:
        """A stage of `total` steps, `done` of which need no doing again."""
        ...

    def say(self, text: str) -> None:
        """One line that stays on the screen."""
        ...


@runtime_checkable
class Stage(Protocol):
    """One stage of a run while it lasts."""

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        """Says that so many steps more are done, and in a few words how it stands (a loss, a count)."""
        ...


def reaching(stage: Stage, done: int) -> Callable[[int, str], None]:
    """Tells a stage how far it is in all, and how it stands, where that is what is known; `done` were done before."""

    def reach(now: int, note: str) -> None:
        nonlocal done
        stage.advance(now - done, note=note)
        done = now

    return reach


class _Silent:
    def stage(self, title: str, total: int, *, done: int = 0) -> AbstractContextManager[Stage]:
        return contextlib.nullcontext(self)

    def say(self, text: str) -> None:
        pass

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        pass


def silent_progress() -> Progress:
    """Says nothing: for tests, and for callers who have a display of their own."""
    return _Silent()


@contextlib.contextmanager
def terminal_progress() -> Iterator[Progress]:
    """Bars on standard error where that is a terminal, lines where it is a file or a pipe."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from experiments.progress_bars import progress_bars

    with progress_bars() as bars:
        yield bars


class _Lines:
    """Reports by lines on standard error."""

    @contextlib.contextmanager
    def stage(self, title: str, total: int, *, done: int = 0) -> Iterator[Stage]:
        stage = _LineStage(title, total, done)
        self.say(f"{title}: {total} steps" + (f", {done} done before" if done else ""))
        yield stage
        self.say(f"{title}: done in {duration(stage.seconds)}{stage.note}")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _LineStage:
    def __init__(self, title: str, total: int, done: int) -> None:
        self._title, self._total, self._done = title, total, done
        self._begun = self._spoke = time.monotonic()
        self._first: tuple[float, int] | None = None  # when the first step ended: it compiles, so it tells nothing of the rest
        self.note = ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        self._done += steps
        self.note = f", {note}" if note else self.note
        now = time.monotonic()
        if self._first is None and steps:
            self._first = (now, self._done)
        elif now - self._spoke >= _SECONDS_BETWEEN_LINES:
            self._spoke = now
            print(f"{self._title}: {self._done} of {self._total}{self._left(now)}{self.note}", file=sys.stderr, flush=True)

    def _left(self, now: float) -> str:
        if self._first is None or self._done == self._first[1]:
            return ""
        begun, before = self._first
        seconds = (now - begun) * max(self._total - self._done, 0) / (self._done - before)
        return f", about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """A duration for people.

    >>> duration(7.4), duration(83), duration(7260)
    ('7 s', '1 min 23 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
