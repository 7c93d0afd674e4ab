"""Matches the rows of users and items in two runs by their ids, because each run numbers its rows anew."""

from __future__ import annotations

import numpy as np

from m3csr_tf.ids import FIRST_ROW, IdTable


def rows_before(table: IdTable, before: IdTable) -> np.ndarray:
    """Returns the old row of each new row, int32 [rows].

    Reserved rows keep their numbers; an id that the old run did not know has UNKNOWN_ROW.
    """
    return np.concatenate([np.arange(FIRST_ROW, dtype=np.int32), before.rows(table.strings)])
