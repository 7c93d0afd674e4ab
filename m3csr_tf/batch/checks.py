"""What is checked of users: ids that are ids, lists that are lists, and nobody twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.id_columns import to_ids
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

_LISTS = (columns.HISTORY, columns.EXCLUSIONS)


class Repeated(NamedTuple):
    """An id that is there twice: the data rows, counted from 1, of its first two places."""

    id: str
    first: int
    again: int


def checked(batch: pd.DataFrame, source: str, before: int) -> pd.DataFrame:
    """The batch with ids as str and every list in place.

    Args:
      batch: user_id, and perhaps history and exclusions, as read.
      source: what messages call the file.
      before: rows that came earlier.

    Returns:
      user_id (str), history and exclusions (lists of str, empty where missing).

    Raises:
      InputError: an id is missing or is none, or a list is none or holds something other than ids.
    """
    rows = before + 1 + np.arange(len(batch))
    users = checked_ids(batch[columns.USER_ID].to_numpy(dtype=object), rows, columns.USER_ID, source)
    result = {columns.USER_ID: pd.Series(users, dtype=object)}
    for name in _LISTS:
        cells = batch[name].to_numpy(dtype=object) if name in batch else np.full(len(batch), None)
        lists = pd.Series([_list(cell, row, name, source) for cell, row in zip(cells, rows, strict=True)], dtype=object)
        # Of lists of lists, NumPy would make an array of two dimensions, or refuse to.
        lengths = lists.map(len).to_numpy(np.int64)
        items = np.fromiter(chain.from_iterable(lists), object, lengths.sum())
        owners = np.repeat(np.arange(len(lists)), lengths)
        ids = checked_ids(items, rows[owners], name, source)
        if ids is not items:
            borders = np.cumsum(np.bincount(owners, minlength=len(lists)))[:-1]
            lists = pd.Series(np.split(ids, borders), dtype=object)
        result[name] = lists
    return pd.DataFrame(result)


def checked_ids(values: np.ndarray, rows: np.ndarray, name: str, source: str) -> np.ndarray:
    """Ids as str, object array, by the rules of `to_ids`; the values themselves if nothing was to be changed.

    Raises:
      InputError: a value is missing or no id; `rows`, `name` and `source` say where.
    """
    expected, says = ("a list of item ids", "holds") if name in _LISTS else ("an id", "is")
    column = pd.Series(values, rows - 1, name=name, dtype=object)
    ids = to_ids(column, source, expected, says, warn=not len(rows) or rows[0] == 1)
    return values if ids is column else ids.to_numpy(object)


def duplicate_hashes(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """Hashes that are there more than once, uint64 [n]; ids that are there twice are among those that have them."""
    ordered = np.concatenate(hashes)
    ordered.sort()
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def repeated(blocks: Iterable[tuple[int, np.ndarray]], suspects: np.ndarray) -> Repeated | None:
    """The first id that an earlier row has too; None if only hashes are equal.

    Args:
      blocks: (rows before, ids) of all rows.
      suspects: uint64, sorted hashes of the ids that may be there twice.
    """
    first: dict[str, int] = {}
    for before, ids in blocks:
        for position in np.flatnonzero(np.isin(pd.util.hash_array(ids, categorize=False), suspects)):
            row = before + int(position) + 1
            if ids[position] in first:
                return Repeated(ids[position], first[ids[position]], row)
            first[ids[position]] = row
    return None


def _list(cell: Any, row: np.integer, name: str, source: str) -> Any:
    if isinstance(cell, list | tuple | np.ndarray):
        return cell
    if cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)):
        return ()
    raise InputError(f"{source}: {name} in data row {row} is {quoted(cell)}; expected a list of item ids")
