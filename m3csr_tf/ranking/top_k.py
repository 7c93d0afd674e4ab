"""The best of each row while scores come in by pieces, ties in an order of random keys.

After the first pieces hardly a score reaches a row's n-th best so far: one comparison with that threshold is nearly all
that selecting costs, instead of a partition of every score.
"""

from __future__ import annotations

import numpy as np

from m3csr_tf.util.splitmix import GOLDEN, finalize

_CROWDED = 16
"""A piece that leaves more than one in this many of its scores to choose from is partitioned first."""
_TIED_ENTRIES = 1 << 18
"""Scores looked at together where ties at the last place are settled: what fits the cache."""


class Best:
    """The `k` best columns of each row: by falling score, equal ones by their keys, whatever the order of the pieces.

    A score of -inf is never chosen.
    """

    def __init__(self, k: int, row_keys: np.ndarray, column_keys: np.ndarray) -> None:
        """Starts without any column.

        Args:
          k: columns of a row that are kept.
          row_keys: uint64 [rows], of `random_rows`.
          column_keys: uint64 [columns], of `random_columns`.
        """
        self._k, self._row_keys, self._column_keys = k, row_keys, column_keys
        # The k-th best of each row so far; one that has fewer takes all that is finite.
        self._edge = np.full(len(row_keys), np.finfo(np.float32).min)
        self._edge_key = np.full(len(row_keys), np.iinfo(np.uint64).max)
        self._found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._waiting = 0

    def offer(self, scores: np.ndarray, first: int, mask: np.ndarray) -> None:
        """Takes from `scores`, float32 [rows, width] of the columns from `first` on, what may be among the best.

        `mask`, bool [rows, width], is overwritten.
        """
        few = len(scores) * max(self._k, scores.shape[1] // _CROWDED)
        if self._found:
            np.greater_equal(scores, self._edge[:, None], out=mask)
            row, column = np.divmod(np.flatnonzero(mask), scores.shape[1])
            value = scores[row, column]
            kept = value > self._edge[row]
            tied = np.flatnonzero(~kept)
            kept[tied] = self._keys(row[tied], first + column[tied]) <= self._edge_key[row[tied]]
            row, column, value = row[kept], column[kept], value[kept]
        if not self._found or len(row) > few:
            keys = self._column_keys[first : first + scores.shape[1]]
            chosen = _best(scores, mask, min(self._k, scores.shape[1]), self._row_keys, keys)
            row = np.flatnonzero(chosen.ravel() >= 0) // chosen.shape[1]
            column = chosen[chosen >= 0]
            value = scores[row, column]
        self._found.append((row, first + column, value))
        self._waiting += len(row)
        if self._waiting > self._k * len(scores):
            self._settle()

    def lists(self) -> tuple[np.ndarray, np.ndarray]:
        """The chosen columns, best first, int [rows, k], and their float32 scores; -1 and -inf for none."""
        columns, scores = (
            np.full((len(self._edge), self._k), -1),
            np.full((len(self._edge), self._k), -np.inf, np.float32),
        )
        if self._found:
            self._settle()
            row, column, value = self._found[0]
            place = places(np.bincount(row, minlength=len(columns)))
            columns[row, place], scores[row, place] = column, value
        return columns, scores

    def _settle(self) -> None:
        row, column, value = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        keys = self._keys(row, column)
        falling = _by_row_and_falling(row, value)
        order = np.argsort(falling)
        if (np.diff(falling[order]) == 0).any():
            order = np.lexsort((keys, falling))
        place = places(np.bincount(row, minlength=len(self._edge)))
        last = order[place == self._k - 1]
        self._edge[row[last]], self._edge_key[row[last]] = value[last], keys[last]
        kept = order[place < self._k]
        self._found, self._waiting = [(row[kept], column[kept], value[kept])], 0

    def _keys(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return finalize(self._row_keys[row] + self._column_keys[column])


def places(counts: np.ndarray) -> np.ndarray:
    """0, 1, .. counts[0] - 1, 0, 1, .. counts[1] - 1, and so on: places of the entries of ragged rows."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1]) - np.repeat(ends - counts, counts)


def _by_row_and_falling(row: np.ndarray, value: np.ndarray) -> np.ndarray:
    """One whole number an entry, uint64, that sorts them by row and then by falling float32 value."""
    bits = (value + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0.
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (row.astype(np.uint64) << np.uint64(32)) | ~rising


def _best(scores: np.ndarray, mask: np.ndarray, k: int, row_keys: np.ndarray, column_keys: np.ndarray) -> np.ndarray:
    """Columns of the `k` best scores of each row, in no order, int [b, k]; -1 where fewer are above -inf."""
    parted = np.partition(scores, scores.shape[1] - k, axis=1)
    edge = np.maximum(parted[:, scores.shape[1] - k], np.finfo(np.float32).min)
    np.greater_equal(scores, edge[:, None], out=mask)
    counts = np.count_nonzero(mask, axis=1)

    chosen = np.full((len(scores), k), -1)
    settled = counts <= k
    mask[~settled] = False
    row, column = np.divmod(np.flatnonzero(mask), scores.shape[1])
    chosen[row, places(np.where(settled, counts, 0))] = column

    contested = np.flatnonzero(~settled)
    step = max(1, _TIED_ENTRIES // scores.shape[1])
    for start in range(0, len(contested), step):
        some = contested[start : start + step]
        chosen[some] = _draw(scores[some], edge[some], k, row_keys[some], column_keys)
    return chosen


def _draw(scores: np.ndarray, edge: np.ndarray, k: int, row_keys: np.ndarray, column_keys: np.ndarray) -> np.ndarray:
    """Columns of all scores above the row's edge and of a random choice of those at it, int [b, k]."""
    keys = finalize(row_keys[:, None] + column_keys)
    np.copyto(keys, np.uint64(0), where=scores > edge[:, None])
    np.copyto(keys, np.iinfo(np.uint64).max, where=scores < edge[:, None])
    last = np.partition(keys, k - 1, axis=1)[:, k - 1, None]
    return (np.flatnonzero(keys <= last) % scores.shape[1]).reshape(-1, k)


# Random keys: SplitMix64, started at a place of the row's own. Its steps are one-to-one on 64 bits, so that
# two columns never share a key in the same row.


def random_rows(seed: int, count: int) -> np.ndarray:
    """Where the keys of each row start, uint64 [count]."""
    start = finalize(np.array([seed % (1 << 64)], np.uint64))
    return finalize(np.arange(count, dtype=np.uint64) * GOLDEN + start)


def random_columns(numbers: np.ndarray) -> np.ndarray:
    """How far from a row's start the keys of the columns of these `numbers` lie, uint64 [columns]."""
    return numbers.astype(np.uint64) * GOLDEN
