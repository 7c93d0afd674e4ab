"""Chooses the settings of a baseline, on validation or on trained items that are held out as if they were new."""

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
"""Number of draws of pseudo-cold items, because a single draw is a poor estimate for cold items."""
HELD_OUT = 0.2
"""Share of the trained items that is pseudo-cold in a draw."""
MOST_USERS = 4000
"""Largest number of users of a draw; with it, the standard error of Recall@20 is below 0.005."""

Report = Callable[[int, int], None]
"""Progress callback, which gets the number of settings scored so far and in all; each draw scores all settings."""


@dataclass(frozen=True)
class ChosenSettings:
    """The result of a search.

    Attributes:
      settings: the best settings.
      selected_on: the data on which they were chosen.
      recall, ndcg: Recall@20 and NDCG@20 on these data; None if there were no users to score by, in which case the
        first settings of the grid are taken.
      grid: number of settings that were tried.
      seconds: duration of the search in seconds.
    """

    settings: dict[str, Any]
    selected_on: SelectionData
    recall: float | None
    ndcg: float | None
    grid: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Returns the result as plain numbers and words."""
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
    """Chooses the settings with the best Recall@20; among equally good ones the earlier in the grid.

    A baseline that is selected on validation ranks all items except the user's training clicks, for all users with a
    validation click or for a sample of `most_users`. A baseline that is selected on pseudo-cold items is fitted without
    the clicks of a fifth of the trained items, and ranks only those items for users who clicked one of them; the mean
    over several draws decides.

    Args:
      baseline: the baseline to tune.
      grid: the settings to try.
      prepared: the prepared data.
      log: its training clicks and content.
      most_users: largest number of validation users; None takes all.
      seed: seed of draws and ties.
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
    """A ranking task on which every element of the grid is scored.

    Attributes:
      log: the clicks and content to learn from.
      users: rows of the users whose lists are scored, int [n].
      truth: their held-out clicks, [n, items].
      seen: items that are left out of their lists, [n, items], or None.
      candidates: the items that are ranked, bool [items].
    """

    log: Log
    users: np.ndarray
    truth: Csr
    seen: Csr | None
    candidates: np.ndarray

    def score(self, vectors: Vectors, seed: int) -> tuple[float, float]:
        """Returns Recall@20 and NDCG@20."""
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
