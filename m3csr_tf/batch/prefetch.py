"""Prefetching: an iterator whose values are made ahead of time in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
_WAIT = 0.1


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetched(values: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yields the values in order, while a thread makes up to `depth` of the next ones.

    An exception of `values` is raised when its turn comes. If the generator is closed early, it waits for the value
    that is being made, and closes `values`.
    """
    made: queue.Queue[T | _Failed | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(value: T | _Failed | None) -> bool:
        while not stopped.is_set():
            try:
                made.put(value, timeout=_WAIT)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for value in values:
                if not put(value):
                    return
            put(None)
        except BaseException as error:
            put(_Failed(error))
        finally:
            if isinstance(values, Generator):
                values.close()

    worker = threading.Thread(target=work, name="prefetch", daemon=True)
    worker.start()
    try:
        while (value := made.get()) is not None:
            if isinstance(value, _Failed):
                raise value.error
            yield value
    finally:
        stopped.set()
        worker.join()
