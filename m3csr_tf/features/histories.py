"""Behaviour sequences s_u of users (section 4.4.1), and the click matrix, from data frames of interactions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.ids import PADDING_ROW


def click_matrix(frame: pd.DataFrame, users: int, items: int, values: str | None = None) -> sparse.csr_matrix:
    """Makes the click matrix, binary or with the values of a column.

    Args:
      frame: interactions, with the columns user_row and item_row, each pair of them once.
      users, items: sizes of the id tables, reserved rows included.
      values: name of the column that holds the entries of the matrix; None makes all of them 1.

    Returns:
      float32 [users, items] of 1s, or float64 of the values, with sorted indices.
    """
    where = (frame[columns.USER_ROW].to_numpy(), frame[columns.ITEM_ROW].to_numpy())
    if values is not None:
        of_column = frame[values].to_numpy(np.float64)
        weighted = sparse.coo_matrix((of_column, where), shape=(users, items)).tocsr()
        weighted.sort_indices()
        return weighted
    matrix = sparse.coo_matrix((np.ones(len(frame), np.float32), where), shape=(users, items)).tocsr()
    matrix.data[:] = 1
    matrix.sort_indices()
    return matrix


class Sequences(NamedTuple):
    """The clicks of each user in order.

    Attributes:
      items: item rows int32 [clicks]; the clicks of a user follow each other, earliest first.
      ends: int64 [users], one past the last click of each user.
      sizes: int64 [users], number of clicks of each user.
    """

    items: np.ndarray
    ends: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame, users: int, seed: int) -> Sequences:
        """Orders the clicks of each user by time.

        Without timestamps the order is random, since the order of a file need not be that of time.

        Args:
          frame: interactions, with the columns user_row, item_row and, if known, timestamp.
          users: size of the id table, reserved rows included.
          seed: seed of the random order, which also orders equal timestamps.
        """
        user, item = frame[columns.USER_ROW].to_numpy(), frame[columns.ITEM_ROW].to_numpy()
        keys = [np.random.default_rng(seed).permutation(len(frame)), user]
        if columns.TIMESTAMP in frame:
            keys.insert(1, frame[columns.TIMESTAMP].to_numpy())
        sizes = np.bincount(user, minlength=users)
        return cls(item[np.lexsort(keys)].astype(np.int32), np.cumsum(sizes), sizes)

    def last(self, length: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Returns the last `length` items of users.

        Args:
          length: number of slots of each user.
          rows: int [n], rows of the users; None takes all users.

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
    """Makes histories: the last `length` items of each user, or a random draw of them without timestamps (`Sequences`).

    Args:
      frame, users, seed: as in `Sequences.of`.
      length: number of slots of each user.

    Returns:
      int32 [users, length] of item rows, earliest first, padded on the right with PADDING_ROW.
    """
    return Sequences.of(frame, users, seed).last(length)


def length_groups(lengths: np.ndarray, slots: int) -> Iterator[np.ndarray]:
    """Groups histories of similar length, so that each group can be padded to its longest history.

    Args:
      lengths: int [n], lengths of histories.
      slots: largest number of slots of a group, padding included. A history that is longer is a group of its own.

    Yields:
      Indices int64 of the histories of a group, at least one. Each history is in one group.
    """
    order = np.argsort(lengths, kind="stable")
    first = 0
    while first < len(order):
        some = lengths[order[first : first + slots]]  # No more can fit, since even an empty history takes a slot.
        padded = np.maximum(some, 1) * np.arange(1, len(some) + 1)
        count = max(1, int(np.searchsorted(padded, slots, side="right")))
        yield order[first : first + count]
        first += count


def renumbered(frame: pd.DataFrame, users: np.ndarray) -> pd.DataFrame:
    """Selects the interactions of some users, and numbers these users from 0.

    Args:
      frame: interactions, with the column user_row and any others.
      users: int32 [users], rows of the users, ascending.

    Returns:
      The interactions of these users, with user_row replaced by the index in `users`.
    """
    if not len(users):
        return frame[:0]
    rows = frame[columns.USER_ROW].to_numpy()
    positions = np.minimum(np.searchsorted(users, rows), len(users) - 1)
    theirs = users[positions] == rows
    return frame[theirs].assign(**{columns.USER_ROW: positions[theirs]})
