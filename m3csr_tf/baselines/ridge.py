"""Ridge regression from content to clicks, one linear model a user: what content alone says, cold items included.

Over the trained items, B = (X'X + lambda I)^-1 X'Y with X the content, standardised a dimension, modalities side by
side, zeros where absent, and Y their clicks by user. X is centred, so the intercepts (one a user, which cannot change
her ranking) need no solving. A user's vector is her column of B, an item's its row of X; a user without clicks gets
zeros, and so a random list.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from m3csr_tf.baselines import modalities
from m3csr_tf.baselines.log import Baseline, HistorySums, Limits, Log, Settings
from m3csr_tf.ranking.full_ranking import Vectors
from m3csr_tf.util.threads import one_blas_thread

PENALTIES = tuple(np.geomspace(1e2, 1e-2, 9).tolist())
"""Ridge penalties tried, a trained item: lambda = penalty * items. The larger first: of equals it is chosen."""


def grid(log: Log) -> list[Settings]:
    """All modalities or each alone, and PENALTIES."""
    return [
        {"modalities": names, "penalty": penalty}
        for names, penalty in itertools.product(modalities.choices(log), PENALTIES)
    ]


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """User vectors, columns of B, and item vectors, rows of X: dense [users, width] and [items, width].

    Settings: `modalities`; `penalty`, lambda / items.
    """
    trained = np.flatnonzero(log.by_item)
    for names, group in itertools.groupby(grid, key=lambda settings: settings["modalities"]):
        content = modalities.standardised(log, names)
        ridge = Ridge(content[trained])
        for settings in group:
            # B' = Y'X (X'X + lambda I)^-1, so that a user's vector is a sum over her history.
            weights = np.zeros_like(content)
            weights[trained] = ridge.weights(settings["penalty"])
            yield Vectors(HistorySums(log.clicks, weights), content - ridge.centre)


class Ridge:
    """Ridge regressions on the same content, for any targets and penalties.

    Args:
      content: X, float32 [items, width]; centred here.

    Attributes:
      centre: float32 [width].
    """

    def __init__(self, content: np.ndarray) -> None:
        self.centre = content.mean(axis=0)
        self._centred = content - self.centre
        with one_blas_thread():  # On busy cores BLAS threads wait for each other: seconds for what takes milliseconds.
            self._values, self._axes = np.linalg.eigh((self._centred.T @ self._centred).astype(np.float64))

    def weights(self, penalty: float) -> np.ndarray:
        """X (X'X + penalty * items * I)^-1 with X centred, float32 [items, width]: times targets Y', B' = Y' weights.

        The eigenvectors of X'X solve for every penalty at once.
        """
        shrunk = np.maximum(self._values, 0) + penalty * len(self._centred)
        return self._centred @ ((self._axes / shrunk) @ self._axes.T).astype(np.float32)


RIDGE = Baseline(fits, grid, "pseudo-cold", Limits(items=1_000_000, clicks=5_000_000))
