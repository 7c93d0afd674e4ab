"""Lists of held-out items: how far co-clicks and predicted ids should count at the top of a list."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.metrics import ndcg_score

from m3csr_tf.config import InitialConfig
from m3csr_tf.util.progress import ProgressCallback

LENGTH = 20
"""Length of the lists."""
MOST_USERS, MOST_ITEMS = 1_000, 2_000
"""Largest numbers of users and of held-out items of a fold; of more, a seeded sample."""


class HeldOutLists(NamedTuple):
    """The scores by which users rank the items that a fold holds out.

    Attributes:
      truth: bool [users, items], the held-out clicks; each user has at least one.
      scores: float32 [kinds of scores, users, items].
    """

    truth: np.ndarray
    scores: np.ndarray

    def ndcg(self, weights: np.ndarray) -> float:
        """Returns the mean NDCG@20 of lists by the weighted sum of the scores, weights float [kinds]."""
        total = np.tensordot(weights.astype(np.float32), self.scores, axes=1)
        return float(ndcg_score(self.truth, total, k=LENGTH, ignore_ties=True))


def sampled_clicks(
    users: np.ndarray, items: np.ndarray, new: np.ndarray, users_in_all: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples the users and items of lists.

    Args:
      users, items: int [n] each, held-out clicks.
      new: bool [items in all], the held-out items.
      users_in_all: number of users.
      random: the random generator, which the draws advance.

    Returns:
      Rows of the users, rows of the items, and their clicks, bool [users, items].
    """
    rows = np.sort(random.permutation(np.flatnonzero(new))[:MOST_ITEMS])
    listed = np.isin(items, rows)
    clicks = csr_matrix((np.ones(listed.sum(), bool), (users[listed], items[listed])), shape=(users_in_all, len(new)))
    active = np.sort(random.permutation(np.flatnonzero(np.diff(clicks.indptr)))[:MOST_USERS])
    return active, rows, clicks[active][:, rows].toarray()


def best_multipliers(
    lists: Sequence[HeldOutLists],
    weights: np.ndarray,
    co_clicks: np.ndarray,
    new_ids: np.ndarray,
    settings: InitialConfig,
    on_progress: ProgressCallback | None = None,
) -> tuple[float, float]:
    """Chooses the multipliers of their weights with which co-clicks and predicted ids rank held-out items best.

    A conditional logit weighs scores by all clicks and candidates alike; the top of a list, where few candidates are
    left, may ask for other weights. The mean NDCG@20 of the lists of all folds decides.

    Args:
      lists: the lists of each fold; those of no user, or of one item, are left out.
      weights: float [kinds], the weights of the logit.
      co_clicks, new_ids: bool [kinds], the kinds whose weights each multiplier is for.
      settings: the section model.initial, of which co_click_multipliers and predicted_id_multipliers count.
      on_progress: progress callback, which gets the number of pairs of multipliers that are tried and of all.

    Returns:
      The multipliers of co-clicks and of predicted ids. One is 1 if no score is of its kind; without lists it is the
      first one of its setting.
    """
    pairs = list(
        itertools.product(
            settings.co_click_multipliers if co_clicks.any() else (1.0,),
            settings.predicted_id_multipliers if new_ids.any() and not new_ids.all() else (1.0,),
        )
    )
    lists = [one for one in lists if len(one.truth) and one.truth.shape[1] > 1]
    if not lists:
        return pairs[0]

    qualities = []
    for place, (of_co_clicks, of_ids) in enumerate(pairs, start=1):
        multiplied = weights * np.where(co_clicks, of_co_clicks, 1) * np.where(new_ids, of_ids, 1)
        qualities.append(np.mean([one.ndcg(multiplied) for one in lists]))
        if on_progress is not None:
            on_progress(place, len(pairs))
    return pairs[int(np.argmax(qualities))]
