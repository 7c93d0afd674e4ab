"""Shows on stderr how far a stage is and how long it will take: by a bar in a terminal, by occasional lines in a log.

Every stage that may take more than some seconds runs inside `progress`. In a terminal it is a bar with the time left.
In a log it is a plain line soon after the stage has begun, and another every SAID_EVERY seconds, whether or not the
stage can tell how far it is; a stage that is shorter than SAID_AFTER seconds logs nothing. A stage inside another one,
such as a validation inside a training, has a bar below that of the outer stage.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from m3csr_tf.util.notebook import NotebookLine, in_notebook
from m3csr_tf.util.quoting import printable
from m3csr_tf.util.terminal import Terminal

ProgressCallback = Callable[[int, int | None], None]
"""Is called with the number that is done, and the total (None: as before); a `Stage` is such a callback."""

PERCENT = "%"
"""What a stage counts if its parts have no unit in common (`share`), as in "calibrating, %"."""

SAID_AFTER = 2.0
"""Seconds before the first line of a stage in a log."""
SAID_EVERY = 30.0
"""Seconds between the lines of a stage in a log."""
_CHANGED_EVERY = 0.5
"""Seconds between the updates of a stage's line in a notebook."""

_SPEED_OF = 300.0
"""Seconds over which a bar averages the speed."""

_bars: Progress | None = None
"""The bars on the terminal while there are any, because a terminal can show only one group of bars."""


def say(text: str) -> None:
    """Prints a line on stderr unchanged, above the bars if there are any."""
    console = _bars.console if _bars is not None else Terminal(stderr=True)
    console.print(text, soft_wrap=True, highlight=False)


class Stage:
    """The progress of a stage: a progress callback, which any thread may call.

    Args:
      description: describes the stage, perhaps with what it counts after a comma: "assigning clusters, items", or
        PERCENT.
      total: the number that has to be done; None while that is not known.
      done: the number that was done before the stage began; it does not count for the speed.
    """

    def __init__(self, description: str, total: int | None = None, done: int = 0) -> None:
        self.task: TaskID | None = None
        self._description = printable(description)
        self._total, self._done, self._at_first = total, done, done
        self._figures = ""
        self._began = time.monotonic()
        self._counting = threading.Lock()

    def advance(self, count: int) -> None:
        """Adds `count` to the number that is done; several threads may work on a stage."""
        with self._counting:
            self(self._done + count)

    def __call__(self, done: int, total: int | None = None, figures: str | None = None) -> None:
        """Sets the number that is done, the total, and the figures that are shown with them (None: as before)."""
        self._done = done
        if total is not None:
            self._total = total
        if figures is not None:
            self._figures = figures
        if _bars is not None:
            self._on_bar(_bars)

    @property
    def share(self) -> float | None:
        """The share that is done, from 0 to 1; None while that is not known."""
        return self._done / self._total if self._total else None

    def line(self) -> str:
        """Returns the line that a log shows of the stage now."""
        elapsed = time.monotonic() - self._began
        parts = [self._description.removesuffix(f", {PERCENT}")]
        if self._total:
            stage, _, counted = self._description.rpartition(", ")
            parts = [f"{stage or counted}: {self._done:,} of {self._total:,}{f' {counted}' if stage else ''}"]
            if counted == PERCENT:
                parts = [f"{stage}: {self._done / self._total:.0%}"]
            new = self._done - self._at_first
            if 0 < new and self._done < self._total:
                left = elapsed * (self._total - self._done) / new
                parts.append(f"{timedelta(seconds=round(left))} left")
        if elapsed >= SAID_EVERY:
            parts.append(f"{timedelta(seconds=round(elapsed))} so far")
        return ", ".join(parts) + (f"; {self._figures}" if self._figures else "")

    def _on_bar(self, bars: Progress) -> None:
        if self.task is None:
            self.task = bars.add_task(self._description, total=self._total, completed=self._done, figures=self._figures)
        bars.update(self.task, completed=self._done, total=self._total, figures=self._figures)


def share(on_progress: ProgressCallback | None, place: int, of: int) -> ProgressCallback | None:
    """Returns the progress callback of a part of a stage, which reports the percentage of all parts that is done.

    Args:
      on_progress: the progress callback of the stage; None if there is none.
      place: the position of the part, from 0.
      of: the number of parts, which take about equally long.
    """
    if on_progress is None:
        return None

    def on_part_progress(done: int, total: int | None = None) -> None:
        on_progress(round(100 * (place + (done / total if total else 0)) / of), 100)

    return on_part_progress


def after(on_progress: ProgressCallback | None, before: int, total: int) -> ProgressCallback:
    """Returns the progress callback of a part of a stage that counts as the stage does, from `before` on.

    Args:
      on_progress: the progress callback of the stage; None if there is none.
      before: the number that is done before the part.
      total: the number of the whole stage.
    """

    def on_part_progress(done: int, of: int | None = None) -> None:
        if on_progress is not None:
            on_progress(before + done, total)

    return on_part_progress


@contextmanager
def progress(description: str, total: int | None = None, done: int = 0) -> Iterator[Stage]:
    """Shows how far the block is, which the block reports by calling the yielded `Stage` with (done, total or None)."""
    stage = Stage(description, total, done)
    with _on_terminal(stage) if sys.stderr.isatty() else _in_notebook(stage) if in_notebook() else _in_log(stage):
        yield stage


@contextmanager
def _on_terminal(on_progress: Stage) -> Iterator[None]:
    global _bars
    outermost = _bars is None
    bars = _new_bars() if _bars is None else _bars
    if outermost:
        _bars = bars
        bars.start()
    on_progress._on_bar(bars)
    try:
        yield
    finally:
        if outermost:
            _bars = None
            bars.stop()
        else:
            assert on_progress.task is not None
            bars.remove_task(on_progress.task)


@contextmanager
def _in_notebook(stage: Stage) -> Iterator[None]:
    shown = NotebookLine()
    try:
        with _repeatedly(stage, lambda: shown(stage.line(), stage.share), _CHANGED_EVERY):
            yield
    finally:
        shown.clear()


def _in_log(stage: Stage) -> AbstractContextManager[None]:
    return _repeatedly(stage, lambda: say(stage.line()), SAID_EVERY)


@contextmanager
def _repeatedly(stage: Stage, show: Callable[[], None], every: float) -> Iterator[None]:
    """Shows a stage after SAID_AFTER seconds, and then every `every` seconds until the block ends."""
    ended = threading.Event()

    def shows() -> None:
        wait = SAID_AFTER
        while not ended.wait(wait):
            show()
            wait = every

    # A thread is needed, because a stage inside a library, such as a decomposition, cannot tell how far it is.
    thread = threading.Thread(target=shows, name=f"progress of {stage.line()}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _new_bars() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        speed_estimate_period=_SPEED_OF,  # Some steps take minutes.
        console=Terminal(stderr=True),
    )
