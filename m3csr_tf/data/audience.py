"""Histories and clicks of any users of a prepared folder, whether or not its log fits in memory."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.features.histories import Sequences, click_matrix, histories, renumbered


def clicks_of(prepared: Prepared, split: str, rows: np.ndarray) -> sparse.csr_matrix:
    """What users did in a split, [n, items], read in bounded memory; `rows` int [n] ascend."""
    frame = renumbered(prepared.split(split, rows), rows)
    return click_matrix(frame, len(rows), len(prepared.items))


def users_with(prepared: Prepared, split: str) -> np.ndarray:
    """Rows of the users with an interaction in a split, int [n], ascending."""
    users = [block[columns.USER_ROW].unique() for block in prepared.blocks(split, [columns.USER_ROW])]
    # A user's interactions may lie in two row groups of val.parquet or test.parquet.
    return np.unique(np.concatenate(users)) if users else np.zeros(0, np.int32)


class Audience:
    """Training histories and clicks of the users of a run.

    A log of up to `training.window_clicks` clicks is read once; of a larger one, only the users that are asked for.

    Args:
      prepared: the data.
      config: settings of histories and windows.

    Attributes:
      length: slots of a history.
    """

    def __init__(self, prepared: Prepared, config: Config) -> None:
        self._prepared = prepared
        self.length = config.history.length
        self._seed = config.split.seed
        self._held = prepared.train_clicks.sum() <= config.training.window_clicks

    def histories(self, rows: np.ndarray) -> np.ndarray:
        """Histories int32 [n, slots], as `features.histories`, of users whose rows, int [n], ascend."""
        if self._held:
            return self._all.last(self.length, rows)
        train = renumbered(self._prepared.split(columns.TRAIN, rows), rows)
        return histories(train, len(rows), self.length, self._seed)

    def clicks(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Training clicks [n, items] of users whose rows, int [n], ascend."""
        return self._all_clicks[rows] if self._held else clicks_of(self._prepared, columns.TRAIN, rows)

    @cached_property
    def _all(self) -> Sequences:
        return Sequences.of(self._prepared.split(columns.TRAIN), len(self._prepared.users), self._seed)

    @cached_property
    def _all_clicks(self) -> sparse.csr_matrix:
        train = self._prepared.split(columns.TRAIN)
        return click_matrix(train, len(self._prepared.users), len(self._prepared.items))
