"""Queries share a batch when they come together, none is divided, and too many of them are refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from m3csr_tf.service.batching import Batcher, Overloaded


class Doubling:
    """Doubles numbers; computes when it is allowed to, and notes the batches."""

    def __init__(self) -> None:
        self.allowed = threading.Event()
        self.allowed.set()
        self.begun = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, numbers: list[int]) -> list[int | Exception]:
        self.begun.set()
        assert self.allowed.wait(120)
        self.batches.append(list(numbers))
        return [ValueError("odd") if number % 2 else 2 * number for number in numbers]


async def with_batcher(
    compute: Callable[[list[int]], Any],
    work: Callable[[Batcher[int, int]], Any],
    size: Any = lambda query: 1,
    **how: Any,
) -> Any:
    limits = {"most": 4, "wait": 0.0, "most_waiting": 100, **how}
    with ThreadPoolExecutor(1) as executor:
        batcher: Batcher[int, int] = Batcher(compute, executor, size, **limits)
        running = asyncio.create_task(batcher.run())
        try:
            async with asyncio.timeout(120):
                return await work(batcher)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


def test_queries_that_come_while_a_batch_is_computed_share_the_next_one() -> None:
    doubling = Doubling()

    async def work(batcher: Batcher[int, int]) -> list[int]:
        doubling.allowed.clear()
        first = asyncio.create_task(batcher.submit(0))
        await until(doubling.begun.is_set)
        rest = [asyncio.create_task(batcher.submit(number)) for number in (2, 4, 6, 8, 10)]
        await until(lambda: batcher.waiting == 5)
        doubling.allowed.set()
        return await asyncio.gather(first, *rest)

    assert asyncio.run(with_batcher(doubling, work)) == [0, 4, 8, 12, 16, 20]
    # Four fit into a batch.
    assert doubling.batches == [[0], [2, 4, 6, 8], [10]]


def test_queries_wait_a_little_for_others() -> None:
    doubling = Doubling()

    async def work(batcher: Batcher[int, int]) -> None:
        await asyncio.gather(*(batcher.submit(number) for number in (2, 4, 6, 8)))

    # The fourth fills the batch, so that nobody waits for a minute.
    asyncio.run(with_batcher(doubling, work, wait=60.0))
    assert doubling.batches == [[2, 4, 6, 8]]


def test_a_query_that_is_larger_than_a_batch_is_not_divided() -> None:
    doubling = Doubling()

    async def work(batcher: Batcher[int, int]) -> None:
        await asyncio.gather(*(batcher.submit(number) for number in (2, 10, 4)))

    asyncio.run(with_batcher(doubling, work, size=lambda query: query))
    assert doubling.batches == [[2], [10], [4]]


def test_an_error_is_the_answer_to_its_own_query_alone() -> None:
    async def work(batcher: Batcher[int, int]) -> list[Any]:
        return await asyncio.gather(*(batcher.submit(number) for number in (2, 3, 4)), return_exceptions=True)

    two, three, four = asyncio.run(with_batcher(Doubling(), work))
    assert (two, four) == (4, 8) and isinstance(three, ValueError)


def test_a_computation_that_fails_as_a_whole_fails_its_queries_and_the_next_ones_are_computed() -> None:
    calls = iter([True, False])

    def compute(numbers: list[int]) -> list[int]:
        if next(calls):
            raise RuntimeError("broken")
        return numbers

    async def work(batcher: Batcher[int, int]) -> int:
        with pytest.raises(RuntimeError, match="broken"):
            await batcher.submit(1)
        return await batcher.submit(2)

    assert asyncio.run(with_batcher(compute, work)) == 2


def test_too_many_waiting_queries_are_refused_and_one_that_nobody_waits_for_is_not_computed() -> None:
    doubling = Doubling()

    async def work(batcher: Batcher[int, int]) -> list[int]:
        doubling.allowed.clear()
        first = asyncio.create_task(batcher.submit(0))
        await until(doubling.begun.is_set)
        rest = [asyncio.create_task(batcher.submit(number)) for number in (2, 4, 6)]
        await until(lambda: batcher.waiting == 3)
        with pytest.raises(Overloaded):
            await batcher.submit(8)
        rest[1].cancel()
        await asyncio.sleep(0)
        doubling.allowed.set()
        return await asyncio.gather(first, rest[0], rest[2])

    assert asyncio.run(with_batcher(doubling, work, most_waiting=3)) == [0, 4, 12]
    assert doubling.batches == [[0], [2, 6]]
