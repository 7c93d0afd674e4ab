"""Access to arrays that are mapped from files and may be larger than memory.

They are read by blocks of rows, and the memory of each block is released after use.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

_TAKEN = 16_384
"""Number of rows that `take` copies before it releases the memory of their block."""


def blocks(rows: int, size: int, first: int = 0, step: int = 1) -> Iterator[slice]:
    """Divides rows into blocks and yields every `step`-th block, beginning with number `first`.

    Args:
      rows: number of rows.
      size: rows of a block; the last block may have fewer.
      first: number of the first block that is yielded.
      step: distance between the numbers of blocks that are yielded; `first` and `step` divide the blocks among workers.
    """
    for start in range(first * size, rows, step * size):
        yield slice(start, min(start + size, rows))


def take(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns a copy of `array[rows]`, after which little more than these rows of a mapped file stays in memory.

    Args:
      array: [n, ...].
      rows: int [m], ascending.
    """
    taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
    for block in blocks(len(rows), _TAKEN):
        some = rows[block]
        taken[block] = array[some]
        give_back(array[some[0] : some[-1] + 1])
    return taken


def read_ahead(*parts: np.ndarray) -> None:
    """Asks the operating system to read parts of mapped files before they are used. Other arrays are left alone."""
    _advise(mmap.MADV_WILLNEED, *parts)


def give_back(*parts: np.ndarray) -> None:
    """Releases the memory of parts of mapped files. The files, and the operating system's cache of them, stay.

    Other arrays are left alone. So are arrays that are mapped copy-on-write, whose changes would be lost.
    """
    _advise(mmap.MADV_DONTNEED, *parts)


def _advise(advice: int, *parts: np.ndarray) -> None:
    """Gives advice (`mmap.MADV_...`) for the memory pages of the parts that are mapped from files."""
    for part in parts:
        mapped: object = part
        while isinstance(mapped, np.ndarray):
            mapped = mapped.base
        if isinstance(part, np.memmap) and part.mode != "c" and isinstance(mapped, mmap.mmap) and part.size:
            start = part.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
            first = start // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(advice, first, min(start + part.nbytes, len(mapped)) - first)
