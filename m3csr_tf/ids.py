"""Ids are strings outside and rows inside: the one class that turns the first into the second.

Row 0 is padding (an empty history slot), row 1 stands for every id that the table lacks, known ids follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

PADDING_ROW = 0
UNKNOWN_ROW = 1
FIRST_ROW = 2


class IdTable:
    """A fixed table of string ids.

    Args:
      ids: the known ids, distinct and non-empty; `ids[k]` gets row `k + FIRST_ROW`.

    Raises:
      ValueError: an id is repeated or empty ("" means padding).
    """

    def __init__(self, ids: Sequence[str] | np.ndarray) -> None:
        self._index = pd.Index(np.asarray(ids, dtype=object))
        if not self._index.is_unique:
            raise ValueError(
                f"id {self._index[self._index.duplicated()][0]!r} is in the table twice; ids must be distinct"
            )
        if "" in self._index:
            raise ValueError('the empty id "" is in the table; it is reserved for padding')

    def __len__(self) -> int:
        """Rows of the table, padding and unknown included."""
        return len(self._index) + FIRST_ROW

    @property
    def known(self) -> np.ndarray:
        """The known ids in row order, object array of str [rows - FIRST_ROW]."""
        return self._index.to_numpy()

    def rows(self, ids: Iterable[str]) -> np.ndarray:
        """Rows of `ids`, int32 [n]: "" -> PADDING_ROW, an id that the table lacks -> UNKNOWN_ROW."""
        wanted = np.asarray(list(ids) if not isinstance(ids, np.ndarray) else ids, dtype=object)
        found = self._index.get_indexer(wanted)
        rows = np.where(found >= 0, found + FIRST_ROW, UNKNOWN_ROW)
        return np.where(wanted == "", PADDING_ROW, rows).astype(np.int32)

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """Ids of known `rows`, object array of str of the same shape.

        Raises:
          ValueError: a row is padding, unknown, or outside the table.
        """
        rows = np.asarray(rows)
        if rows.size and (rows.min() < FIRST_ROW or rows.max() >= len(self)):
            raise ValueError(
                f"rows must lie in [{FIRST_ROW}, {len(self)}) to have an id, got {rows.min()} to {rows.max()}"
            )
        return self._index.to_numpy()[rows - FIRST_ROW]
