"""Ids for training that have not seen the clicks which it asks for: cross-fitting (Chernozhukov et al. 2018).

Factors of items know by heart the clicks that they were estimated from. A model that is trained on the same clicks
beside them learns to trust ids and to neglect content, more with every step; on validation it only falls. So the users
are divided into parts, and the examples of a part see items as the clicks of all other users place them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from m3csr_tf.config import InitialConfig
from m3csr_tf.graph.factors import AffinityFactors
from m3csr_tf.graph.ials import factorise
from m3csr_tf.util.files import regular, replacing
from m3csr_tf.util.progress import Tell, share


class CrossIds(NamedTuple):
    """Ids of items, anew for each part of the users.

    Attributes:
      parts: int32 [users], each user's part, from 0; -1 without a click.
      ids: float32 [parts, items, d], as the clicks of other parts place the items; zeros where there is none.
    """

    parts: np.ndarray
    ids: np.ndarray

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez(file, allow_pickle=False, parts=self.parts, ids=self.ids)

    @classmethod
    def load(cls, path: Path) -> CrossIds:
        """Reads what `save` wrote."""
        with np.load(regular(path), allow_pickle=False) as stored:
            return cls(stored["parts"], stored["ids"])


def cross_fitted_ids(
    clicks: csr_matrix,
    factors: AffinityFactors,
    setting: tuple[float, float],
    parts: int,
    seed: int,
    told: Tell | None = None,
    sweeps: int = InitialConfig().cross_fit_sweeps,
) -> CrossIds | None:
    """Ids by implicit ALS without the clicks of one part of the users each.

    Args:
      clicks: binary [users, items] training clicks.
      factors: by all of them, with this setting.
      setting: alpha and penalty of implicit ALS.
      parts: of the users.
      seed: of the division.
      told: told how many percent are done.
      sweeps: turns without a part's clicks, from the factors with them: of clicks at random, a click of one's own
        scores 2.1 standard deviations above the mean by the factors that know it, 0.4 after three turns without it,
        0.1 after six, none after twenty. The axes stay about where they were, so that all parts can share one W_V and
        one map from content.

    Returns:
      None where a part would have no user.
    """
    alpha, penalty = setting
    active = np.flatnonzero(np.diff(clicks.indptr))
    if len(active) < parts:
        return None
    part = np.full(clicks.shape[0], -1, np.int32)
    # Users of like many clicks in turn, so that all parts have about as many users and as many clicks.
    drawn = np.random.default_rng(seed).permutation(active)
    drawn = drawn[np.argsort(-np.diff(clicks.indptr)[drawn], kind="stable")]
    part[drawn] = np.arange(len(active)) % parts
    start = factors.items.astype(np.float64) * factors.size
    ids = np.zeros((parts, *start.shape), np.float32)
    for number in range(parts):
        of_others = clicks[part != number]
        found = factorise(
            of_others,
            factors=start.shape[1],
            alpha=alpha,
            penalty=penalty,
            sweeps=sweeps,
            start=start,
            told=share(told, number, parts),
        )
        ids[number] = found.items / factors.size
    return CrossIds(part, ids)
