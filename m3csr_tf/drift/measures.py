"""How alike two systems' lists are, user by user: shared items, and the order in which both have them."""

from __future__ import annotations

import numpy as np

from m3csr_tf.ids import NO_ITEM

_USERS_AT_ONCE = 4096


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Share of the longer list that both lists hold, float64 [users]; NaN where both are empty.

    Args:
      first, second: items int [users, n], by one numbering, each once in a list; NO_ITEM where a list has ended.
    """
    longer = np.maximum((first != NO_ITEM).sum(axis=1), (second != NO_ITEM).sum(axis=1))
    shared = (_places(first, second) != NO_ITEM).sum(axis=1)
    return np.where(longer > 0, shared / np.maximum(longer, 1), np.nan)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kendall's tau of the order of the items that both lists hold, float64 [users]; NaN with fewer than two.

    (pairs in the same order - pairs in the opposite one) / pairs; there are no ties within a list.

    Args:
      first, second: as in `overlap`.
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
    """Where in its second list a user has each item of the first one, int64 [users, n]; NO_ITEM where it lacks it."""
    found = np.full(first.shape, NO_ITEM)
    for start in range(0, len(first), _USERS_AT_ONCE):
        some = slice(start, start + _USERS_AT_ONCE)
        equal = first[some][:, :, np.newaxis] == second[some][:, np.newaxis, :]
        equal &= (first[some] != NO_ITEM)[:, :, np.newaxis]
        found[some] = np.where(equal.any(axis=2), equal.argmax(axis=2), NO_ITEM)
    return found


def mean(values: np.ndarray) -> float | None:
    """The mean of what is no NaN; None of nothing, which JSON can hold."""
    there = values[~np.isnan(values)]
    return float(there.mean(dtype=np.float64)) if len(there) else None


def correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson's correlation of pairs of numbers; None with fewer than two, or where a side does not vary."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one.astype(np.float64), other.astype(np.float64))[0, 1])
