"""The interactions: who clicked what, checked and without duplicates, ids as strings."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.data.cells import plain, refuse, to_floats
from m3csr_tf.data.id_columns import NumberForms, are_written_as_floats, to_ids
from m3csr_tf.data.times import Times, UnitFinder, in_seconds, read_times
from m3csr_tf.errors import InputError

_WEIGHT = "a positive number"


def check_interactions(
    frame: pd.DataFrame, source: str, with_split: bool = True
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Checks a raw interactions frame, and merges rows of the same user and item.

    Rows of one pair in one split become one row with the latest timestamp and the sum of the weights. A pair that is
    in several splits stays in the earliest alone (train before val before test): a list of unseen items could never
    hold it again, and its later click tells nothing of the earlier split.

    Args:
      frame: user_id, item_id, and any of timestamp, weight, split; other columns are dropped.
      source: how messages call the input, e.g. the file's path.
      with_split: whether the column split counts; otherwise it is checked, and dropped before anything is merged.

    Returns:
      The frame, with ids as str, timestamps as numbers (`times.to_seconds`), weights float64; and the counts
      "merged_duplicates" (rows merged away) and "repeated_in_later_split" (rows dropped).

    Raises:
      InputError: a column is missing or mistyped, an id is empty, a timestamp is missing, a weight is not positive,
        a split is not one of train, val and test, or there are no rows.
    """
    require_ids(frame.columns, source)
    if frame.empty:
        raise InputError(f"{source}: no interactions; expected a row for each click")
    check = LogCheck(source)
    checked = check.rows(frame.reset_index(drop=True))
    if columns.TIMESTAMP in checked:
        checked[columns.TIMESTAMP] = in_seconds(checked[columns.TIMESTAMP], check.time_unit())
    if columns.SPLIT in checked and not with_split:
        checked = checked.drop(columns=columns.SPLIT)
    return merge(checked, (columns.USER_ID, columns.ITEM_ID))


def require_ids(names: Iterable[str], source: str) -> None:
    """Refuses a log that lacks a column that it must have.

    Raises:
      InputError: naming the column.
    """
    names = list(names)
    for name in (columns.USER_ID, columns.ITEM_ID):
        if name not in names:
            raise InputError(f"{source}: column {name} is missing; found {', '.join(map(str, names)) or 'none'}")


class LogCheck:
    """The check of a log's rows, block by block, and of what only all of them tell.

    Args:
      source: how messages call the input.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._unit = UnitFinder(columns.TIMESTAMP, source)
        self._as_floats: dict[str, tuple[bool, int]] = {}
        self._forms = {name: NumberForms(name, source) for name in (columns.USER_ID, columns.ITEM_ID)}

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Checks the next rows, as `check_interactions`, without merging any.

        Args:
          frame: the rows; its index + 1 are the numbers of the data rows.

        Returns:
          Ids as str, timestamps as they stand (`times.Times`), weights float64.
        """
        checked = pd.DataFrame(index=frame.index)
        for name in (columns.USER_ID, columns.ITEM_ID):
            self._see_form(name, are_written_as_floats(frame[name]), frame)
            checked[name] = to_ids(frame[name], self._source)
            if len(frame):
                self._forms[name].see(pa.array(checked[name], pa.large_string()), int(frame.index[0]))
        if columns.TIMESTAMP in frame:
            missing = frame[columns.TIMESTAMP].isna()
            refuse(missing, frame[columns.TIMESTAMP], self._source, "a time in every row, or no such column")
            times = read_times(frame[columns.TIMESTAMP], self._source)
            self._unit.see(times)
            checked[columns.TIMESTAMP] = times.numbers
        if columns.WEIGHT in frame:
            weights = to_floats(frame[columns.WEIGHT], self._source, _WEIGHT)
            refuse(~(np.isfinite(weights) & (weights > 0)), frame[columns.WEIGHT], self._source, _WEIGHT)
            checked[columns.WEIGHT] = weights
        if columns.SPLIT in frame:
            labels = plain(frame[columns.SPLIT])
            # Asked for lists, pandas finds the text inside them.
            is_text = pd.api.types.infer_dtype(labels, skipna=True) == "string"
            known = labels.isin(columns.SPLITS) if is_text else labels.map(lambda one: str(one) in columns.SPLITS)
            refuse(~known, labels, self._source, f"one of {', '.join(columns.SPLITS)}")
            checked[columns.SPLIT] = labels.astype(object)
        return checked.reset_index(drop=True)

    def see(self, frame: pd.DataFrame, ids: pa.Table) -> None:
        """Takes in rows that need no check.

        Args:
          frame: timestamps as numbers, if there are any; its index + 1 are the numbers of the data rows.
          ids: users and items of the rows as text.
        """
        for name in (columns.USER_ID, columns.ITEM_ID):
            self._see_form(name, False, frame)
            if len(frame):
                self._forms[name].see(ids[name].combine_chunks(), int(frame.index[0]))
        if columns.TIMESTAMP in frame:
            self._unit.see(Times(frame[columns.TIMESTAMP], None))

    def time_unit(self) -> int:
        """How many of the unit of the timestamps are a second (`times.in_seconds`).

        Raises:
          InputError: rows differ in it.
        """
        return self._unit.found()

    def _see_form(self, name: str, as_floats: bool, frame: pd.DataFrame) -> None:
        """Refuses a column that is written as floats in some blocks alone: their ids could not be told apart."""
        if not len(frame):
            return
        row = int(frame.index[0]) + 1
        before, first = self._as_floats.setdefault(name, (as_floats, row))
        if before != as_floats:
            raise InputError(
                f"{self._source}: {name} is written as floats (7.0) from data row {row if as_floats else first} on, "
                f"but not from data row {first if as_floats else row} on; expected one form in all rows"
            )


def merge(frame: pd.DataFrame, of: tuple[str, str]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Merges rows of the same user and item, as `check_interactions`, which has the counts.

    Args:
      frame: the columns `of`, and any of timestamp, weight, split.
      of: names of the columns that hold user and item.
    """
    pair = list(of)
    rows = len(frame)
    if not frame.duplicated(pair).any():
        return frame, {"merged_duplicates": 0, "repeated_in_later_split": 0}
    key = [*pair, columns.SPLIT] if columns.SPLIT in frame else pair
    how = {name: way for name, way in ((columns.TIMESTAMP, "max"), (columns.WEIGHT, "sum")) if name in frame}
    if how:
        merged = frame.groupby(key, sort=False, as_index=False).agg(how)
    else:
        merged = frame.drop_duplicates(key, ignore_index=True)
    within = len(merged)
    if columns.SPLIT in frame:
        place = merged[columns.SPLIT].map({name: at for at, name in enumerate(columns.SPLITS)})
        kept = merged.loc[place.sort_values(kind="stable").index].drop_duplicates(pair)
        merged = kept.sort_index().reset_index(drop=True)
    return merged[list(frame.columns)], {
        "merged_duplicates": rows - within,
        "repeated_in_later_split": within - len(merged),
    }
