"""Measures how alike two systems' lists are, user by user: the items that both hold, and the order of these items."""

from __future__ import annotations

import numpy as np

from m3csr_tf.ids import NO_ITEM

_USERS_AT_ONCE = 4096
"""Number of users whose [n, n] comparisons of two lists are in memory at a time."""


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Computes the share of a user's longer list that both of her lists hold.

    Args:
      first, second: lists of items int [users, n], numbered alike, in each of which an item occurs once; NO_ITEM where
        a list has ended.

    Returns:
      float64 [users], from 0 to 1; NaN where both lists are empty.
    """
    longer = np.maximum((first != NO_ITEM).sum(axis=1), (second != NO_ITEM).sum(axis=1))
    shared = (_places(first, second) != NO_ITEM).sum(axis=1)
    return np.where(longer > 0, shared / np.maximum(longer, 1), np.nan)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Computes Kendall's tau of the items that both lists of a user hold.

    It is (pairs of items in the same order - pairs in opposite order) / pairs; a list has no ties.

    Args:
      first, second: as in `overlap`.

    Returns:
      float64 [users], from -1 to 1; NaN where the lists share fewer than two items.
    """
    places = _places(first, second)
    taus = []
    for start in range(0, len(places), _USERS_AT_ONCE):
        block = places[start : start + _USERS_AT_ONCE]
        shared = block != NO_ITEM
        count = shared.sum(axis=1)
        signs = np.sign(block[:, np.newaxis, :] - block[:, :, np.newaxis])
        both = shared[:, np.newaxis, :] & shared[:, :, np.newaxis]
        later = np.triu(np.ones(block.shape[1:] * 2, bool), 1)
        agreement = (signs * both * later).sum(axis=(1, 2))
        pairs = count * (count - 1) / 2
        taus.append(np.where(pairs > 0, agreement / np.maximum(pairs, 1), np.nan))
    return np.concatenate(taus) if taus else np.zeros(0)


def _places(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the place in a user's second list of each item of the first, int64 [users, n]; NO_ITEM if it lacks it."""
    found = np.full(first.shape, NO_ITEM)
    for start in range(0, len(first), _USERS_AT_ONCE):
        some = slice(start, start + _USERS_AT_ONCE)
        equal = first[some][:, :, np.newaxis] == second[some][:, np.newaxis, :]
        equal &= (first[some] != NO_ITEM)[:, :, np.newaxis]
        found[some] = np.where(equal.any(axis=2), equal.argmax(axis=2), NO_ITEM)
    return found


def mean(values: np.ndarray) -> float | None:
    """Returns the mean of the values that are not NaN; None, which JSON can hold, if there is none."""
    there = values[~np.isnan(values)]
    return float(there.mean(dtype=np.float64)) if len(there) else None


def correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Returns Pearson's correlation of pairs of numbers; None with fewer than two pairs, or if a side is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one.astype(np.float64), other.astype(np.float64))[0, 1])
