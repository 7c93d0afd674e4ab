"""Item-kNN (Sarwar et al. 2001): an item's score is the sum of its similarities to the items of the history.

Only the k nearest neighbours of the scored item count. The similarity is a cosine of clicks
(`neighbours.cosine_neighbours`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from m3csr_tf.baselines.log import Baseline, Limits, Log, Settings
from m3csr_tf.baselines.neighbours import cosine_neighbours
from m3csr_tf.ranking.full_ranking import Vectors

GRID: tuple[Settings, ...] = tuple(
    {"asymmetry": asymmetry, "discount": discount, "shrinkage": shrinkage, "neighbours": neighbours}
    for asymmetry, discount, shrinkage, neighbours in itertools.product(
        (0.0, 0.25, 0.5), (0.0, 0.5), (10, 50), (50, 200, 1000)
    )
)


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields histories [users, items] as user vectors, and weights of the neighbours [items, items] as item vectors.

    Settings: `asymmetry`, `discount` and `shrinkage` of the cosine; `neighbours`, k.
    """
    most = max(settings["neighbours"] for settings in grid)
    profiles = log.clicks.T.tocsr()
    for cosine, group in itertools.groupby(grid, key=_cosine):
        found = cosine_neighbours(profiles, *cosine, most)
        for settings in group:
            yield Vectors(log.clicks, found.matrix(settings["neighbours"]))


def _cosine(settings: Settings) -> tuple[float, float, float]:
    return settings["asymmetry"], settings["discount"], settings["shrinkage"]


ITEM_KNN = Baseline(fits, lambda log: GRID, limits=Limits(items=20_000, clicks=5_000_000), takes_weights=True)
