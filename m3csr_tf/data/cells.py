"""Refuses bad cells of a column with one clear sentence, and converts columns of numbers to float64."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

LARGEST_EXACT = 2**53
"""A float beyond it may stand for several whole numbers, so that an id or a count given as one is not exact."""
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal"}


def refuse(bad: pd.Series | np.ndarray, column: pd.Series, source: str, expected: str, says: str = "is") -> None:
    """Refuses a column if any of its cells is bad.

    Args:
      bad: which cells are bad, bool [rows].
      column: the cells. Its index + 1 gives the numbers of the data rows in messages.
      source: the name of the input in error messages.
      expected: what the message says was expected.
      says: the verb of the message; a cell "is" a value, while a column of lists "holds" one.

    Raises:
      InputError: a cell is bad; the message shows the first one, and says how many there are.
    """
    bad = np.asarray(bad, dtype=bool)
    if bad.any():
        at = int(bad.argmax())
        row, value = column.index[at], column.iloc[at]
        if isinstance(value, np.ndarray):
            value = value.tolist()
        got = "nothing" if is_missing(value) or (isinstance(value, str) and not value) else quoted(value)
        more = f" ({bad.sum()} such rows)" if bad.sum() > 1 else ""
        raise InputError(f"{source}: {column.name} in data row {row + 1} {says} {got}; expected {expected}{more}")


def refuse_kind(kind: str, column: pd.Series, source: str, expected: str) -> None:
    """Refuses a column because of the kind of its values, e.g. dates where numbers are expected.

    Raises:
      InputError: always; the message names the kind.
    """
    named = f"{kind} values" if kind != "mixed" else "values of several kinds"
    raise InputError(f"{source}: {column.name} holds {named}; expected {expected}")


def is_missing(value: object) -> bool:
    """Returns whether a cell holds no value: None, NA, NaT or NaN."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


def plain(column: pd.Series) -> pd.Series:
    """Returns a categorical column as a column of its values, and any other column unchanged."""
    return column.astype(column.cat.categories.dtype) if isinstance(column.dtype, pd.CategoricalDtype) else column


def to_floats(column: pd.Series, source: str, expected: str) -> pd.Series:
    """Converts numbers, or texts of numbers, to float64 [rows]; missing values become NaN.

    Dates, durations, booleans and bytes are refused: pandas would turn them into numbers without a warning.

    Raises:
      InputError: a value is not a number.
    """
    column = plain(column)
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "empty":
        return pd.Series(np.nan, column.index, np.float64, name=column.name)
    if kind == "string":
        given = column[column.notna()]
        refuse([not _NUMBER.fullmatch(text) for text in given], given, source, expected)
    elif kind in {"mixed", "mixed-integer"}:
        given = column[column.notna()]
        refuse([isinstance(one, bool) or not isinstance(one, int | float) for one in given], given, source, expected)
    elif kind not in _NUMBERS:
        refuse_kind(kind, column, source, expected)
    return pd.Series(column.to_numpy(np.float64, na_value=np.nan), column.index, name=column.name)
