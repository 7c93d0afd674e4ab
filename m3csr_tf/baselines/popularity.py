"""Popularity: every user gets the same ranking, by training clicks, or by the sum of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from m3csr_tf.baselines.log import Baseline, Log, Settings
from m3csr_tf.ranking.full_ranking import Vectors


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields user vectors of ones, float32 [users, 1], and item vectors of popularity, float32 [items, 1]."""
    for _ in grid:
        yield Vectors(np.ones((log.clicks.shape[0], 1), np.float32), log.popularity.astype(np.float32)[:, None])


POPULARITY = Baseline(fits, takes_weights=True)
