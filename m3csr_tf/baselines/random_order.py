"""Random order: all vectors are zero, so that all scores tie, and ties are broken at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from m3csr_tf.baselines.log import Baseline, Log, Settings
from m3csr_tf.ranking.full_ranking import Vectors


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields zeros, float32 [users, 1] and [items, 1]."""
    users, items = log.clicks.shape
    for _ in grid:
        yield Vectors(np.zeros((users, 1), np.float32), np.zeros((items, 1), np.float32))


RANDOM_ORDER = Baseline(fits)
