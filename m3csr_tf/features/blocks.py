"""Arrays larger than memory, mapped from files by numpy: taken by blocks of rows, whose memory is given back."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

_TAKEN = 16_384


def blocks(rows: int, size: int, first: int = 0, step: int = 1) -> Iterator[slice]:
    """Blocks number `first`, `first` + `step`, ... of `rows` rows cut into blocks of `size`, the last maybe shorter."""
    for start in range(first * size, rows, step * size):
        yield slice(start, min(start + size, rows))


def take(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`array[rows]` for ascending rows; of an array mapped from a file hardly more than these stays in memory."""
    taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
    for block in blocks(len(rows), _TAKEN):
        some = rows[block]
        taken[block] = array[some]
        give_back(array[some[0] : some[-1] + 1])
    return taken


def read_ahead(*parts: np.ndarray) -> None:
    """Has the system read these parts of mapped files before they are asked for."""
    _advise(mmap.MADV_WILLNEED, *parts)


def give_back(*parts: np.ndarray) -> None:
    """Drops these parts of mapped files from memory; the files, and what the system caches of them, stay.

    Other arrays are left alone, as are those mapped copy-on-write, whose changes would be lost.
    """
    _advise(mmap.MADV_DONTNEED, *parts)


def _advise(advice: int, *parts: np.ndarray) -> None:
    for part in parts:
        mapped: object = part
        while isinstance(mapped, np.ndarray):
            mapped = mapped.base
        if isinstance(part, np.memmap) and part.mode != "c" and isinstance(mapped, mmap.mmap) and part.size:
            start = part.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
            first = start // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(advice, first, min(start + part.nbytes, len(mapped)) - first)
