"""RP3beta with content: content neighbours add to an item's score by their own scores, and if they are in the history.

With H the histories, W the walk and N the content neighbours, rows of W and N summing to 1, the scores are
S + SMOOTHED S N' + DIRECT H N where S = H W; as item-to-item weights, W + SMOOTHED W N' + DIRECT N. Histories are
summed and not averaged, since averaging would scale all scores of a user alike. There is no search: the two shares and
the exponents of the walk, (0.8, -0.2), are fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sklearn.preprocessing import normalize

from m3csr_tf.baselines.log import Baseline, Limits, Log, Settings
from m3csr_tf.graph.walks import content_neighbours, item_walk, joined_content
from m3csr_tf.ranking.full_ranking import Vectors

SMOOTHED, DIRECT = 0.1, 0.05
"""Weights of a content neighbour's own score, and of its being in the history."""


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields histories [users, items] as user vectors, and weights of paths to an item [items, items] as its vector."""
    walk = normalize(item_walk(log.clicks), norm="l1")
    alike = content_neighbours(joined_content(log.content, log.by_item > 0))
    weights = walk + SMOOTHED * (walk @ alike.T) + DIRECT * alike
    for _ in grid:
        yield Vectors(log.clicks, weights.T.tocsr())


RP3BETA_CONTENT = Baseline(fits, limits=Limits(items=20_000, clicks=5_000_000), takes_weights=True)
