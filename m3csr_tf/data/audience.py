"""Gives the histories and clicks of any users of a prepared folder, whether or not its log fits in memory."""

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


def read_clicks(
    prepared: Prepared, split: str, rows: np.ndarray, kinds: Sequence[str] = (), weighted: bool = False
) -> sparse.csr_matrix:
    """Reads the clicks of some users in a split as a sparse matrix [n, items].

    Only the row groups that hold these users are read, one at a time, so memory stays bounded.

    Args:
      prepared: the prepared data.
      split: "train", "val" or "test".
      rows: rows of the users, int [n], ascending.
      kinds: kinds of feedback, one of which a click must be of; none: any click counts.
      weighted: whether entries are the weights of the clicks, float64; otherwise they are 1, float32.

    Raises:
      InputError: the data do not tell clicks of one of the kinds apart.
    """
    frame = renumbered(prepared.split(split, rows), rows)
    if kinds:
        frame = frame[(frame[columns.KINDS].to_numpy() & prepared.kind_bits(kinds)) != 0]
    return click_matrix(frame, len(rows), len(prepared.items), columns.WEIGHT if weighted else None)


def users_with(prepared: Prepared, split: str, kinds: Sequence[str] = ()) -> np.ndarray:
    """Returns the rows of all users with at least one interaction in a split, int [n], ascending.

    Args:
      prepared, split: see above.
      kinds: kinds of feedback, one of which it must be of; none: any.

    Raises:
      InputError: the data do not tell clicks of one of the kinds apart.
    """
    bits = prepared.kind_bits(kinds)
    wanted = [columns.USER_ROW, columns.KINDS] if kinds else [columns.USER_ROW]
    blocks = prepared.blocks(split, wanted)
    if kinds:
        blocks = (block[(block[columns.KINDS] & bits) != 0] for block in blocks)
    users = [block[columns.USER_ROW].unique() for block in blocks]
    # val.parquet and test.parquet may spread a user's interactions over two row groups, so blocks can repeat a user.
    return np.unique(np.concatenate(users)) if users else np.zeros(0, np.int32)


class Audience:
    """The histories and clicks of a run's users, limited to the splits that an observer may know.

    An evaluation on val or test may know the training clicks alone, `(columns.TRAIN,)`, and the same holds for
    everything that takes part in it. What is served knows `columns.SPLITS`: every click up to the end of the log.

    A log of at most `training.window_clicks` clicks is read once and kept. Of a larger log, each call reads the clicks
    of the users that it asks for.

    Args:
      prepared: the prepared data.
      config: gives the length of a history, the seed of the split and the size of a training window.
      splits: names of the splits whose clicks are known.

    Attributes:
      length: number of slots in a history.
      splits: names of the known splits, as they were given.
    """

    def __init__(self, prepared: Prepared, config: Config, splits: Sequence[str]) -> None:
        self._prepared = prepared
        self.length = config.history.length
        self.splits = tuple(splits)
        self._seed = config.split.seed
        self._in_memory = sum(map(prepared.clicks, self.splits)) <= config.training.window_clicks

    def histories(self, rows: np.ndarray) -> np.ndarray:
        """Returns histories int32 [n, slots], as `features.histories` makes them; `rows`, int [n], must ascend."""
        if self._in_memory:
            return self._all.last(self.length, rows)
        return histories(self._read(rows), len(rows), self.length, self._seed)

    def clicks(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Returns the known clicks of some users as a sparse matrix [n, items]; `rows`, int [n], must ascend."""
        if self._in_memory:
            return self._all_clicks[rows]
        return click_matrix(self._read(rows), len(rows), len(self._prepared.items))

    def _read(self, rows: np.ndarray | None = None) -> pd.DataFrame:
        """Reads the known interactions of all users, or of some, who are then renumbered by position in `rows`."""
        frames = [self._prepared.split(split, rows) for split in self.splits]
        # A single split is not concatenated, which would copy it: training asks for the whole of its split.
        frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        return frame if rows is None else renumbered(frame, rows)

    @cached_property
    def _all(self) -> Sequences:
        return Sequences.of(self._read(), len(self._prepared.users), self._seed)

    @cached_property
    def _all_clicks(self) -> sparse.csr_matrix:
        return click_matrix(self._read(), len(self._prepared.users), len(self._prepared.items))
