"""How the settings of a baseline are chosen: on validation, or on trained items held out as if they were new."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from m3csr_tf import columns
from m3csr_tf.baselines.log import Baseline, Log, SelectionData, Settings
from m3csr_tf.data.audience import read_clicks, users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.evaluation import metrics
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.ranking.full_ranking import Csr, Vectors, top_n
from m3csr_tf.util.samples import sample

SCORED_AT = 20
DRAWS = 5
"""Pseudo-cold draws: a single one says little of cold items."""
HELD_OUT = 0.2
"""Share of the trained items that plays cold in a draw."""
MOST_USERS = 4000
"""Users of a draw: enough for a standard error of Recall@20 below 0.005."""

Report = Callable[[int, int], None]
"""Gets how many settings have been scored, of how many; each draw scores all settings."""


@dataclass(frozen=True)
class ChosenSettings:
    """What a search has found.

    Attributes:
      settings: the best ones.
      selected_on: what they were chosen on.
      recall, ndcg: Recall@20 and NDCG@20 there; None without users to score by, and the first settings were taken.
      grid: how many settings were tried.
      seconds: that the search has taken.
    """

    settings: dict[str, Any]
    selected_on: SelectionData
    recall: float | None
    ndcg: float | None
    grid: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and words."""
        return asdict(self)


def choose(
    baseline: Baseline,
    grid: Sequence[Settings],
    prepared: Prepared,
    log: Log,
    most_users: int | None,
    seed: int,
    report: Report,
) -> ChosenSettings:
    """The settings with the best Recall@20; of equals the earlier of the grid.

    A baseline whose settings are selected on validation ranks all items but the user's training clicks, for all users
    with a validation click or a draw of `most_users`. One whose settings are selected on pseudo-cold items is fitted
    without the clicks of a fifth of the trained items and ranks those alone for users who clicked one; the mean of
    several draws decides.

    Args:
      baseline: to tune.
      grid: settings to try.
      prepared: the data.
      log: its training clicks and content.
      most_users: see above; None: all.
      seed: of draws and ties.
      report: progress callback.
    """
    began = time.monotonic()
    scorers = (
        [_on_validation(prepared, log, most_users, seed)]
        if baseline.selected_on == "validation"
        else list(_on_pseudo_cold(log, seed))
    )
    scorers = [scorer for scorer in scorers if len(scorer.users)]
    sums, done = np.zeros((len(grid), 2)), 0
    for scorer in scorers:
        for place, vectors in enumerate(baseline.fits(scorer.log, grid)):
            sums[place] += scorer.score(vectors, seed)
            done += 1
            report(done, len(grid) * len(scorers))
    best = int(np.argmax(sums[:, 0]))
    recall, ndcg = (float(total) / len(scorers) for total in sums[best]) if scorers else (None, None)
    return ChosenSettings(dict(grid[best]), baseline.selected_on, recall, ndcg, len(grid), time.monotonic() - began)


@dataclass(frozen=True)
class _SettingsScorer:
    """One question put to every settings.

    Attributes:
      log: to learn from.
      users: rows of those whose lists are scored, int [n].
      truth: what they clicked, [n, items].
      seen: what is left out of their lists, [n, items], or None.
      candidates: bool [items], what is ranked.
    """

    log: Log
    users: np.ndarray
    truth: Csr
    seen: Csr | None
    candidates: np.ndarray

    def score(self, vectors: Vectors, seed: int) -> tuple[float, float]:
        """Recall@20 and NDCG@20."""
        ranked = top_n(
            vectors.user_vectors[self.users],
            vectors.item_vectors,
            SCORED_AT,
            seen=self.seen,
            candidates=self.candidates,
            seed=seed,
        )
        found = metrics.per_user(ranked, self.truth, [SCORED_AT])
        recall, ndcg = (found[metrics.name(metric, SCORED_AT)].mean() for metric in (metrics.RECALL, metrics.NDCG))
        return float(recall), float(ndcg)


def _on_validation(prepared: Prepared, log: Log, most_users: int | None, seed: int) -> _SettingsScorer:
    users = sample(users_with(prepared, columns.VAL), most_users, seed, nested=True)
    known = np.arange(log.clicks.shape[1]) >= FIRST_ROW
    return _SettingsScorer(log, users, read_clicks(prepared, columns.VAL, users), log.clicks[users], known)


def _on_pseudo_cold(log: Log, seed: int) -> Iterator[_SettingsScorer]:
    random = np.random.default_rng(seed)
    trained = np.flatnonzero(log.by_item)
    if len(trained) < 2:
        return
    for _ in range(DRAWS):
        held_out = np.zeros(log.clicks.shape[1], bool)
        held_out[random.choice(trained, max(1, round(HELD_OUT * len(trained))), replace=False)] = True
        kept = log.without(held_out)
        truth = log.clicks - kept.clicks
        truth.eliminate_zeros()
        users = np.flatnonzero(np.diff(truth.indptr))
        users = np.sort(random.choice(users, min(len(users), MOST_USERS), replace=False))
        yield _SettingsScorer(kept, users, truth[users], None, held_out)
