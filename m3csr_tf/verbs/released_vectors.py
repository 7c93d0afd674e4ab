"""Computes the vectors of a run as a release holds them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from m3csr_tf import exposure
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.training.vectors import UserVectors, VectorEncoder
from m3csr_tf.verbs.load_run import bonuses, vectors_of


class ReleasedVectors(NamedTuple):
    """The vectors of a run as a release holds them.

    Attributes:
      users: the vectors of all users by row, which are computed when they are needed.
      items: item vectors float32 [items, D], including the bonuses of items with no or few clicks (`exposure`).
      bonuses: the bonus of each popularity bin, float32 [bins].
    """

    users: UserVectors
    items: np.ndarray
    bonuses: np.ndarray


def released(trained: TrainedRun) -> ReleasedVectors:
    """Computes the vectors of a run, with the bonuses that are calibrated for them."""
    plain = vectors_of(trained, VectorEncoder(trained.model, item_features(trained.prepared)))
    added = bonuses(trained, plain)
    return ReleasedVectors(
        plain.user_vectors, exposure.with_bonuses(plain.item_vectors, trained.prepared, added), added
    )
