"""Draws seeded samples without replacement."""

from __future__ import annotations

import numpy as np


def sample(values: np.ndarray, most: int | None, seed: int, nested: bool = False) -> np.ndarray:
    """Draws a seeded sample of `most` of the values, in their order; all if they are no more or `most` is None.

    Args:
      values: [n], of any dtype.
      most: the size of the sample.
      seed: the seed of the draw.
      nested: whether a larger sample of the same seed holds every value of a smaller one, so that figures of a few
        users can be compared with those of many. Such a draw permutes all values; the other one needs memory for the
        sample alone.

    Returns:
      [min(n, most)], of the same dtype.
    """
    if most is None or len(values) <= most:
        return values
    random = np.random.default_rng(seed)
    drawn = random.permutation(len(values))[:most] if nested else random.choice(len(values), most, replace=False)
    return values[np.sort(drawn)]
