"""The nearest items of many users, without those that each has seen and those that nobody is to see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from m3csr_tf.ids import NO_ITEM
from m3csr_tf.index import ItemIndex

SEARCHED_AT_ONCE = 1 << 20
"""Places of all lists of one search; bounds memory, as users with many exclusions need long lists."""


@dataclass(frozen=True)
class Candidates:
    """Items to search.

    Attributes:
      index: holds them.
      rows: int64 [items of `index`], the row of each in the release's index; None where `index` is that.
      hidden: bool [items of `index`], those that are in no list; None where there is none.
    """

    index: ItemIndex
    rows: np.ndarray | None = None
    hidden: np.ndarray | None = None

    @property
    def count(self) -> int:
        """How many items there are to find."""
        return len(self.index) - (0 if self.hidden is None else int(self.hidden.sum()))


class Seen:
    """What users have seen, as pairs of a user and a row of the release's index.

    Args:
      users: int64 [pairs], positions of the users.
      rows: int64 [pairs].
      items: number of rows.
    """

    def __init__(self, users: np.ndarray, rows: np.ndarray, items: int) -> None:
        self._items = items
        self._keys = np.unique(users * items + rows)

    def of(self, users: np.ndarray) -> Seen:
        """What some users have seen, int64 [some], ascending; they become users 0, 1, ..."""
        owners, rows = np.divmod(self._keys, self._items)
        positions = np.minimum(np.searchsorted(users, owners), len(users) - 1)
        kept = users[positions] == owners
        return Seen(positions[kept], rows[kept], self._items)

    def holds(self, users: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether users [u] have seen rows [u, k], bool [u, k]."""
        if not len(self._keys):
            return np.zeros(rows.shape, dtype=bool)
        wanted = users[:, np.newaxis] * self._items + rows
        positions = np.searchsorted(self._keys, wanted)
        return self._keys[np.minimum(positions, len(self._keys) - 1)] == wanted

    def counts(self, users: int, among: np.ndarray | None) -> np.ndarray:
        """How many items each of `users` has seen, int64 [users]; only rows of `among`, if given."""
        owners, rows = np.divmod(self._keys, self._items)
        if among is not None:
            counted = np.zeros(self._items, dtype=bool)
            counted[among] = True
            owners = owners[counted[rows]]
        return np.bincount(owners, minlength=users)


def nearest(candidates: Candidates, vectors: np.ndarray, seen: Seen, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n candidates of the largest score for each user that the user has not seen.

    Args:
      candidates: what to search.
      vectors: float32 [users, D].
      seen: of the same users.
      n: items wanted.

    Returns:
      Rows of the release's index, int64 [users, n], and scores, float32 [users, n], best first; NO_ITEM and -inf where
      the candidates end.
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
        # Only where more was hidden than spared for: those users are searched again, in the end among all items.
        users = users[(rows[users, n - 1] == NO_ITEM) & (wanted[users] < indexed)]
        wanted[users] = np.minimum(4 * wanted[users], indexed)
    return rows, scores


def _alike(users: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Users in groups that want lists of similar length, so that a few with a long past do not lengthen every search.

    Yields:
      Users of a group, int64 [group], and the longest list that one of them wants.
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
