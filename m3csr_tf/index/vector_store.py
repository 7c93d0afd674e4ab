"""Keeps which item lies in which row of a ScaNN searcher, with its vector, because ScaNN returns neither."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np
import pandas as pd

MANY = 20_000
"""Number of ids from which a pandas index, which must be rebuilt after every change, is faster than a dictionary."""


class VectorStore:
    """Ids and vectors in the order of a searcher's rows, which follow every change of the searcher.

    New items are appended, and when an item is deleted the last row moves to its place, exactly as ScaNN does with its
    own rows. Lookups work on whole arrays, because batch jobs ask for millions of rows; only the few items that were
    added or deleted are handled one by one.

    Args:
      ids: distinct ids.
      vectors: float32 [ids, width], perhaps a memory map; they are kept without a copy and never written to.
    """

    def __init__(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        self._base = vectors
        self._ids = np.array(ids, dtype=object)
        self._size = len(self._ids)
        self._rows = dict(zip(self._ids, range(self._size), strict=True))
        self._source = np.arange(self._size)
        """For each row, its position in `_base`, or -1 - its position in `_fresh` if it was upserted since."""
        self._fresh = np.empty([0, vectors.shape[1]], np.float32)
        self._fresh_used = 0
        self._free: list[int] = []
        self._cached: np.ndarray | None = None
        self._table: pd.Index | None = None

    def __len__(self) -> int:
        """Returns the number of items."""
        return self._size

    @property
    def width(self) -> int:
        """Width of the vectors."""
        return int(self._base.shape[1])

    @property
    def ids(self) -> np.ndarray:
        """Ids in row order, object array of str [items]; callers must not write to it."""
        if self._cached is None:
            self._cached = self._ids[: self._size].copy()
            self._cached.flags.writeable = False
        return self._cached

    def ids_at(self, rows: np.ndarray) -> np.ndarray:
        """Returns the ids at some rows, "" for row -1, object array of str of the same shape."""
        found = self._ids[rows]
        found[rows < 0] = ""
        return found

    def rows(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Returns the rows of some ids, -1 for unknown ones, int64 [ids]."""
        if len(ids) < MANY:
            return np.fromiter(map(self._rows.get, ids, repeat(-1)), np.int64, len(ids))
        if self._table is None:
            self._table = pd.Index(self.ids)
        return self._table.get_indexer(np.asarray(ids, dtype=object)).astype(np.int64, copy=False)

    def vectors_at(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors at some rows, float32 [rows, width]."""
        source = self._source[: self._size][rows]
        fresh = source < 0
        if not fresh.any():
            return np.asarray(self._base[source])
        vectors = np.asarray(self._base[np.where(fresh, 0, source)])
        vectors[fresh] = self._fresh[-1 - source[fresh]]
        return vectors

    def upsert(self, ids: list[str], vectors: np.ndarray) -> list[int | None]:
        """Adds items or replaces their vectors, and returns the row of each, None for a new item."""
        rows = self.rows(ids)
        new = np.flatnonzero(rows < 0)
        rows[new] = np.arange(self._size, self._size + len(new))
        added = np.array(ids, dtype=object)[new]
        self._ids = with_room(self._ids, self._size + len(new))
        self._source = with_room(self._source, self._size + len(new))
        self._ids[rows[new]] = added
        self._rows.update(zip(added, rows[new].tolist(), strict=True))
        self._source[rows[new]] = 0
        self._size += len(new)

        source = self._source[rows]
        without = np.flatnonzero(source >= 0)
        source[without] = -1 - self._lines(len(without))
        self._source[rows] = source
        self._fresh[-1 - source] = vectors
        if len(new):
            self._cached = self._table = None
        positions: list[int | None] = rows.tolist()
        for line in new.tolist():
            positions[line] = None
        return positions

    def delete(self, ids: list[str]) -> list[int]:
        """Removes items one after the other, and returns the row that each had at the moment of its removal."""
        gone = []
        for item in ids:
            row, last = self._rows.pop(item), self._size - 1
            if self._source[row] < 0:
                self._free.append(-1 - int(self._source[row]))
            if row != last:
                self._ids[row], self._source[row] = self._ids[last], self._source[last]
                self._rows[self._ids[row]] = row
            self._ids[last] = None
            self._size = last
            gone.append(row)
        self._cached = self._table = None
        return gone

    def _lines(self, count: int) -> np.ndarray:
        """Returns free positions in `_fresh`, int64 [count]; those of deleted vectors are used first."""
        again = self._free[len(self._free) - min(count, len(self._free)) :]
        del self._free[len(self._free) - len(again) :]
        used = self._fresh_used + count - len(again)
        lines = np.array([*again, *range(self._fresh_used, used)], np.int64)
        self._fresh = with_room(self._fresh, used)
        self._fresh_used = used
        return lines


def with_room(array: np.ndarray, size: int) -> np.ndarray:
    """Returns `array`, or a copy half as long again, which makes many small additions cost no more than a large one."""
    if size <= len(array):
        return array
    longer = np.empty([max(size, len(array) * 3 // 2), *array.shape[1:]], array.dtype)
    longer[: len(array)] = array
    return longer
