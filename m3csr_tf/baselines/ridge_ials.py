"""Ridge regression from content to the item factors of iALS (Gantner et al. 2010 map content to factors likewise).

Trained items keep the factors that iALS learned from their clicks. An item without a click gets the factors that its
content predicts, including the intercept, so that both kinds of items can be ranked together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from m3csr_tf.baselines import modalities
from m3csr_tf.baselines.log import Baseline, Limits, Log, Settings
from m3csr_tf.baselines.ridge import PENALTIES, Ridge
from m3csr_tf.graph.ials import factorise
from m3csr_tf.ranking.full_ranking import Vectors


def grid(log: Log) -> list[Settings]:
    """Returns the grid: all modalities or each alone, with ridge's PENALTIES; iALS's own settings are chosen before."""
    return [
        {"modalities": names, "penalty": penalty}
        for names, penalty in itertools.product(modalities.choices(log), PENALTIES)
    ]


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """Yields user factors, and item factors that are learned or predicted: dense [users, factors] and [items, factors].

    Settings: `ials`, settings of iALS; `modalities`; `penalty`, lambda / items.
    """
    trained = log.by_item > 0
    for ials_settings, same in itertools.groupby(grid, key=lambda settings: settings["ials"]):
        factors = factorise(log.clicks, **ials_settings)
        mean = factors.items[trained].mean(axis=0)
        for names, group in itertools.groupby(same, key=lambda settings: settings["modalities"]):
            content = modalities.standardised(log, names)
            ridge = Ridge(content[trained])
            for settings in group:
                found = ridge.weights(settings["penalty"]).T @ (factors.items[trained] - mean)
                items = factors.items.copy()
                items[~trained] = mean + (content[~trained] - ridge.centre) @ found
                yield Vectors(factors.users.astype(np.float32), items.astype(np.float32))


RIDGE_IALS = Baseline(
    fits, grid, "pseudo-cold", Limits(items=1_000_000, clicks=5_000_000), needs="ials", takes_weights=True
)
