"""Finds order statistics of a column that is too long to sort in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

_BINS = 1 << 16
_SORTED = 1 << 22
"""Number of values that may be held and partitioned in memory at once."""


def values_at(ranks: np.ndarray, blocks: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """Returns the values that would stand at the positions `ranks` if all values were sorted.

    Each pass over the values counts them in a histogram, and narrows the range that holds the value sought.

    Args:
      ranks: positions int [n], counted from 0.
      blocks: returns an iterator over all values, in blocks of one dtype; it is called once for each pass.

    Returns:
      The values [n], of their own dtype.
    """
    return np.array([_value_at(int(rank), blocks) for rank in ranks])


def _value_at(rank: int, blocks: Callable[[], Iterable[np.ndarray]]) -> np.generic:
    ends = [(block.min(), block.max()) for block in blocks() if len(block)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    while True:
        # Invariant: the value sought is the one at position `rank` among the values in [low, high].
        if low == high:
            return low
        borders = _borders(low, high)
        if len(borders) == 2:  # `low` and `high` are neighbours of their dtype, with no value between them.
            lowest = sum(int(np.count_nonzero(block == low)) for block in blocks())
            return low if rank < lowest else high
        counts = np.zeros(len(borders) - 1, np.int64)
        for block in blocks():
            some = block[(block >= low) & (block <= high)]
            counts += np.histogram(some, borders)[0]
        ends_of_bins = np.cumsum(counts)
        chosen = int(np.searchsorted(ends_of_bins, rank, side="right"))
        rank -= int(ends_of_bins[chosen - 1]) if chosen else 0
        below, above = borders[chosen], borders[chosen + 1]
        last = chosen == len(counts) - 1

        def inside(block: np.ndarray, below=below, above=above, last=last) -> np.ndarray:  # type: ignore[no-untyped-def]
            return block[(block >= below) & ((block <= above) if last else (block < above))]

        if counts[chosen] <= _SORTED:
            return np.partition(np.concatenate([inside(block) for block in blocks()]), rank)[rank]
        ends = [(some.min(), some.max()) for some in map(inside, blocks()) if len(some)]
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)


def _borders(low: np.generic, high: np.generic) -> np.ndarray:
    """Returns distinct borders from exactly `low` to exactly `high` of at most `_BINS` bins of equal width."""
    if isinstance(low, np.floating):
        return np.unique(np.linspace(float(low), float(high), _BINS + 1, dtype=low.dtype))
    # float64 has 53 bits, which is too few for timestamps in nanoseconds.
    first, span = int(low), int(high) - int(low)
    return np.unique(np.array([first + span * place // _BINS for place in range(_BINS + 1)], low.dtype))
