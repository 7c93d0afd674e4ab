"""Working ahead in a thread: the order, the errors and the end are those of the plain iterator."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from m3csr_tf.batch.prefetch import prefetched


def test_values_come_in_order() -> None:
    assert list(prefetched(range(100), 2)) == list(range(100))


def test_no_more_than_the_depth_is_made_before_it_is_asked_for() -> None:
    made = threading.Semaphore(0)
    count = 0

    def values() -> Iterator[int]:
        nonlocal count
        for value in range(100):
            count += 1
            made.release()
            yield value

    with_depth = prefetched(values(), 3)
    assert next(with_depth) == 0
    for _ in range(5):  # The one that was taken, three that wait, one that finds no room.
        assert made.acquire(timeout=10)
    assert not made.acquire(timeout=0.3) and count == 5
    with_depth.close()


def test_an_error_comes_at_its_turn() -> None:
    def values() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    found = []
    with pytest.raises(KeyError, match="three"):
        for value in prefetched(values(), 5):
            found.append(value)
    assert found == [1, 2]


def test_closed_early_it_closes_what_it_reads_and_leaves_no_thread() -> None:
    closed = threading.Event()

    def values() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.set()

    threads = threading.active_count()
    outer = prefetched((value + 1 for value in prefetched(values(), 1)), 1)
    assert next(outer) == 1
    outer.close()
    assert closed.wait(10)
    assert threading.active_count() == threads
