"""Dynamic batching: requests that arrive shortly after each other, or while others are computed, share one search."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Overloaded(Exception):
    """So many queries are waiting that another one would wait too long."""


@dataclass
class _Waiting(Generic[Q, A]):
    query: Q
    size: int
    since: float
    answer: asyncio.Future[A]


class Batcher(Generic[Q, A]):
    """Collects queries and computes them together, one batch at a time, in a thread.

    A batch begins as soon as the one before has ended and its oldest query has waited for `wait` seconds, or it is
    full. A query is never divided, so that one that is larger than a batch has a batch of its own.

    Args:
      compute: gets queries, and returns an answer or an exception for each of them, in order.
      executor: where it is called.
      size: how much of a batch a query takes.
      most: largest size of a batch.
      wait: seconds.
      most_waiting: largest size of all queries that wait.
      observe: is told the size of each batch.
    """

    def __init__(
        self,
        compute: Callable[[list[Q]], Sequence[A | Exception]],
        executor: Executor,
        size: Callable[[Q], int],
        most: int,
        wait: float,
        most_waiting: int,
        observe: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._compute = compute
        self._executor = executor
        self._size = size
        self._most = most
        self._wait = wait
        self._most_waiting = most_waiting
        self._observe = observe
        self._queue: deque[_Waiting[Q, A]] = deque()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self.waiting = 0
        """Size of all queries that wait."""

    async def submit(self, query: Q) -> A:
        """Returns the answer to a query, or raises the exception that is its answer.

        Raises:
          Overloaded: too many queries wait.
        """
        size = self._size(query)
        if self.waiting and self.waiting + size > self._most_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry: _Waiting[Q, A] = _Waiting(query, size, loop.time(), loop.create_future())
        self._queue.append(entry)
        self.waiting += size
        self._arrived.set()
        if self.waiting >= self._most:
            self._full.set()
        return await entry.answer

    async def run(self) -> None:
        """Computes batches until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            left = self._queue[0].since + self._wait - loop.time()
            if left > 0 and self.waiting < self._most:
                try:
                    await asyncio.wait_for(self._full.wait(), left)
                except TimeoutError:
                    pass
            batch = self._next()
            if not batch:
                continue
            self._observe(sum(entry.size for entry in batch))
            try:
                answers = await loop.run_in_executor(self._executor, self._compute, [entry.query for entry in batch])
            except Exception as error:
                answers = [error] * len(batch)
            for entry, answer in zip(batch, answers, strict=True):
                if entry.answer.done():  # Nobody waits for it any more.
                    continue
                if isinstance(answer, Exception):
                    entry.answer.set_exception(answer)
                else:
                    entry.answer.set_result(answer)

    def _next(self) -> list[_Waiting[Q, A]]:
        """Takes the next batch out of the queue; queries that nobody waits for any more are dropped."""
        batch: list[_Waiting[Q, A]] = []
        size = 0
        while self._queue and (not batch or size + self._queue[0].size <= self._most):
            entry = self._queue.popleft()
            self.waiting -= entry.size
            if not entry.answer.done():
                batch.append(entry)
                size += entry.size
        if not self._queue:
            self._arrived.clear()
        if self.waiting < self._most:
            self._full.clear()
        return batch
