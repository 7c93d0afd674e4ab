"""Checks the interaction log (who clicked what), converts its ids to strings, and merges duplicates."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.config.events import LARGEST_WEIGHT, Repeated
from m3csr_tf.data.cells import plain, refuse, to_floats
from m3csr_tf.data.id_columns import NumberForms, are_written_as_floats, to_ids
from m3csr_tf.data.times import Times, UnitFinder, in_seconds, read_times
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import ProgressCallback, after

_WEIGHT = f"a positive number, at most {LARGEST_WEIGHT:.0e}"
_ROW_STEPS, _MERGE_STEPS = 3, 3
CHECK_STEPS = _ROW_STEPS + _MERGE_STEPS
"""Number of steps of `check_interactions`: users, items, other columns; repeated rows, their groups, what they make."""


def check_interactions(
    frame: pd.DataFrame,
    source: str,
    with_split: bool = True,
    repeated: Repeated | None = None,
    on_progress: ProgressCallback | None = None,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Checks a raw interaction log and merges the rows of the same user and item.

    Rows of a (user, item) pair within one split become one row, as `merge` says. A pair that occurs in several splits
    is kept only in the earliest one (train before val before test): a list of unseen items could never hold it again,
    and a later click says nothing about the earlier split.

    Args:
      frame: user_id, item_id, and any of timestamp, weight, kinds (int64) and split. Other columns are dropped.
      source: the name of the input in error messages, e.g. the path of the file.
      with_split: whether the column split is kept. If not, it is still checked, and dropped before rows are merged.
      repeated: what becomes of the weights of merged rows (`data.events.repeated`).
      on_progress: progress callback, which gets the number of steps that are done and CHECK_STEPS.

    Returns:
      The merged log with ids as str, timestamps as numbers (`times.to_seconds`) and weights as float64; and the counts
      "merged_duplicates" (rows that were merged into others) and "repeated_in_later_split" (rows that were dropped).

    Raises:
      InputError: there are no rows, a column is missing or has a wrong type, an id is empty, a timestamp is missing, a
        weight is not positive or above LARGEST_WEIGHT, a split is not one of train, val and test, or `merge` refuses.
    """
    require_ids(frame.columns, source)
    if frame.empty:
        raise InputError(f"{source}: no interactions; expected a row for each click")
    check = LogCheck(source)
    checked = check.rows(frame.reset_index(drop=True), after(on_progress, 0, CHECK_STEPS))
    if columns.TIMESTAMP in checked:
        checked[columns.TIMESTAMP] = in_seconds(checked[columns.TIMESTAMP], check.time_unit())
    if columns.SPLIT in checked and not with_split:
        checked = checked.drop(columns=columns.SPLIT)
    of = (columns.USER_ID, columns.ITEM_ID)
    return merge(checked, of, repeated, after(on_progress, _ROW_STEPS, CHECK_STEPS))


def require_ids(names: Iterable[str], source: str) -> None:
    """Refuses a log that lacks the column user_id or item_id.

    Raises:
      InputError: a column is missing; the message names it.
    """
    names = list(names)
    for name in (columns.USER_ID, columns.ITEM_ID):
        if name not in names:
            raise InputError(f"{source}: column {name} is missing; found {', '.join(map(str, names)) or 'none'}")


