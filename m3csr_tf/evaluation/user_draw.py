"""Which users of a split an evaluation ranks items for: all of them, or a sample where ranking all would take long."""

from __future__ import annotations

import numpy as np

from m3csr_tf import columns
from m3csr_tf.config import EvaluationConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.evaluation.truth import users_of_kinds
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.util.samples import sample

MOST_USERS, LEAST_USERS = 20_000, 2_000
"""Largest number of users of a split that `evaluation.users=auto` samples, and the number that it samples at least,
however large the catalogue is. The 95% interval of a Recall@20 near 0.2 is about +-0.005 for the first and +-0.015 for
the second."""
SCORES = 2_000_000_000
"""Number of user-item pairs that it ranks for each system and split between these two; they take half a minute on two
cores."""
_DRAW = 0
"""Seed of the sample. It does not depend on the run's seed, so that all runs can be compared user by user."""


def drawn_users(prepared: Prepared, split: str, config: EvaluationConfig) -> tuple[np.ndarray, int]:
    """Returns the users of a split that an evaluation ranks items for, rows int [n] ascending, and the split's users.

    The sample is the same for every run on the data, and a larger sample includes the smaller ones.

    Raises:
      InputError: the data have no clicks of a kind of `evaluation.kinds`, or the split has none.
    """
    users = users_of_kinds(prepared, split, config.kinds)
    most = affordable_users(len(prepared.items) - FIRST_ROW) if config.users == "auto" else config.users
    return sample(users, None if most == "all" else most, _DRAW, nested=True), len(users)


def validation_users(prepared: Prepared, config: EvaluationConfig) -> int:
    """Returns the number of validation users on whom baselines are tuned: `evaluation.kinds` does not change it."""
    return len(drawn_users(prepared, columns.VAL, config.model_copy(update={"kinds": ()}))[0])


def affordable_users(items: int) -> int:
    """Returns the largest number of users that `evaluation.users=auto` samples for a catalogue of this size."""
    return min(MOST_USERS, max(LEAST_USERS, SCORES // max(1, items)))
