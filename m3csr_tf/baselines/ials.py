"""iALS, implicit alternating least squares (Hu et al. 2008; `graph.ials`), on a grid after Rendle et al. 2022."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from m3csr_tf.baselines.log import Baseline, Limits, Log, Settings
from m3csr_tf.graph.ials import factorise
from m3csr_tf.ranking.full_ranking import Vectors

# Good penalties grow with alpha, so the grid holds multiples of it. Alphas of 80 and more are needed: on logs of a few
# clicks per user their recall is a tenth higher than that of 20, and on logs of dozens of clicks a little lower.
GRID: tuple[Settings, ...] = tuple(
    {"factors": 128, "alpha": alpha, "penalty": multiple * alpha, "sweeps": 15}
    for alpha, multiple in itertools.product((5, 20, 80, 320), (5, 4, 3, 1.5, 0.5))
)


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields user factors and item factors, dense [users, factors] and [items, factors].

    Settings: `factors`; `alpha`, the confidence that a click adds; `penalty`, lambda; `sweeps`, the number of
    alternations over both sides.
    """
    for settings in grid:
        found = factorise(log.clicks, **settings)
        yield Vectors(found.users.astype(np.float32), found.items.astype(np.float32))


IALS = Baseline(fits, lambda log: GRID, limits=Limits(clicks=5_000_000), takes_weights=True)
