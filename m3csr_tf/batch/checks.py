"""Checks the rows of a users file: ids must be ids, lists must be lists of ids, and no user may come twice."""

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
    """An id that occurs twice, and the data rows of its first two occurrences, counted from 1."""

    id: str
    first: int
    again: int


def checked(batch: pd.DataFrame, source: str, before: int) -> pd.DataFrame:
    """Checks a batch of users, converts its ids to str, and fills in empty lists where lists are missing.

    Args:
      batch: user_id, and perhaps history and exclusions, as they were read.
      source: the name of the file in error messages.
      before: number of rows that came before these.

    Returns:
      user_id (str), history and exclusions (lists of str, empty where they are missing).

    Raises:
      InputError: an id is missing or invalid, or a cell that must be a list is not one or holds something other than
        ids.
    """
    rows = before + 1 + np.arange(len(batch))
    users = checked_ids(batch[columns.USER_ID].to_numpy(dtype=object), rows, columns.USER_ID, source)
    result = {columns.USER_ID: pd.Series(users, dtype=object)}
    for name in _LISTS:
        cells = batch[name].to_numpy(dtype=object) if name in batch else np.full(len(batch), None)
        lists = pd.Series([_list(cell, row, name, source) for cell, row in zip(cells, rows, strict=True)], dtype=object)
        # `fromiter` keeps each entry whole; from a list of lists np.array would make a two-dimensional array, or fail.
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
    """Converts ids to str by the rules of `to_ids`; returns an object array, `values` itself if nothing needs a change.

    Raises:
      InputError: a value is missing or is not an id; the message says where by `rows`, `name` and `source`.
    """
    expected, says = ("a list of item ids", "holds") if name in _LISTS else ("an id", "is")
    column = pd.Series(values, rows - 1, name=name, dtype=object)
    ids = to_ids(column, source, expected, says, warn=not len(rows) or rows[0] == 1)
    return values if ids is column else ids.to_numpy(object)


def duplicate_hashes(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the hashes that occur more than once, uint64 [n]; an id that occurs twice has one of them."""
    ordered = np.concatenate(hashes)
    ordered.sort()
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def repeated(blocks: Iterable[tuple[int, np.ndarray]], suspects: np.ndarray) -> Repeated | None:
    """Returns the first id that an earlier row has too, or None if only the hashes of different ids are equal.

    Args:
      blocks: pairs of the number of rows before and an array of ids, over all rows.
      suspects: sorted hashes of the ids that may occur twice, uint64.
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
