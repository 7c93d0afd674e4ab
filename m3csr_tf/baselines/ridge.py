"""Ridge regression from content to clicks, one linear model for each user, which scores cold items too.

Over the trained items, B = (X'X + lambda I)^-1 X'Y. X is the content of all modalities side by side, standardised by
dimension, with zeros where a modality is absent, and Y holds the clicks on the items by user. X is centred, so the
intercepts, which cannot change a user's ranking, need not be computed. A user's vector is her column of B, and an
item's vector is its row of X. A user without clicks gets zeros and therefore a random list.
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
"""Ridge penalties per trained item, lambda = penalty * items. The larger ones come first, and win ties."""


def grid(log: Log) -> list[Settings]:
    """Returns the grid: all modalities or each alone, with each of PENALTIES."""
    return [
        {"modalities": names, "penalty": penalty}
        for names, penalty in itertools.product(modalities.choices(log), PENALTIES)
    ]


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields columns of B as user vectors, dense [users, width], and rows of X as item vectors, dense [items, width].

    Settings: `modalities`; `penalty`, lambda / items.
    """
    trained = np.flatnonzero(log.by_item)
    for names, group in itertools.groupby(grid, key=lambda settings: settings["modalities"]):
        content = modalities.standardised(log, names)
        ridge = Ridge(content[trained])
        for settings in group:
            # B' = Y'X (X'X + lambda I)^-1, so a user's vector is the sum of the weights of her clicked items.
            weights = np.zeros_like(content)
            weights[trained] = ridge.weights(settings["penalty"])
            yield Vectors(HistorySums(log.clicks, weights), content - ridge.centre)


class Ridge:
    """Ridge regressions on the same content, for any targets and penalties.

    Args:
      content: X, float32 [items, width]; it is centred here.

    Attributes:
      centre: the mean of X, float32 [width].
    """

    def __init__(self, content: np.ndarray) -> None:
        self.centre = content.mean(axis=0)
        self._centred = content - self.centre
        with one_blas_thread():  # On busy cores, BLAS threads wait for each other for seconds instead of milliseconds.
            self._values, self._axes = np.linalg.eigh((self._centred.T @ self._centred).astype(np.float64))

    def weights(self, penalty: float) -> np.ndarray:
        """Computes W = X (X'X + penalty * items * I)^-1, X centred, float32 [items, width]; B' = Y' W for targets Y.

        The eigenvectors of X'X are computed once, and serve for every penalty.
        """
        shrunk = np.maximum(self._values, 0) + penalty * len(self._centred)
        return self._centred @ ((self._axes / shrunk) @ self._axes.T).astype(np.float32)


RIDGE = Baseline(fits, grid, "pseudo-cold", Limits(items=1_000_000, clicks=5_000_000), takes_weights=True)
