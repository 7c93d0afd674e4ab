"""RP3beta (Paudel et al. 2016): random walks from the items of the history over other users to other items.

It is among the strongest baselines in Ferrari Dacrema et al. 2019. Its best exponents differ between logs: (0.8, -0.2)
suit logs of two or three clicks per user, and (0.6, 0.6) logs of dozens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

from m3csr_tf.baselines.log import Baseline, Limits, Log, Settings
from m3csr_tf.graph.walks import item_walk
from m3csr_tf.ranking.full_ranking import Vectors

GRID: tuple[Settings, ...] = tuple(
    {"alpha": alpha, "beta": beta}
    for alpha, beta in itertools.product((0.4, 0.6, 0.8, 1.0), (-0.2, 0.0, 0.2, 0.4, 0.6, 0.8))
)


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields histories [users, items] as user vectors, and weights of walks to an item [items, items] as its vector.

    Settings: `alpha`, the exponent of the transition probabilities; `beta`, how strongly popular items are penalised
    (`graph.walks`).
    """
    popular = np.where(log.popularity > 0, log.popularity, 1)
    for alpha, group in itertools.groupby(grid, key=lambda settings: settings["alpha"]):
        leading = item_walk(log.clicks, alpha, 0.0).T.tocsr()
        for settings in group:
            held_back = (popular ** -float(settings["beta"])).astype(np.float32)
            yield Vectors(log.clicks, sparse.diags(held_back) @ leading)


RP3BETA = Baseline(fits, lambda log: GRID, limits=Limits(items=20_000, clicks=5_000_000), takes_weights=True)
