"""User-kNN (Resnick et al. 1994, for clicks): an item's score is the summed similarity of neighbours who clicked it.

Only the k nearest neighbours count. The similarity is a cosine of the users' clicks (`neighbours.cosine_neighbours`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from m3csr_tf.baselines.log import Baseline, Limits, Log, Settings
from m3csr_tf.baselines.neighbours import cosine_neighbours
from m3csr_tf.ranking.full_ranking import Vectors

GRID: tuple[Settings, ...] = tuple(
    {"asymmetry": asymmetry, "discount": discount, "shrinkage": 0, "neighbours": neighbours}
    for asymmetry, discount, neighbours in itertools.product(
        (0.0, 0.25, 0.5), (0.0, 0.5, 1.0), (20, 50, 100, 200, 1000)
    )
)


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields weights of neighbours [users, users] as user vectors, and clicks by user [items, users] as item vectors.

    Settings: `asymmetry`, `discount` and `shrinkage` of the cosine; `neighbours`, k.
    """
    most = max(settings["neighbours"] for settings in grid)
    by_item = log.clicks.T.tocsr()
    for cosine, group in itertools.groupby(grid, key=_cosine):
        found = cosine_neighbours(log.clicks, *cosine, most)
        for settings in group:
            yield Vectors(found.matrix(settings["neighbours"]), by_item)


def _cosine(settings: Settings) -> tuple[float, float, float]:
    return settings["asymmetry"], settings["discount"], settings["shrinkage"]


USER_KNN = Baseline(fits, lambda log: GRID, limits=Limits(users=50_000, clicks=5_000_000), takes_weights=True)
