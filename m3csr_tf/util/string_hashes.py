"""A stable 64-bit hash of strings, over whole Arrow arrays: it is the same on every machine and in every version."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from m3csr_tf.util.splitmix import GOLDEN, finalize

_BLOCK = 1 << 16
_WORD = 8


def string_hashes(strings: pa.LargeStringArray) -> np.ndarray:
    """Returns the hashes, uint64 [n], of strings without nulls.

    A hash starts from the length in bytes and takes in the UTF-8 text by words of eight bytes, padded with zeros; each
    word is mixed in by SplitMix64's finalizer.
    """
    count = len(strings)
    _, ends, text = strings.buffers()
    hashes = np.empty(count, np.uint64)
    if not count:
        return hashes
    offsets = np.frombuffer(ends, np.int64, count + 1, strings.offset * np.dtype(np.int64).itemsize)
    characters = np.empty(0, np.uint8) if text is None else np.frombuffer(text, np.uint8)
    for start in range(0, count, _BLOCK):
        bounds = offsets[start : start + _BLOCK + 1]
        hashes[start : start + _BLOCK] = _hash_block(characters[bounds[0] : bounds[-1]], bounds - bounds[0])
    return hashes


def _hash_block(text: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    padded = np.zeros(len(text) + _WORD, np.uint8)
    padded[: len(text)] = text
    words = np.ndarray(len(text) + 1, "<u8", padded, strides=(1,))
    starts, left = offsets[:-1], np.diff(offsets)
    hashes = left.astype(np.uint64)
    _mix(hashes)
    longer = np.flatnonzero(left)
    while len(longer):
        word = words[starts[longer]]
        word &= np.uint64(2**64 - 1) >> (np.uint64(64) - 8 * np.minimum(left[longer], _WORD).astype(np.uint64))
        word ^= hashes[longer]
        _mix(word)
        hashes[longer] = word
        starts, left = starts + _WORD, left - _WORD
        longer = longer[left[longer] > 0]
    return hashes


def _mix(values: np.ndarray) -> None:
    values += GOLDEN
    finalize(values)
