"""Rows of an earlier run: users and items are matched by their ids, for every catalogue numbers its rows anew."""

from __future__ import annotations

import numpy as np

from m3csr_tf.ids import FIRST_ROW, IdTable


def rows_before(table: IdTable, before: IdTable) -> np.ndarray:
    """The old row of each new row, int32 [rows]: the reserved rows stay, an id that was not known has UNKNOWN_ROW."""
    return np.concatenate([np.arange(FIRST_ROW, dtype=np.int32), before.rows(table.strings)])
