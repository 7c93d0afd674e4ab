"""A user's behaviour sequence s_u (section 4.4.1), and the click matrix, from rows of a training frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.ids import PADDING_ROW


def click_matrix(frame: pd.DataFrame, users: int, items: int) -> sparse.csr_matrix:
    """Who clicked what, float32 [users, items] of 1s, with sorted indices.

    Args:
      frame: user_row, item_row.
      users, items: sizes of the id tables, reserved rows included.
    """
    where = (frame[columns.USER_ROW].to_numpy(), frame[columns.ITEM_ROW].to_numpy())
    matrix = sparse.coo_matrix((np.ones(len(frame), np.float32), where), shape=(users, items)).tocsr()
    matrix.data[:] = 1
    matrix.sort_indices()
    return matrix


class Sequences(NamedTuple):
    """What users clicked, in order.

    Attributes:
      items: rows int32 [clicks], a user's together, earliest first.
      ends: int64 [users], where each user's end.
      sizes: int64 [users], how many each user has.
    """

    items: np.ndarray
    ends: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame, users: int, seed: int) -> Sequences:
        """Of training clicks.

        The order of a file says nothing of time, so without timestamps the order is a seeded draw.

        Args:
          frame: user_row, item_row and, if known, timestamp.
          users: size of the id table, reserved rows included.
          seed: of the draw, and of the order of equal timestamps.
        """
        user, item = frame[columns.USER_ROW].to_numpy(), frame[columns.ITEM_ROW].to_numpy()
        keys = [np.random.default_rng(seed).permutation(len(frame)), user]
        if columns.TIMESTAMP in frame:
            keys.insert(1, frame[columns.TIMESTAMP].to_numpy())
        sizes = np.bincount(user, minlength=users)
        return cls(item[np.lexsort(keys)].astype(np.int32), np.cumsum(sizes), sizes)

    def last(self, length: int, rows: np.ndarray | None = None) -> np.ndarray:
        """The last `length` items of each user, or of those of some rows, int [n].

        Returns:
          int32 [n, length] of item rows, earliest first, padded on the right with PADDING_ROW.
        """
        ends, sizes = (self.ends, self.sizes) if rows is None else (self.ends[rows], self.sizes[rows])
        kept = np.minimum(sizes, length)
        slots = np.full((len(kept), length), PADDING_ROW, np.int32)
        line = np.repeat(np.arange(len(kept)), kept)
        slot = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
        slots[line, slot] = self.items[np.repeat(ends - kept, kept) + slot]
        return slots


def histories(frame: pd.DataFrame, users: int, length: int, seed: int) -> np.ndarray:
    """The last `length` items of each user, or `length` drawn ones where there are no timestamps (`Sequences`).

    Returns:
      int32 [users, length] of item rows, earliest first, padded on the right with PADDING_ROW.
    """
    return Sequences.of(frame, users, seed).last(length)


def length_groups(lengths: np.ndarray, slots: int) -> Iterator[np.ndarray]:
    """Places of histories, those of like length together, so that padded to their longest they take `slots` at most.

    Args:
      lengths: int [n].
      slots: of a group, the padding included; a longer history is a group of its own.

    Yields:
      Places of at least one history, int64, each place once.
    """
    order = np.argsort(lengths, kind="stable")
    first = 0
    while first < len(order):
        some = lengths[order[first : first + slots]]  # No more can fit.
        padded = np.maximum(some, 1) * np.arange(1, len(some) + 1)
        count = max(1, int(np.searchsorted(padded, slots, side="right")))
        yield order[first : first + count]
        first += count


def renumbered(frame: pd.DataFrame, users: np.ndarray) -> pd.DataFrame:
    """The interactions of some users, their rows replaced by their places among them.

    Args:
      frame: user_row and more.
      users: rows of the users, int32 [users], ascending.
    """
    if not len(users):
        return frame[:0]
    rows = frame[columns.USER_ROW].to_numpy()
    places = np.minimum(np.searchsorted(users, rows), len(users) - 1)
    theirs = users[places] == rows
    return frame[theirs].assign(**{columns.USER_ROW: places[theirs]})
