"""Progress bars for a terminal, drawn by rich."""

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ProgressBars:
    """One bar for each stage; those that are done stay, with the time they took."""

    def __init__(self, display: Progress) -> None:
        """Draws on a display that the caller starts and stops."""
        self._display = display

    @contextlib.contextmanager
    def stage(self, title: str, total: int, *, done: int = 0) -> Iterator["BarStage"]:
        """A bar for the time of the `with` block."""
        task = self._display.add_task(title, total=total, completed=done, note="")
        yield BarStage(self._display, task)
        self._display.stop_task(task)

    def say(self, text: str) -> None:
        """One line above the bars."""
        self._display.console.print(text, highlight=False, markup=False)


class BarStage:
    """The bar of one stage."""

    def __init__(self, display: Progress, task: TaskID) -> None:
        """Moves the bar of `task` on `display`."""
        self._display, self._task = display, task

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        """Moves the bar, and shows the note beside it until the next one."""
        self._display.advance(self._task, steps)
        if note:
            self._display.update(self._task, note=note)


@contextlib.contextmanager
def progress_bars() -> Iterator[ProgressBars]:
    """Bars on standard error for the time of the `with` block."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as display:
        yield ProgressBars(display)
