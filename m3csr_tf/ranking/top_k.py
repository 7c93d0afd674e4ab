"""Top-k selection for each row of a score matrix that arrives in blocks of columns. Random keys break ties.

After the first blocks hardly any score reaches the k-th best of its row so far. Selection then costs little more than
one comparison of each score with that threshold, instead of a partition of all scores.
"""

from __future__ import annotations

import numpy as np

from m3csr_tf.util.splitmix import GOLDEN, finalize

_CROWDED = 16
"""A block in which more than one in this many scores passes the threshold is partitioned before it is stored."""
_TIED_ENTRIES = 1 << 18
"""Scores that are looked at together where ties for the last place are broken; so many fit the cache."""


class TopK:
    """The top `k` columns of each row, by descending score, and by ascending key where scores are equal.

    The result does not depend on the order of the blocks. A score of -inf is never selected.
    """

    def __init__(self, k: int, row_keys: np.ndarray, column_keys: np.ndarray) -> None:
        """Creates an empty selection.

        Args:
          k: number of columns that are kept for each row.
          row_keys: uint64 [rows], as `random_rows` makes them.
          column_keys: uint64 [columns], as `random_columns` makes them.
        """
        self._k, self._row_keys, self._column_keys = k, row_keys, column_keys
        # Score and key of the k-th best of each row so far. A row with fewer takes every finite score.
        self._edge = np.full(len(row_keys), np.finfo(np.float32).min)
        self._edge_key = np.full(len(row_keys), np.iinfo(np.uint64).max)
        self._found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._waiting = 0

    def update(self, scores: np.ndarray, first: int, mask: np.ndarray) -> None:
        """Takes from a block of scores those that may belong to the top k.

        Args:
          scores: float32 [rows, width].
          first: the column of the first score.
          mask: bool [rows, width], working memory that is overwritten.
        """
        partition_above = len(scores) * max(self._k, scores.shape[1] // _CROWDED)
        if self._found:
            np.greater_equal(scores, self._edge[:, None], out=mask)
            row, column = np.divmod(np.flatnonzero(mask), scores.shape[1])
            value = scores[row, column]
            kept = value > self._edge[row]
            tied = np.flatnonzero(~kept)
            kept[tied] = self._keys(row[tied], first + column[tied]) <= self._edge_key[row[tied]]
            row, column, value = row[kept], column[kept], value[kept]
        if not self._found or len(row) > partition_above:
            keys = self._column_keys[first : first + scores.shape[1]]
            chosen = _partitioned_top_k(scores, mask, min(self._k, scores.shape[1]), self._row_keys, keys)
            row = np.flatnonzero(chosen.ravel() >= 0) // chosen.shape[1]
            column = chosen[chosen >= 0]
            value = scores[row, column]
        self._found.append((row, first + column, value))
        self._waiting += len(row)
        if self._waiting > self._k * len(scores):
            self._settle()

    def lists(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the selected columns of each row and their scores, in descending order of score.

        Returns:
          Columns int [rows, k] and scores float32 [rows, k]; -1 and -inf where a row has fewer than k.
        """
        columns, scores = (
            np.full((len(self._edge), self._k), -1),
            np.full((len(self._edge), self._k), -np.inf, np.float32),
        )
        if self._found:
            self._settle()
            row, column, value = self._found[0]
            position = positions_in_rows(np.bincount(row, minlength=len(columns)))
            columns[row, position], scores[row, position] = column, value
        return columns, scores

    def _settle(self) -> None:
        row, column, value = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        keys = self._keys(row, column)
        falling = _by_row_and_falling(row, value)
        order = np.argsort(falling)
        if (np.diff(falling[order]) == 0).any():
            order = np.lexsort((keys, falling))
        position = positions_in_rows(np.bincount(row, minlength=len(self._edge)))
        last = order[position == self._k - 1]
        self._edge[row[last]], self._edge_key[row[last]] = value[last], keys[last]
        kept = order[position < self._k]
        self._found, self._waiting = [(row[kept], column[kept], value[kept])], 0

    def _keys(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return finalize(self._row_keys[row] + self._column_keys[column])


def positions_in_rows(counts: np.ndarray) -> np.ndarray:
    """Returns the position of each entry within its ragged row: 0, .., counts[0] - 1, 0, .., counts[1] - 1, ..."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1]) - np.repeat(ends - counts, counts)


def _by_row_and_falling(row: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Encodes each entry as an integer, uint64, that sorts entries by row and then by descending float32 value."""
    bits = (value + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0.
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (row.astype(np.uint64) << np.uint64(32)) | ~rising


def _partitioned_top_k(
    scores: np.ndarray, mask: np.ndarray, k: int, row_keys: np.ndarray, column_keys: np.ndarray
) -> np.ndarray:
    """Returns the columns of the top `k` scores of each row, unordered, int [b, k]; -1 where fewer are above -inf."""
    parted = np.partition(scores, scores.shape[1] - k, axis=1)
    edge = np.maximum(parted[:, scores.shape[1] - k], np.finfo(np.float32).min)
    np.greater_equal(scores, edge[:, None], out=mask)
    counts = np.count_nonzero(mask, axis=1)

    chosen = np.full((len(scores), k), -1)
    settled = counts <= k
    mask[~settled] = False
    row, column = np.divmod(np.flatnonzero(mask), scores.shape[1])
    chosen[row, positions_in_rows(np.where(settled, counts, 0))] = column

    contested = np.flatnonzero(~settled)
    step = max(1, _TIED_ENTRIES // scores.shape[1])
    for start in range(0, len(contested), step):
        some = contested[start : start + step]
        chosen[some] = _draw(scores[some], edge[some], k, row_keys[some], column_keys)
    return chosen


def _draw(scores: np.ndarray, edge: np.ndarray, k: int, row_keys: np.ndarray, column_keys: np.ndarray) -> np.ndarray:
    """Returns the columns of all scores above a row's k-th best and a random draw of those at it, int [b, k]."""
    keys = finalize(row_keys[:, None] + column_keys)
    np.copyto(keys, np.uint64(0), where=scores > edge[:, None])
    np.copyto(keys, np.iinfo(np.uint64).max, where=scores < edge[:, None])
    last = np.partition(keys, k - 1, axis=1)[:, k - 1, None]
    return (np.flatnonzero(keys <= last) % scores.shape[1]).reshape(-1, k)


# The random keys are those of SplitMix64, whose state each row starts elsewhere. Each of its steps is a bijection of
# 64-bit numbers, so that two columns of a row never have the same key.


def random_rows(seed: int, count: int) -> np.ndarray:
    """Returns the SplitMix64 state from which the keys of each row start, uint64 [count]."""
    start = finalize(np.array([seed % (1 << 64)], np.uint64))
    return finalize(np.arange(count, dtype=np.uint64) * GOLDEN + start)


def random_columns(numbers: np.ndarray) -> np.ndarray:
    """Returns what is added to a row's state to reach the keys of columns with these `numbers`, uint64 [columns]."""
    return numbers.astype(np.uint64) * GOLDEN
