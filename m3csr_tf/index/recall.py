"""Recall against exact search, and searches a second; for the gate at the build and for indexes that have changed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

ROUNDING = 2e-6
"""Two float32 dot products of the same vectors differ by less, as a share of the product of their norms."""
REPEATS = 3


Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""Queries and k to rows and scores [queries, k]; a score that is not finite is a place that stayed empty."""


class RecallSample(NamedTuple):
    """Queries, and what exact search finds.

    Attributes:
      queries: float32 [queries, width].
      cuts: what `kth_scores` gives.
      k: how many nearest to look at.
    """

    queries: np.ndarray
    cuts: np.ndarray
    k: int

    def found(self, search: Search) -> np.ndarray:
        """Share of the k nearest that a search finds, for each query."""
        return (search(self.queries, self.k)[1] >= self.cuts[:, np.newaxis]).mean(axis=1)


def largest(queries: np.ndarray, blocks: Iterable[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k items of the largest dot product, every one scored.

    Args:
      queries: float32 [queries, width].
      blocks: all items, float32 [some, width] each.
      k: at most the number of items.

    Returns:
      Places of the items int64 and scores float32 [queries, k], best first; of equal ones the earlier.
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
    """Exact score of the k-th nearest item, less the rounding of a dot product, float32 [queries].

    Args:
      queries: float32 [queries, width].
      blocks: all items, float32 [some, width] each.
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
    """Median of a few searches of all `queries` at once, after one that does not count."""
    search(queries, k)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        search(queries, k)
        seconds.append(time.perf_counter() - started)
    return len(queries) / statistics.median(seconds)
