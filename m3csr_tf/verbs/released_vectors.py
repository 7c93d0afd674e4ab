"""The vectors of a run as a release holds them."""

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
      users: those of all users, by row, computed when they are asked for.
      items: float32 [items, D], the bonuses of items without a click or with few (`exposure`) included.
      bonuses: float32 [bins], what was added to each popularity bin.
    """

    users: UserVectors
    items: np.ndarray
    bonuses: np.ndarray


def released(trained: TrainedRun) -> ReleasedVectors:
    """A run's vectors, and the bonuses calibrated for them."""
    plain = vectors_of(trained, VectorEncoder(trained.model, item_features(trained.prepared)))
    added = bonuses(trained, plain)
    return ReleasedVectors(
        plain.user_vectors, exposure.with_bonuses(plain.item_vectors, trained.prepared, added), added
    )
