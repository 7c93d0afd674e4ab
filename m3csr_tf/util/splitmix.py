"""SplitMix64 (Steele, Lea & Flood, OOPSLA 2014) over whole arrays: its constant increment and its finalizer."""

from __future__ import annotations

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The number that the generator adds to its state at every step: 2^64 over the golden ratio, made odd."""
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def finalize(values: np.ndarray) -> np.ndarray:
    """Scrambles uint64 values of any shape in place, one-to-one, and returns them."""
    values ^= values >> np.uint64(30)
    values *= _FIRST
    values ^= values >> np.uint64(27)
    values *= _SECOND
    values ^= values >> np.uint64(31)
    return values
