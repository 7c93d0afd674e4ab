"""Histories and clicks of any users of a prepared folder, whether or not its log fits in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.features.histories import Sequences, click_matrix, histories, renumbered


def read_clicks(prepared: Prepared, split: str, rows: np.ndarray) -> sparse.csr_matrix:
    """What users did in a split, [n, items], read in bounded memory; `rows` int [n] ascend."""
    frame = renumbered(prepared.split(split, rows), rows)
    return click_matrix(frame, len(rows), len(prepared.items))


def users_with(prepared: Prepared, split: str) -> np.ndarray:
    """Rows of the users with an interaction in a split, int [n], ascending."""
    users = [block[columns.USER_ROW].unique() for block in prepared.blocks(split, [columns.USER_ROW])]
    # A user's interactions may lie in two row groups of val.parquet or test.parquet.
    return np.unique(np.concatenate(users)) if users else np.zeros(0, np.int32)


class Audience:
    """Histories and clicks of the users of a run, as known to somebody who has seen some of the splits.

    Whoever judges a model by val or test knows `(columns.TRAIN,)` alone, and so does whatever is judged with it; what
    is served knows `columns.SPLITS`, every click up to the end of the log.

    A log of up to `training.window_clicks` clicks is read once; of a larger one, only the users that are asked for.

    Args:
      prepared: the data.
      config: settings of histories and windows.
      splits: whose clicks are known.

    Attributes:
      length: slots of a history.
      splits: as given.
    """

    def __init__(self, prepared: Prepared, config: Config, splits: Sequence[str]) -> None:
        self._prepared = prepared
        self.length = config.history.length
        self.splits = tuple(splits)
        self._seed = config.split.seed
        self._in_memory = sum(map(prepared.clicks, self.splits)) <= config.training.window_clicks

    def histories(self, rows: np.ndarray) -> np.ndarray:
        """Histories int32 [n, slots], as `features.histories`, of users whose rows, int [n], ascend."""
        if self._in_memory:
            return self._all.last(self.length, rows)
        return histories(self._read(rows), len(rows), self.length, self._seed)

    def clicks(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Clicks [n, items] of users whose rows, int [n], ascend."""
        if self._in_memory:
            return self._all_clicks[rows]
        return click_matrix(self._read(rows), len(rows), len(self._prepared.items))

    def _read(self, rows: np.ndarray | None = None) -> pd.DataFrame:
        """The known interactions, or those of some users, who are numbered by their places then."""
        frames = [self._prepared.split(split, rows) for split in self.splits]
        # Of one split no copy is made: training asks for all of it.
        frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        return frame if rows is None else renumbered(frame, rows)

    @cached_property
    def _all(self) -> Sequences:
        return Sequences.of(self._read(), len(self._prepared.users), self._seed)

    @cached_property
    def _all_clicks(self) -> sparse.csr_matrix:
        return click_matrix(self._read(), len(self._prepared.users), len(self._prepared.items))
