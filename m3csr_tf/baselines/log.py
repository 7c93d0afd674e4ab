"""What the baselines learn from, as plain arrays; and what each baseline is."""

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
"""Settings of a baseline, as JSON holds them."""

SelectionData = Literal["validation", "pseudo-cold"]


@dataclass(frozen=True)
class Log:
    """Training clicks and content by row, reserved rows included.

    Attributes:
      clicks: who clicked what, float32 [users, items] of 1s.
      content: modality -> raw vectors float [items, width]; a row of NaN is absent.
      ranked: bool [items], the items whose vectors will be looked at; a baseline may leave out the others'.
      truth: the arrays of a world's truth, None for real data.
    """

    clicks: sparse.csr_matrix
    content: Mapping[str, np.ndarray]
    ranked: np.ndarray
    truth: Mapping[str, np.ndarray] | None = None

    @classmethod
    def of(cls, prepared: Prepared) -> Log:
        """Of a prepared folder."""
        items = len(prepared.items)
        clicks = click_matrix(prepared.split(columns.TRAIN), len(prepared.users), items)
        return cls(clicks, prepared.content, np.ones(items, bool), prepared.truth())

    @property
    def by_item(self) -> np.ndarray:
        """Clicks of each item, int [items]."""
        return np.bincount(self.clicks.indices, minlength=self.clicks.shape[1])

    def without(self, items: np.ndarray) -> Log:
        """The same log as if nobody had clicked `items`, bool [items], yet; and only those will be ranked."""
        clicks = self.clicks.copy()
        clicks.data = clicks.data * ~items[clicks.indices]
        clicks.eliminate_zeros()
        return dataclasses.replace(self, clicks=clicks, ranked=items)


@dataclass(frozen=True)
class Limits:
    """The largest log that a baseline takes; None: any."""

    users: int | None = None
    items: int | None = None
    clicks: int | None = None

    def exceeded(self, users: int, items: int, clicks: int) -> str | None:
        """The first count that is too large, in words, or None."""
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
    """A rival.

    Attributes:
      fits: gives the vectors for each settings in turn; work that settings share is done once.
      grid: all settings that a search tries, given the log; of equally good ones the earlier is chosen.
      selected_on: what its settings are chosen on (`search.choose`).
      limits: the largest log that it takes.
      needs: a baseline whose chosen settings its own begin with, e.g. `{"ials": {...}, ...}`.
    """

    fits: Callable[[Log, Sequence[Settings]], Iterator[Vectors]]
    grid: Callable[[Log], Sequence[Settings]] = lambda log: ({},)
    selected_on: SelectionData = "validation"
    limits: Limits = Limits()
    needs: str | None = None

    def fit(self, log: Log, settings: Settings) -> Vectors:
        """The vectors for one settings."""
        return next(iter(self.fits(log, [settings])))


class HistorySums:
    """User vectors that are sums over the history, made when rows of them are taken: histories[rows] @ weights.

    Args:
      histories: [users, items].
      weights: float32 [items, width].
    """

    def __init__(self, histories: Csr, weights: np.ndarray) -> None:
        self._histories, self._weights = histories, weights

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of some users, float32 [n, width]."""
        return self._histories[rows] @ self._weights
