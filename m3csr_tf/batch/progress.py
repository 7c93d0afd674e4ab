"""How far a job is, and how long it will take: a bar on a terminal, and a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from m3csr_tf.progress import SAID_EVERY
from m3csr_tf.terminal import Terminal


class Tracker:
    """Counts users or items.

    Args:
      progress: what shows them.
      total: of them in all.
      done: those that an earlier sitting has done; they count as done, but not for the speed.
      what: what they are called.
    """

    def __init__(self, progress: Progress, total: int, done: int, what: str = "users") -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total, completed=done)
        self._what = what
        self._said = time.monotonic()

    @property
    def done(self) -> int:
        """How many are done."""
        return int(self._progress.tasks[0].completed)

    @property
    def total(self) -> int:
        """How many there are in all."""
        return int(self._progress.tasks[0].total or 0)

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the time left; None before there is a speed."""
        return self._progress.tasks[0].time_remaining

    def advance(self, count: int) -> None:
        """Counts some as done."""
        self._progress.advance(self._task, count)
        if self._progress.disable and time.monotonic() >= self._said + SAID_EVERY:
            self._said = time.monotonic()
            left = "" if self.seconds_left is None else f", {timedelta(seconds=round(self.seconds_left))} left"
            self._progress.console.print(f"{self.done:,} of {self.total:,} {self._what}{left}")


@contextmanager
def tracked(total: int, done: int, what: str = "users") -> Iterator[Tracker]:
    """A tracker that shows itself on stderr."""
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Batches take seconds: the speed is that of the last minutes.
    progress = Progress(
        *shown,
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Terminal(stderr=True),
        disable=not sys.stderr.isatty(),
        speed_estimate_period=300,
    )
    with progress:
        yield Tracker(progress, total, done, what)
