"""Recall, precision and NDCG of each user's list, and confidence intervals of their means over users.

Values are kept per user until the end, so that two systems can be compared on the same users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from m3csr_tf.ranking.full_ranking import Csr

RECALL, PRECISION, NDCG = "recall", "precision", "ndcg"
WEIGHTED_RECALL, WEIGHT = "weighted_recall", "weight"

_RESAMPLED_CELLS = 1 << 22  # Number of counts that a bootstrap holds at once.


def name(metric: str, at: int) -> str:
    """Returns the key of a metric at a list length, e.g. "recall@20"."""
    return f"{metric}@{at}"


def per_user(ranked: np.ndarray, truth: Csr, at: Sequence[int], weighted: bool = False) -> dict[str, np.ndarray]:
    """Computes the metrics of each user at every list length in `at`.

    recall@N = hits / |truth|; precision@N = hits / N, even if the list is shorter; ndcg@N = DCG / ideal DCG, where a
    hit at rank r (from 1) contributes 1 / log2(r + 1), and the ideal list has min(|truth|, N) hits at its top.

    Args:
      ranked: item rows int [users, n], best first, -1 beyond the end of a list; no item is in a list twice.
      truth: held-out clicks, [users, items]; every non-zero entry is one, and every user has at least one.
      at: list lengths N, each from 1 to n.
      weighted: whether entries of `truth` are weights, above 0, which two more metrics count: weight@N, the sum of the
        weights of the hits, and weighted_recall@N, their share of the weight of all truth of the user.

    Returns:
      "recall@N", "precision@N", "ndcg@N", and perhaps "weighted_recall@N" and "weight@N" -> float64 [users].

    Raises:
      ValueError: shapes or lengths do not fit, a user has no truth (so that recall is undefined), or an item is in a
        list twice.
    """
    if truth.shape[0] != len(ranked):
        raise ValueError(f"ranked has {len(ranked)} users and truth {truth.shape[0]}; they must be the same users")
    if not at or min(at) < 1 or max(at) > ranked.shape[1]:
        raise ValueError(f"at must hold list lengths from 1 to {ranked.shape[1]}, got {list(at)}")
    ordered = np.sort(ranked, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    if twice.any():
        raise ValueError(f"the list of user {twice.argmax()} has an item twice ({twice.sum()} such users)")
    user, item = truth.nonzero()
    pairs = np.unique(user.astype(np.int64) * truth.shape[1] + item)
    sizes = np.bincount(pairs // truth.shape[1], minlength=len(ranked))
    if not sizes.all():
        raise ValueError(f"{np.count_nonzero(sizes == 0)} of {len(sizes)} users have no truth; leave them out")

    listed = np.arange(len(ranked))[:, None] * truth.shape[1] + ranked
    hits = np.isin(listed, pairs) & (ranked >= 0)
    found = np.cumsum(hits, axis=1)
    worth = 1 / np.log2(np.arange(2, ranked.shape[1] + 2))
    gained, ideal = np.cumsum(hits * worth, axis=1), np.cumsum(worth)
    values = {}
    for n in at:
        values[name(RECALL, n)] = found[:, n - 1] / sizes
        values[name(PRECISION, n)] = found[:, n - 1] / n
        values[name(NDCG, n)] = gained[:, n - 1] / ideal[np.minimum(sizes, n) - 1]
    if weighted:
        values |= _of_weights(listed, hits, truth, at)
    return values


def _of_weights(listed: np.ndarray, hits: np.ndarray, truth: Csr, at: Sequence[int]) -> dict[str, np.ndarray]:
    """The metrics that count weights.

    Args:
      listed: pairs int [users, n] that a list holds, encoded as user * items + item.
      hits: which of them are truth, bool [users, n].
      truth, at: as in `per_user`; a pair may be several entries, whose weights add up.
    """
    entries = truth.tocoo()
    pairs, place = np.unique(entries.row.astype(np.int64) * truth.shape[1] + entries.col, return_inverse=True)
    weights = np.bincount(place, entries.data.astype(np.float64))
    totals = np.bincount(pairs // truth.shape[1], weights, minlength=len(listed))
    gained = np.zeros(hits.shape)
    gained[hits] = weights[np.searchsorted(pairs, listed[hits])]
    sums = np.cumsum(gained, axis=1)
    values = {}
    for n in at:
        values[name(WEIGHTED_RECALL, n)] = sums[:, n - 1] / totals
        values[name(WEIGHT, n)] = sums[:, n - 1]
    return values


def intervals(
    values: Mapping[str, np.ndarray], resamples: int, seed: int, confidence: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Computes percentile bootstrap intervals of the means over users (Efron, 1979), with the same resamples for all.

    Resampling users is drawing from a multinomial distribution over the distinct rows of metrics. There are few of
    them, because most users have no hit or one.

    Args:
      values: metric -> float [users], with the same users in each; at least one user.
      resamples: number of resamples.
      seed: seed of the draws.
      confidence: share of the resampled means that lies between the two ends.

    Returns:
      metric -> (low, high).
    """
    distinct, counts = np.unique(np.stack(list(values.values()), axis=1), axis=0, return_counts=True)
    users, random = counts.sum(), np.random.default_rng(seed)
    step = max(1, _RESAMPLED_CELLS // len(distinct))
    means = np.concatenate(
        [
            random.multinomial(users, counts / users, size=min(step, resamples - start)) @ distinct / users
            for start in range(0, resamples, step)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return {metric: (float(low[k]), float(high[k])) for k, metric in enumerate(values)}
