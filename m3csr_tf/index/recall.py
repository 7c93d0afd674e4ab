"""Measures recall against exact search, and queries per second, for the gate at the build and for changed indexes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

ROUNDING = 2e-6
"""Bound on the rounding difference of two float32 dot products of equal vectors, relative to the product of norms."""
REPEATS = 3


Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""Maps queries and k to rows and scores [queries, k]; a score that is not finite marks a position that stayed empty."""


class RecallSample(NamedTuple):
    """Sample queries and the result of exact search for them.

    Attributes:
      queries: float32 [queries, width].
      cuts: the score that an item needs to be among the k nearest, as `kth_scores` returns it, float32 [queries].
      k: the k of recall@k.
    """

    queries: np.ndarray
    cuts: np.ndarray
    k: int

    def found(self, search: Search) -> np.ndarray:
        """Returns the recall of a search for each query: the share of the k nearest items that it finds, [queries]."""
        return (search(self.queries, self.k)[1] >= self.cuts[:, np.newaxis]).mean(axis=1)


def largest(queries: np.ndarray, blocks: Iterable[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k items with the largest dot product by scoring every item.

    Args:
      queries: float32 [queries, width].
      blocks: all items in blocks, float32 [some, width] each.
      k: number of items to return, at most the number of all items.

    Returns:
      Positions of the items, int64, and scores, float32, both [queries, k] and best first; among equal scores the item
      that comes earlier is first.
    """
    scores, rows, start = np.empty([len(queries), 0], np.float32), np.empty([len(queries), 0], np.int64), 0
    for block in blocks:
        more = np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))
        scores = np.concatenate([scores, queries @ block.T], axis=1)
        rows = np.concatenate([rows, more], axis=1)
        kept = np.argpartition(-scores, min(k, scores.shape[1]) - 1, axis=1)[:, :k]
        scores, rows = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(rows, kept, axis=1)
        start += len(block)
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def kth_scores(queries: np.ndarray, blocks: Iterable[np.ndarray], k: int) -> np.ndarray:
    """Returns the exact score of the k-th nearest item, minus a tolerance for rounding, float32 [queries].

    Args:
      queries: float32 [queries, width].
      blocks: all items in blocks, float32 [some, width] each.
      k: at most the number of items.
    """
    best = np.full([len(queries), k], -np.inf, np.float32)
    longest = 0.0
    for block in blocks:
        scores = np.concatenate([best, queries @ block.T], axis=1)
        best = np.partition(scores, -k, axis=1)[:, -k:]
        longest = max(longest, float(np.linalg.norm(block, axis=1).max()))
    return best.min(axis=1) - ROUNDING * longest * np.linalg.norm(queries, axis=1)


def queries_per_second(search: Search, queries: np.ndarray, k: int) -> float:
    """Returns queries per second, from the median of a few searches of all `queries` at once after a warm-up search."""
    search(queries, k)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        search(queries, k)
        seconds.append(time.perf_counter() - started)
    return len(queries) / statistics.median(seconds)
