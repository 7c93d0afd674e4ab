"""Searches the nearest items of many users, without the items that each has seen and those that nobody may see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from m3csr_tf.ids import NO_ITEM
from m3csr_tf.index import ItemIndex

SEARCHED_AT_ONCE = 1 << 20
"""Largest number of list positions of one search, to bound memory: users with many exclusions need long lists."""


@dataclass(frozen=True)
class Candidates:
    """The items to search.

    Attributes:
      index: the index that holds them.
      rows: the row of each item in the release's index, int64 [items of `index`]; None if `index` is that index.
      hidden: which items of `index` may be in no list, bool [items of `index`]; None if there are none.
    """

    index: ItemIndex
    rows: np.ndarray | None = None
    hidden: np.ndarray | None = None

    @property
    def count(self) -> int:
        """Number of items that can be found."""
        return len(self.index) - (0 if self.hidden is None else int(self.hidden.sum()))


class Seen:
    """What users have seen, as pairs of a user and a row of the release's index.

    Args:
      users: positions of the users, int64 [pairs].
      rows: rows of the release's index, int64 [pairs].
      items: number of rows of the release's index.
    """

    def __init__(self, users: np.ndarray, rows: np.ndarray, items: int) -> None:
        self._items = items
        self._keys = np.unique(users * items + rows)

    def of(self, users: np.ndarray) -> Seen:
        """Returns what some users have seen, given by ascending positions int64 [some]; they become users 0, 1, ..."""
        owners, rows = np.divmod(self._keys, self._items)
        positions = np.minimum(np.searchsorted(users, owners), len(users) - 1)
        kept = users[positions] == owners
        return Seen(positions[kept], rows[kept], self._items)

    def holds(self, users: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Returns whether users [u] have seen rows [u, k], bool [u, k]."""
        if not len(self._keys):
            return np.zeros(rows.shape, dtype=bool)
        wanted = users[:, np.newaxis] * self._items + rows
        positions = np.searchsorted(self._keys, wanted)
        return self._keys[np.minimum(positions, len(self._keys) - 1)] == wanted

    def counts(self, users: int, among: np.ndarray | None) -> np.ndarray:
        """Returns how many items each user has seen, int64 [users]; if `among` is given, only its rows count."""
        owners, rows = np.divmod(self._keys, self._items)
        if among is not None:
            counted = np.zeros(self._items, dtype=bool)
            counted[among] = True
            owners = owners[counted[rows]]
        return np.bincount(owners, minlength=users)


def nearest(candidates: Candidates, vectors: np.ndarray, seen: Seen, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds for each user the n candidates with the largest scores that she has not seen.

    Args:
      candidates: the items to search.
      vectors: user vectors float32 [users, D].
      seen: what the same users have seen.
      n: number of items wanted.

    Returns:
      Rows of the release's index, int64 [users, n], and scores, float32 [users, n], best first; NO_ITEM and -inf where
      there are no more candidates.
    """
    rows = np.full([len(vectors), n], NO_ITEM, dtype=np.int64)
    scores = np.full([len(vectors), n], -np.inf, dtype=np.float32)
    indexed = len(candidates.index)
    spare = 0 if candidates.hidden is None else min(n, int(candidates.hidden.sum()))
    wanted = np.minimum(n + spare + seen.counts(len(vectors), candidates.rows), indexed)
    users = np.arange(len(vectors))
    while len(users):
        for block, width in _alike(users, wanted[users]):
            found, values = candidates.index.search_rows(vectors[block], width)
            new = found >= 0
            if candidates.hidden is not None:
                new &= ~candidates.hidden[found]
            if candidates.rows is not None:
                found = np.where(found >= 0, candidates.rows[found], NO_ITEM)
            new &= ~seen.holds(block, found)
            rank = np.cumsum(new, axis=1)
            line, position = np.nonzero(new & (rank <= n))
            rows[block[line], rank[line, position] - 1] = found[line, position]
            scores[block[line], rank[line, position] - 1] = values[line, position]
        # Users of whose results more were hidden than had been allowed for search again, at last among all items.
        users = users[(rows[users, n - 1] == NO_ITEM) & (wanted[users] < indexed)]
        wanted[users] = np.minimum(4 * wanted[users], indexed)
    return rows, scores


def _alike(users: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Groups users who need result lists of similar length, so that a few long histories do not lengthen all searches.

    Yields:
      The positions of the users of a group, int64 [group], and the longest list that any of them needs.
    """
    order = np.argsort(wanted, kind="stable")
    users, widths = users[order], wanted[order]
    start = 0
    while start < len(users):
        fits = np.searchsorted(np.arange(1, len(users) - start + 1) * widths[start:], SEARCHED_AT_ONCE, side="right")
        alike = np.searchsorted(widths, 2 * widths[start], side="right")
        stop = min(start + max(1, int(fits)), int(alike))
        yield users[start:stop], int(widths[stop - 1])
        start = stop
