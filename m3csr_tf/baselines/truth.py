"""The true utilities of the synthetic world, a ceiling that no model can be expected to exceed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from m3csr_tf.baselines.log import Baseline, Log, Settings
from m3csr_tf.errors import InputError
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.ranking.full_ranking import Vectors


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields the true utilities of users and items, float32 [users, dim] and [items, dim].

    Raises:
      InputError: the data are real, so that their truth is unknown.
    """
    if log.truth is None:
        raise InputError("no truth.npz in the prepared folder: only data.format=world knows its truth; leave it out")
    for _ in grid:
        yield Vectors(*(_with_reserved_rows(log.truth[name]) for name in ("user_utilities", "item_utilities")))


def _with_reserved_rows(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((FIRST_ROW, values.shape[1]), np.float32), values.astype(np.float32)])


TRUTH = Baseline(fits)
