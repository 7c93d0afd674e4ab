"""The interactions: who clicked what, checked and without duplicates, ids as strings."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.errors import InputError


def check_interactions(frame: pd.DataFrame, source: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """Checks a raw interactions frame, and merges rows of the same user and item.

    Rows of one pair in one split become one row with the latest timestamp and the sum of the weights. A pair that is
    in several splits stays in the earliest alone (train before val before test): a list of unseen items could never
    hold it again, and its later click tells nothing of the earlier split.

    Args:
      frame: user_id, item_id, and any of timestamp, weight, split; other columns are dropped.
      source: how messages call the input, e.g. the file's path.

    Returns:
      The frame, with ids as str, timestamps as numbers (dates as Unix seconds), weights float64; and the counts
      "merged_duplicates" (rows merged away) and "repeated_in_later_split" (rows dropped).

    Raises:
      InputError: a column is missing or mistyped, an id is empty, a timestamp is missing, a weight is not positive,
        a split is not one of train, val and test, or there are no rows.
    """
    require_ids(frame.columns, source)
    if frame.empty:
        raise InputError(f"{source}: no interactions; expected a row for each click")
    return merge(check_rows(frame.reset_index(drop=True), source), (columns.USER_ID, columns.ITEM_ID))


def require_ids(names: Iterable[str], source: str) -> None:
    """Refuses a log that lacks a column that it must have.

    Raises:
      InputError: naming the column.
    """
    names = list(names)
    for name in (columns.USER_ID, columns.ITEM_ID):
        if name not in names:
            raise InputError(f"{source}: column {name} is missing; found {', '.join(map(str, names)) or 'none'}")


def check_rows(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Checks rows of a log, as `check_interactions`, without merging any; row numbers in messages are the index + 1."""
    checked = pd.DataFrame(
        {name: to_ids(frame[name], source).to_numpy() for name in (columns.USER_ID, columns.ITEM_ID)}, dtype=object
    )
    if columns.TIMESTAMP in frame:
        timestamps = to_seconds(frame[columns.TIMESTAMP], source)
        _refuse(timestamps.isna(), frame[columns.TIMESTAMP], source, "a time in every row, or no such column")
        checked[columns.TIMESTAMP] = timestamps.to_numpy()
    if columns.WEIGHT in frame:
        weights = pd.to_numeric(frame[columns.WEIGHT], errors="coerce").astype(np.float64)
        _refuse(~(np.isfinite(weights) & (weights > 0)), frame[columns.WEIGHT], source, "a positive number")
        checked[columns.WEIGHT] = weights.to_numpy()
    if columns.SPLIT in frame:
        known = frame[columns.SPLIT].isin(columns.SPLITS)
        _refuse(~known, frame[columns.SPLIT], source, f"one of {', '.join(columns.SPLITS)}")
        checked[columns.SPLIT] = frame[columns.SPLIT].astype(str).to_numpy()
    return checked


def to_ids(column: pd.Series, source: str) -> pd.Series:
    """Ids as str: strings stay, whole numbers are written out.

    Raises:
      InputError: an id is missing, empty, or neither string nor whole number.
    """
    _refuse(column.isna(), column, source, "an id")
    kind = pd.api.types.infer_dtype(column, skipna=False)
    if kind == "categorical":
        return to_ids(column.astype(column.cat.categories.dtype), source)
    if kind == "floating":
        _refuse(column % 1 != 0, column, source, "a string or a whole number")
        column, kind = column.astype(np.int64), "integer"
    if kind == "integer":
        return column.astype(str).astype(object)
    if kind != "string":
        raise InputError(f"{source}: {column.name} holds {kind} values; expected strings or whole numbers")
    _refuse(column == "", column, source, "an id")
    _refuse(column.str.contains("[\n\r]"), column, source, "an id without a line break")
    return column.astype(object)


def to_seconds(column: pd.Series, source: str) -> pd.Series:
    """Times as numbers: numbers stay, dates and ISO 8601 strings become Unix seconds, missing ones NaN.

    Raises:
      InputError: a value is neither.
    """
    if pd.api.types.is_bool_dtype(column):
        raise InputError(f"{source}: {column.name} holds booleans; expected numbers or dates")
    if pd.api.types.is_numeric_dtype(column):
        _refuse(np.isinf(column.astype(np.float64)), column, source, "a finite number or a date")
        whole = pd.api.types.is_integer_dtype(column) and not column.isna().any()
        return column.astype(np.int64 if whole else np.float64)
    if pd.api.types.infer_dtype(column, skipna=True) == "string":
        _check_date_strings(column, source)
    dates = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    _refuse(dates.isna() & column.notna(), column, source, "a number or an ISO 8601 date")
    return (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)


def _check_date_strings(column: pd.Series, source: str) -> None:
    """Refuses what pandas would read without a word: "now", and zones that only some of the dates have."""
    given = column.dropna()
    _refuse(~given.str.match(r"\d{4}"), given, source, "a number or an ISO 8601 date")
    zoned = given.str.contains(r"(?:Z|[+-]\d\d(?::?\d\d)?)$") & given.str.contains("[T ]")
    if zoned.any():
        _refuse(~zoned, given, source, "a date with a time zone, as others have")


def _refuse(bad: pd.Series | np.ndarray, column: pd.Series, source: str, expected: str) -> None:
    bad = np.asarray(bad, dtype=bool)
    if bad.any():
        at = int(bad.argmax())
        row, value = column.index[at], column.iloc[at]
        got = "nothing" if pd.isna(value) or value == "" else repr(value.item() if hasattr(value, "item") else value)
        more = f" ({bad.sum()} such rows)" if bad.sum() > 1 else ""
        raise InputError(f"{source}: {column.name} in data row {row + 1} is {got}; expected {expected}{more}")


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
