"""How far a job is, and how long it will take: parts add up to a stage."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from m3csr_tf.util.progress import Told, progress


class Tracker:
    """Counts users or items, of any thread.

    Args:
      told: what shows them.
      total: of them in all.
      done: those that an earlier sitting has done; they count as done, but not for the speed.
    """

    def __init__(self, told: Told, total: int, done: int = 0) -> None:
        self.total, self.done = total, done
        self._told = told
        self._alone = threading.Lock()

    def advance(self, count: int) -> None:
        """Counts some as done."""
        with self._alone:
            self.done += count
            self._told(self.done)


@contextmanager
def tracked(total: int, done: int, what: str = "users") -> Iterator[Tracker]:
    """A tracker that shows itself on stderr."""
    with progress(f"the job, {what}", total, done) as told:
        yield Tracker(told, total, done)
