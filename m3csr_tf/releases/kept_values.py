"""The values of the columns that a release keeps of its catalogue (`release.columns`), e.g. each item's author."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m3csr_tf.util.files import regular

_FILE = "kept_columns.parquet"

Value = str | None
"""The value of an item in a column; None where it has none."""


class KeptValues:
    """Values by column and item, including all that were changed since they were written.

    Args:
      stored: column -> object array of str [items], None where an item has no value, in the order of the item store.
    """

    def __init__(self, stored: Mapping[str, np.ndarray]) -> None:
        self._stored = dict(stored)
        self._since: dict[str, dict[str, Value]] = {}

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._stored)

    def of(self, ids: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the values of items, column -> object array of str [items], None where an item has no value.

        Args:
          ids: ids of the items, object array of str [items].
          rows: their positions in what was stored, int64 [items], -1 for items that were added since.
        """
        since = [(line, self._since[item]) for line, item in enumerate(ids) if item in self._since]
        found = {}
        for name, stored in self._stored.items():
            values = np.full(len(ids), None, dtype=object)
            values[rows >= 0] = stored[rows[rows >= 0]]
            for line, changed in since:
                values[line] = changed[name]
            found[name] = values
        return found

    def set(self, ids: Sequence[str], values: Mapping[str, np.ndarray]) -> None:
        """Replaces the values of items.

        Args:
          ids: ids of the items.
          values: column -> object array of str [items], for every column; others are ignored.
        """
        if self._stored:
            for line, item in enumerate(ids):
                self._since[item] = {name: values[name][line] for name in self._stored}

    def save(self, folder: Path, ids: np.ndarray, rows: np.ndarray) -> None:
        """Writes the values of items, as `of` returns them, unless there are no columns."""
        if self._stored:
            arrays = {name: pa.array(values, pa.string()) for name, values in self.of(ids, rows).items()}
            pq.write_table(pa.table(arrays), folder / _FILE)

    @classmethod
    def load(cls, folder: Path, names: Sequence[str], items: int) -> KeptValues:
        """Reads what `save` has written.

        Args:
          folder: the folder of the file.
          names: names of the columns; if there are none, there is no file.
          items: number of items.

        Raises:
          ValueError: the file does not fit.
        """
        if not names:
            return cls({})
        table = pq.read_table(regular(folder / _FILE))
        if table.column_names != list(names) or len(table) != items:
            raise ValueError(
                f"{_FILE} has {len(table)} rows of {table.column_names}, expected {items} of {list(names)}"
            )
        return cls({name: table[name].to_numpy() for name in names})


def by_id(frame: pd.DataFrame, id_column: str, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Returns columns of a frame in the order of some ids, object arrays of str [ids], None where a value is missing.

    Args:
      frame: a column of distinct ids, and columns of str or None.
      id_column: the name of the column of ids.
      ids: object array of str [ids]; an id that the frame lacks has no value.
    """
    rows = pd.Index(frame[id_column].to_numpy(object)).get_indexer(ids)
    kept = KeptValues({str(name): frame[name].to_numpy(object) for name in frame.columns if name != id_column})
    return kept.of(ids, rows)