class LogCheck:
    """Checks the rows of a log block by block, and keeps what can only be judged over all blocks.

    That is the unit of the timestamps, and whether all ids of a column are written in the same form.

    Args:
      source: the name of the input in error messages.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._unit = UnitFinder(columns.TIMESTAMP, source)
        self._as_floats: dict[str, tuple[bool, int]] = {}
        self._forms = {name: NumberForms(name, source) for name in (columns.USER_ID, columns.ITEM_ID)}

    def rows(self, frame: pd.DataFrame, on_progress: ProgressCallback | None = None) -> pd.DataFrame:
        """Checks the next rows as `check_interactions` does, without merging any.

        Args:
          frame: the rows. Its index + 1 gives the numbers of the data rows in messages.
          on_progress: progress callback, which gets 1 after the users, 2 after the items, 3 at the end, and 3.

        Returns:
          The rows with ids as str, timestamps as numbers in their own unit (`times.Times`), and weights as float64.

        Raises:
          InputError: a cell is bad, or ids are written in another form than before.
        """
        report = after(on_progress, 0, _ROW_STEPS)
        checked = pd.DataFrame(index=frame.index)
        for name in (columns.USER_ID, columns.ITEM_ID):
            self._see_form(name, are_written_as_floats(frame[name]), frame)
            checked[name] = to_ids(frame[name], self._source)
            if len(frame):
                self._forms[name].see(pa.array(checked[name], pa.large_string()), int(frame.index[0]))
            report(len(checked.columns), None)
        if columns.TIMESTAMP in frame:
            missing = frame[columns.TIMESTAMP].isna()
            refuse(missing, frame[columns.TIMESTAMP], self._source, "a time in every row, or no such column")
            times = read_times(frame[columns.TIMESTAMP], self._source)
            self._unit.see(times)
            checked[columns.TIMESTAMP] = times.numbers
        if columns.WEIGHT in frame:
            weights = to_floats(frame[columns.WEIGHT], self._source, _WEIGHT)
            refuse(~((weights > 0) & (weights <= LARGEST_WEIGHT)), frame[columns.WEIGHT], self._source, _WEIGHT)
            checked[columns.WEIGHT] = weights
        if columns.KINDS in frame:
            checked[columns.KINDS] = frame[columns.KINDS].astype(np.int64)
        if columns.SPLIT in frame:
            labels = plain(frame[columns.SPLIT])
            # pandas' isin would also look inside cells that are lists, so these are compared as text instead.
            is_text = pd.api.types.infer_dtype(labels, skipna=True) == "string"
            known = labels.isin(columns.SPLITS) if is_text else labels.map(lambda one: str(one) in columns.SPLITS)
            refuse(~known, labels, self._source, f"one of {', '.join(columns.SPLITS)}")
            checked[columns.SPLIT] = labels.astype(object)
        report(_ROW_STEPS, None)
        return checked.reset_index(drop=True)

    def see(self, frame: pd.DataFrame, ids: pa.Table) -> None:
        """Takes in rows that have been found valid otherwise, so that `time_unit` and the forms of ids cover them too.

        Args:
          frame: the timestamps as numbers, if there are any. Its index + 1 gives the numbers of the data rows.
          ids: users and items of the rows, as text.
        """
        for name in (columns.USER_ID, columns.ITEM_ID):
            self._see_form(name, False, frame)
            if len(frame):
                self._forms[name].see(ids[name].combine_chunks(), int(frame.index[0]))
        if columns.TIMESTAMP in frame:
            self._unit.see(Times(frame[columns.TIMESTAMP], None))

    def time_unit(self) -> int:
        """Returns how many units of the timestamps make one second, e.g. 1000 for milliseconds (`times.in_seconds`).

        Raises:
          InputError: rows differ in their unit.
        """
        return self._unit.found()

    def _see_form(self, name: str, as_floats: bool, frame: pd.DataFrame) -> None:
        """Refuses a column that is written as floats in some blocks only, in which 7.0 could mean "7" or "7.0"."""
        if not len(frame):
            return
        row = int(frame.index[0]) + 1
        before, first = self._as_floats.setdefault(name, (as_floats, row))
        if before != as_floats:
            raise InputError(
                f"{self._source}: {name} is written as floats (7.0) from data row {row if as_floats else first} on, "
                f"but not from data row {first if as_floats else row} on; expected one form in all rows"
            )


def merge(
    frame: pd.DataFrame,
    of: tuple[str, str],
    repeated: Repeated | None = None,
    on_progress: ProgressCallback | None = None,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Merges the rows of the same user and item, and counts them, as `check_interactions` describes.

    The merged row has the latest timestamp and all kinds of the rows. Its weight is their sum or the largest of them,
    or it is that of the latest row, whose kinds then are the only ones; of equal timestamps, the later row is the
    latest.

    Args:
      frame: the columns `of`, and any of timestamp, weight, kinds and split.
      of: names of the columns that hold the user and the item.
      repeated: "sum", "max" or "last", which make a column weight where there is none, of rows that count 1 each. None
        is the sum, and makes no column.
      on_progress: progress callback, which gets the number of steps that are done, of 3.

    Raises:
      InputError: "last" is asked for, and there are no timestamps.
    """
    pair = list(of)
    rows = len(frame)
    if repeated == "last" and columns.TIMESTAMP not in frame:
        raise InputError(
            f"data.events.repeated=last needs the column {columns.TIMESTAMP} in the interactions, which lack it; take "
            "sum or max"
        )
    if repeated is not None and columns.WEIGHT not in frame:
        frame = frame.assign(**{columns.WEIGHT: 1.0})
    report = after(on_progress, 0, _MERGE_STEPS)
    is_repeated = bool(frame.duplicated(pair).any())
    report(1 if is_repeated else _MERGE_STEPS, None)
    if not is_repeated:
        return frame, {"merged_duplicates": 0, "repeated_in_later_split": 0}
    key = [*pair, columns.SPLIT] if columns.SPLIT in frame else pair
    way_of_weights = "max" if repeated == "max" else "sum"
    how = {name: way for name, way in ((columns.TIMESTAMP, "max"), (columns.WEIGHT, way_of_weights)) if name in frame}
    if how:
        merged = frame.groupby(key, sort=False, as_index=False).agg(how)
    else:
        merged = frame.drop_duplicates(key, ignore_index=True)
    report(2, None)
    if repeated == "last":
        latest = _latest_rows(frame, key)
        for name in (columns.WEIGHT, columns.KINDS):
            if name in frame:
                merged[name] = frame[name].to_numpy()[latest]
    elif columns.KINDS in frame:
        merged[columns.KINDS] = _all_kinds(frame, key)
    within = len(merged)
    if columns.SPLIT in frame:
        place = merged[columns.SPLIT].map({name: at for at, name in enumerate(columns.SPLITS)})
        kept = merged.loc[place.sort_values(kind="stable").index].drop_duplicates(pair)
        merged = kept.sort_index().reset_index(drop=True)
    report(_MERGE_STEPS, None)
    return merged[list(frame.columns)], {
        "merged_duplicates": rows - within,
        "repeated_in_later_split": within - len(merged),
    }


def _latest_rows(frame: pd.DataFrame, key: list[str]) -> np.ndarray:
    """Returns the position of each group's latest row, int [groups], groups in the order of their first rows."""
    group = frame.groupby(key, sort=False).ngroup().to_numpy()
    order = np.lexsort(
        (frame[columns.TIMESTAMP].to_numpy(), group)
    )  # Stable, so that the later of equal times is last.
    return order[np.flatnonzero(np.diff(group[order], append=-1))]


def _all_kinds(frame: pd.DataFrame, key: list[str]) -> np.ndarray:
    """Returns the kinds of each group's rows together, int64 [groups], groups in the order of their first rows."""
    group = frame.groupby(key, sort=False).ngroup().to_numpy()
    order = np.argsort(group, kind="stable")
    return np.bitwise_or.reduceat(
        frame[columns.KINDS].to_numpy(np.int64)[order], np.flatnonzero(np.diff(group[order], prepend=-1))
    )
