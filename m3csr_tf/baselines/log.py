"""The data that baselines learn from, as plain arrays, and the definition of a baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.features.histories import click_matrix
from m3csr_tf.ranking.full_ranking import Csr, Vectors

Settings: TypeAlias = Mapping[str, Any]
"""Settings of a baseline, of types that JSON can hold."""

SelectionData = Literal["validation", "pseudo-cold"]


@dataclass(frozen=True)
class Log:
    """Training clicks and content by row, including the reserved rows.

    Attributes:
      clicks: the training clicks, float32 [users, items] of 1s, or of their weights, whose mean is 1.
      content: modality -> raw vectors float [items, width]; a row of NaN means that the item lacks the modality.
      ranked: bool [items], the items that will be ranked; a baseline need not compute the vectors of others.
      truth: the arrays of the truth of a synthetic world; None for real data.
    """

    clicks: sparse.csr_matrix
    content: Mapping[str, np.ndarray]
    ranked: np.ndarray
    truth: Mapping[str, np.ndarray] | None = None

    @classmethod
    def of(cls, prepared: Prepared, weighted: bool = False) -> Log:
        """Reads the log of a prepared folder, perhaps with the weights of the clicks, which the data must have then."""
        items = len(prepared.items)
        values = columns.WEIGHT if weighted else None
        clicks = click_matrix(prepared.split(columns.TRAIN), len(prepared.users), items, values)
        if weighted:
            clicks = (clicks / clicks.data.mean()).astype(np.float32)
        return cls(clicks, prepared.content, np.ones(items, bool), prepared.truth())

    @property
    def by_item(self) -> np.ndarray:
        """Number of clicks of each item, int [items]."""
        return np.bincount(self.clicks.indices, minlength=self.clicks.shape[1])

    @property
    def popularity(self) -> np.ndarray:
        """Sum of the entries of each item's clicks, float64 [items]: their number, or that of their weights."""
        return np.bincount(self.clicks.indices, self.clicks.data, minlength=self.clicks.shape[1])

    def without(self, items: np.ndarray) -> Log:
        """Returns the log without any clicks on `items`, bool [items], which are then the only ones to be ranked."""
        clicks = self.clicks.copy()
        clicks.data = clicks.data * ~items[clicks.indices]
        clicks.eliminate_zeros()
        return dataclasses.replace(self, clicks=clicks, ranked=items)


@dataclass(frozen=True)
class Limits:
    """The size of the largest log that a baseline can handle; None sets no limit."""

    users: int | None = None
    items: int | None = None
    clicks: int | None = None

    def exceeded(self, users: int, items: int, clicks: int) -> str | None:
        """Returns the first count that exceeds its limit, in words, or None."""
        for name, count, most in (
            ("users", users, self.users),
            ("items", items, self.items),
            ("clicks", clicks, self.clicks),
        ):
            if most is not None and count > most:
                return f"{count:,} {name}, at most {most:,}"
        return None


@dataclass(frozen=True)
class Baseline:
    """A baseline, i.e. a rival in closed form.

    Attributes:
      fits: yields the vectors for each element of a grid in turn; work that settings have in common is done once.
      grid: returns all settings that a search tries on a log; among equally good ones the earlier is chosen.
      selected_on: the data on which its settings are chosen (`search.choose`).
      limits: the size of the largest log that it can handle.
      needs: the name of a baseline whose chosen settings become a part of its own, e.g. `{"ials": {...}, ...}`.
      takes_weights: whether it can count a click by its weight (`evaluation.weighted_baselines`).
    """

    fits: Callable[[Log, Sequence[Settings]], Iterator[Vectors]]
    grid: Callable[[Log], Sequence[Settings]] = lambda log: ({},)
    selected_on: SelectionData = "validation"
    limits: Limits = Limits()
    needs: str | None = None
    takes_weights: bool = False

    def fit(self, log: Log, settings: Settings) -> Vectors:
        """Returns the vectors for one element of the grid."""
        return next(iter(self.fits(log, [settings])))


class HistorySums:
    """User vectors that are sums over the history, histories[rows] @ weights, computed when rows of them are taken.

    Args:
      histories: [users, items].
      weights: float32 [items, width].
    """

    def __init__(self, histories: Csr, weights: np.ndarray) -> None:
        self._histories, self._weights = histories, weights

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors of some users, float32 [n, width]."""
        return self._histories[rows] @ self._weights
