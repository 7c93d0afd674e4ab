"""What is wrong with cells of a column, in one sentence; and columns of numbers that are meant as numbers."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

LARGEST_EXACT = 2**53
"""Whole floats beyond it may have been other whole numbers before they became floats."""
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal"}


def refuse(bad: pd.Series | np.ndarray, column: pd.Series, source: str, expected: str, says: str = "is") -> None:
    """Refuses a column in which a cell is bad.

    Args:
      bad: bool [rows].
      column: the cells; its index + 1 are the numbers of the data rows.
      source: how messages call the input.
      expected: what was expected.
      says: the verb: a column of lists "holds" a value.

    Raises:
      InputError: naming the first bad cell, and how many there are.
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
    """Refuses a column whose values are all of a wrong kind.

    Raises:
      InputError: naming the kind.
    """
    named = f"{kind} values" if kind != "mixed" else "values of several kinds"
    raise InputError(f"{source}: {column.name} holds {named}; expected {expected}")


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


def plain(column: pd.Series) -> pd.Series:
    """The column itself; of a categorical one its values."""
    return column.astype(column.cat.categories.dtype) if isinstance(column.dtype, pd.CategoricalDtype) else column


def to_floats(column: pd.Series, source: str, expected: str) -> pd.Series:
    """Numbers, or text of numbers, as float64 [rows]; missing ones are NaN.

    Dates, durations, booleans and bytes, which pandas would turn into numbers without a word, are none.

    Raises:
      InputError: a value is no number.
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
