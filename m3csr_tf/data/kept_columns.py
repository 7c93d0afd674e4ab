"""Columns of a catalogue whose values a release keeps for every item (`release.columns`), e.g. its author."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.cells import is_missing, plain
from m3csr_tf.data.id_columns import to_ids
from m3csr_tf.data.lacking import what_is_there
from m3csr_tf.data.tables import TableFiles, to_pandas
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted


def read_kept_columns(table: TableFiles, names: Sequence[str]) -> pd.DataFrame:
    """Reads columns of a catalogue.

    Args:
      table: the catalogue.
      names: names of the columns, as the files call them.

    Returns:
      item_id (str) and a column for each name, of str, and None where an item has no value.

    Raises:
      InputError: the table lacks a column, or one holds other values than `values_of` takes.
    """
    table.require(columns.ITEM_ID)
    for name in names:
        if name not in table.names:
            raise InputError(
                f"{table.path}: column {quoted(name)} of release.columns is missing; {what_is_there(table.names, name)}"
            )
    wanted = [columns.ITEM_ID, *names]
    frame = to_pandas(table.load(wanted, wanted))
    source = str(table.path)
    kept = {name: values_of(frame[name], source) for name in names}
    return pd.DataFrame({columns.ITEM_ID: to_ids(frame[columns.ITEM_ID], source).to_numpy(object), **kept})


def values_of(column: pd.Series, source: str) -> np.ndarray:
    """Converts the values of a column to str by the rules of ids, so that 7, 7.0 and "7" are one value.

    Args:
      column: text or whole numbers; a missing or blank cell is no value. Its index + 1 gives the numbers of data rows.
      source: the name of the input in error messages.

    Returns:
      Object array of str [rows], None where there is no value.

    Raises:
      InputError: a value is neither text nor a whole number.
    """
    column = plain(column)
    cells = column.to_numpy(object)
    there = np.fromiter(
        (not is_missing(cell) and not (isinstance(cell, str) and not cell.strip()) for cell in cells), bool, len(cells)
    )
    values = np.full(len(cells), None, dtype=object)
    if there.any():
        values[there] = to_ids(column[there], source, "a text or a whole number, or nothing").to_numpy(object)
    return values
