"""Content-kNN: an item's score is the sum of the similarities of its content to the items of the history.

Only the k nearest trained items of an item count. The item itself need not have been clicked, so cold items are scored
like others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.preprocessing import normalize

from m3csr_tf.baselines.log import Baseline, Limits, Log, Settings
from m3csr_tf.baselines.neighbours import nearest
from m3csr_tf.features.content import ContentScaler
from m3csr_tf.ranking.full_ranking import Vectors

NEIGHBOURS = (10, 20, 50, 100, 200, 500)


def grid(log: Log) -> list[Settings]:
    """Returns the grid: equal weights, double weight for one modality, or one modality alone; with NEIGHBOURS."""
    names = list(log.content)
    weights = [dict.fromkeys(names, 1)]
    if len(names) > 1:
        weights += [dict.fromkeys(names, 1) | {name: 2} for name in names]
        weights += [{name: 1} for name in names]
    return [{"weights": each, "neighbours": count} for each, count in itertools.product(weights, NEIGHBOURS)]


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields histories [users, items] as user vectors, and weights of the neighbours [items, items] as item vectors.

    Settings: `weights`, the weight of each modality in the squared length of an item's content; `neighbours`, k.
    """
    trained = log.by_item > 0
    scaler = ContentScaler.fit("standard_l2", log.content, np.flatnonzero(trained))
    most = max(settings["neighbours"] for settings in grid)
    unit = {name: scaler.transform(name, log.content[name]) for name in log.content}
    ranked_rows = np.flatnonzero(log.ranked)
    for weights, group in itertools.groupby(grid, key=lambda settings: settings["weights"]):
        heavy = [np.float32(np.sqrt(weight)) * unit[name] for name, weight in weights.items()]
        content = normalize(np.concatenate(heavy, axis=1))

        def similarities(some: np.ndarray, content: np.ndarray = content) -> np.ndarray:
            found = content[some] @ content.T
            found[:, ~trained] = -np.inf
            return found

        found = nearest(similarities, ranked_rows, len(trained), most)
        for settings in group:
            yield Vectors(log.clicks, found.matrix(settings["neighbours"]))


CONTENT_KNN = Baseline(fits, grid, "pseudo-cold", Limits(items=50_000, clicks=5_000_000), takes_weights=True)
