"""Items scored exactly beside a tree, which is bad at two kinds: those that came last, and those with long vectors.

A fresh item is found, at its exact rank, though its leaf is not searched. And vectors far longer than most are coded
badly, while dot products put them into many lists: on the synthetic world at 40,000 videos, 300 candidates out of all
leaves had a recall@100 of 0.957, and 0.994 with the longest 1% scored exactly.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from m3csr_tf.index.recall import ROUNDING
from m3csr_tf.index.vector_store import VectorStore

RECENT = 4096
"""Latest upserts scored exactly: of 200,000 items, a fiftieth of exact search."""
BLOCK = 256
"""Queries scored at a time: 6 MB of scores, which stay in the cache."""


class ExactSideIndex:
    """Long items, and the last `RECENT` that were upserted, as far as they are still held.

    Args:
      items: all items of the index.
      long: ids of those with the longest vectors.
      recent: ids of those that came last, oldest first; none of them among `long`.
    """

    def __init__(self, items: VectorStore, long: Iterable[str], recent: Iterable[str]) -> None:
        self._items = items
        self._long = dict.fromkeys(long)
        self._recent = dict.fromkeys(recent)
        self._scored: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def long(self) -> list[str]:
        """Ids of the long items."""
        return list(self._long)

    @property
    def recent(self) -> list[str]:
        """Ids of the latest upserts, oldest first."""
        return list(self._recent)

    def upsert(self, ids: list[str]) -> None:
        """Notes items that the index has just taken in."""
        self.delete(ids)
        self._recent |= dict.fromkeys(ids)
        for item in self.recent[: max(0, len(self._recent) - RECENT)]:
            del self._recent[item]

    def delete(self, ids: list[str]) -> None:
        """Notes items that the index has just removed."""
        for item in ids:
            self._long.pop(item, None)
            self._recent.pop(item, None)
        self._scored = None

    def merge(self, queries: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Puts these items into lists that may lack some of them.

        Args:
          queries: float32 [queries, width].
          rows, scores: lists of full length, best first, integers and float32 [queries, k].

        Returns:
          Lists of the same length: rows int64 and scores float32 [queries, k].
        """
        rows = rows.astype(np.int64)
        if not self._long and not self._recent:
            return rows, scores
        if self._scored is None:
            fresh_rows = self._items.rows([*self._long, *self._recent])
            self._scored = fresh_rows, self._items.vectors_at(fresh_rows)
        fresh_rows, vectors = self._scored
        here = np.zeros(len(self._items), bool)
        here[fresh_rows] = True
        # Only what beats the end of a list can enter it; an item that is its end must not be lost to rounding.
        longest = float(np.linalg.norm(vectors, axis=1).max())
        enough = scores[:, -1] - ROUNDING * longest * np.linalg.norm(queries, axis=1)
        scores = np.where(here[rows], -np.inf, scores)
        for start in range(0, len(queries), BLOCK):
            block = slice(start, start + BLOCK)
            exact = queries[block] @ vectors.T
            line, entry = np.divmod(np.flatnonzero(exact >= enough[block, np.newaxis]), len(fresh_rows))
            _insert(rows[block], scores[block], line, fresh_rows[entry], exact[line, entry])
        return rows, scores


def _insert(rows: np.ndarray, scores: np.ndarray, line: np.ndarray, fresh_rows: np.ndarray, values: np.ndarray) -> None:
    """Puts rows `places` of scores `values` into lists number `line`, ascending, and sorts those lists anew."""
    counts = np.bincount(line, minlength=len(rows))
    if not len(line):
        return
    column = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
    more = np.full([len(rows), counts.max()], -np.inf, np.float32)
    more_rows = np.full(more.shape, -1, np.int64)
    more[line, column], more_rows[line, column] = values, fresh_rows
    merged = np.concatenate([scores, more], axis=1)
    order = np.argsort(-merged, axis=1)[:, : rows.shape[1]]
    scores[:] = np.take_along_axis(merged, order, axis=1)
    rows[:] = np.take_along_axis(np.concatenate([rows, more_rows], axis=1), order, axis=1)
