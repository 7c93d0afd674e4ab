"""The latest upserts of a tree, scored exactly beside it: a fresh item is found though its leaf is not searched."""

from __future__ import annotations

import numpy as np

from m3csr_tf.index.held import HeldItems
from m3csr_tf.index.recall import ROUNDING

RECENT = 4096
"""Items scored exactly: of 200,000, a fiftieth of exact search."""
BLOCK = 1024
"""Queries scored at a time: 16 MB of scores."""


class RecentItems:
    """The last `RECENT` items that were upserted, and are still held.

    Args:
      items: all items of the index.
      ids: those of them that came last, oldest first.
    """

    def __init__(self, items: HeldItems, ids: list[str]) -> None:
        self._items = items
        self._ids = dict.fromkeys(ids)
        self._scored: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def ids(self) -> list[str]:
        """Their ids, oldest first."""
        return list(self._ids)

    def upsert(self, ids: list[str]) -> None:
        """Notes items that the index has just taken in."""
        for item in ids:
            self._ids.pop(item, None)
            self._ids[item] = None
        for item in self.ids[: max(0, len(self._ids) - RECENT)]:
            del self._ids[item]
        self._scored = None

    def delete(self, ids: list[str]) -> None:
        """Notes items that the index has just removed."""
        for item in ids:
            self._ids.pop(item, None)
        self._scored = None

    def merge(self, queries: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Puts the recent items into lists that may lack some of them.

        Args:
          queries: float32 [queries, width].
          rows, scores: lists of full length, best first, int64 and float32 [queries, k].

        Returns:
          Lists of the same length: rows int64 and scores float32 [queries, k].
        """
        if not self._ids:
            return rows, scores
        if self._scored is None:
            places = self._items.rows(self.ids)
            self._scored = places, self._items.vectors_at(places)
        places, vectors = self._scored
        listed = np.zeros(len(self._items), bool)
        listed[places] = True
        longest = float(np.linalg.norm(vectors, axis=1).max())
        merged = [
            _merge(queries[block], rows[block], scores[block], places, vectors, listed, longest)
            for block in (slice(start, start + BLOCK) for start in range(0, len(queries), BLOCK))
        ]
        return np.concatenate([found for found, _ in merged]), np.concatenate([values for _, values in merged])


def _merge(
    queries: np.ndarray,
    rows: np.ndarray,
    scores: np.ndarray,
    places: np.ndarray,
    vectors: np.ndarray,
    listed: np.ndarray,
    longest: float,
) -> tuple[np.ndarray, np.ndarray]:
    exact = queries @ vectors.T
    # Only what beats the end of a list can enter it; an item that is its end must not be lost to rounding.
    enough = scores[:, -1] - ROUNDING * longest * np.linalg.norm(queries, axis=1)
    line, recent = np.nonzero(exact >= enough[:, np.newaxis])
    counts = np.bincount(line, minlength=len(queries))
    if not len(line):
        return rows, scores
    place = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
    more_rows = np.full([len(queries), counts.max()], -1, np.int64)
    more_scores = np.full(more_rows.shape, -np.inf, np.float32)
    more_rows[line, place] = places[recent]
    more_scores[line, place] = exact[line, recent]
    # Recent items that the tree found as well are taken out of its lists.
    all_rows = np.concatenate([rows, more_rows], axis=1)
    all_scores = np.concatenate([np.where(listed[rows], -np.inf, scores), more_scores], axis=1)
    order = np.argsort(-all_scores, axis=1, kind="stable")[:, : rows.shape[1]]
    return np.take_along_axis(all_rows, order, axis=1), np.take_along_axis(all_scores, order, axis=1)
