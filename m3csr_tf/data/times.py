"""Reads times that are given as numbers in any unit, as dates or as text, and converts them to Unix seconds."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from m3csr_tf.data.cells import plain, refuse, refuse_kind
from m3csr_tf.errors import InputError
from m3csr_tf.util.moments import EARLIEST, LATEST
from m3csr_tf.util.progress import say
from m3csr_tf.util.quoting import quoted

UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
"""Unit -> how many of it make one second."""
_BORDERS = np.array([border * unit for unit in UNITS.values() for border in (EARLIEST, LATEST)])
"""A number that lies between 1980 and 2100 in one of the units is a time in it."""
_DATES, _ZONED_DATES = len(_BORDERS) + 1, len(_BORDERS) + 2
_EXPECTED = "a number or an ISO 8601 date of the years 1678 to 2261"
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?")
_DAY = re.compile(r"(?:19[89]|20[0-9])[0-9](?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")


class Times(NamedTuple):
    """A column of times before its unit is known.

    Attributes:
      numbers: int64 or float64 [rows], NaN where a value is missing; dates are already Unix seconds.
      form: None if the column holds numbers, whose unit is still to be found; otherwise the code of the kind of dates.
    """

    numbers: pd.Series
    form: int | None


class UnitFinder:
    """Finds the unit of a column of times that is read in blocks.

    Args:
      name: the name of the column.
      source: the name of the input in error messages.
    """

    def __init__(self, name: str, source: str) -> None:
        self._name = name
        self._source = source
        self._first: dict[int, tuple[int, object]] = {}

    def see(self, times: Times) -> None:
        """Takes in the next rows. The index + 1 of `times.numbers` gives the numbers of the data rows in messages."""
        numbers = times.numbers.to_numpy()
        there = np.flatnonzero(~np.isnan(numbers)) if numbers.dtype.kind == "f" else np.arange(len(numbers))
        if not len(there):
            return
        if times.form is not None:
            forms = np.full(len(there), times.form)
        else:
            ends = np.searchsorted(_BORDERS, [numbers[there].min(), numbers[there].max()], side="right")
            # The ranges of the units do not overlap, so if the extremes lie in one range, so do all other numbers.
            same = ends[0] == ends[1]
            forms = np.full(len(there), ends[0]) if same else np.searchsorted(_BORDERS, numbers[there], side="right")
        for form, position in zip(*np.unique(forms, return_index=True), strict=True):
            at = there[position]
            self._first.setdefault(int(form), (int(times.numbers.index[at]) + 1, numbers[at]))

    def found(self) -> int:
        """Returns how many units of the column make one second.

        It is 1 for dates too, and for numbers that are not times in any unit, such as counters.

        Raises:
          InputError: the rows differ in their unit, or some are numbers and others dates.
        """
        units = [form for form in self._first if form % 2 == 1 and form < _DATES]
        others = [form for form in self._first if form not in units]
        # A column in seconds may hold small numbers, such as 0 for an unknown time: nothing needs to be converted.
        harmless = units == [1] and others == [0]
        if len(units) + len(others) > 1 and not harmless and (units or max(others) >= _DATES):
            one, other = sorted(self._first, key=lambda form: self._first[form][0])[:2]
            raise InputError(
                f"{self._source}: {self._name} in data row {self._first[one][0]} is {self._described(one)}, and in "
                f"data row {self._first[other][0]} {self._described(other)}; expected one form and one unit in all "
                "rows: dates, or seconds, milliseconds, microseconds or nanoseconds of the years 1980 to 2100"
            )
        if not units:
            return 1
        name = list(UNITS)[units[0] // 2]
        if name != "seconds":
            say(f"{self._source}: {self._name} is in {name} since 1970, and becomes seconds")
        return UNITS[name]

    def _described(self, form: int) -> str:
        value = self._first[form][1]
        if form == _DATES:
            return "a date without a time zone"
        if form == _ZONED_DATES:
            return "a date with a time zone"
        return f"{quoted(value)} ({list(UNITS)[form // 2] if form % 2 else 'in no unit a time of 1980 to 2100'})"


def to_seconds(column: pd.Series, source: str) -> pd.Series:
    """Converts times to numbers: dates and numbers in any unit to Unix seconds; counters stay, missing ones are NaN.

    Raises:
      InputError: a value is not a time, or the rows have different units.
    """
    times = read_times(column, source)
    finder = UnitFinder(str(column.name), source)
    finder.see(times)
    return in_seconds(times.numbers, finder.found())


def in_seconds(numbers: pd.Series, unit: int) -> pd.Series:
    """Converts numbers, `unit` of which make a second, to float64 seconds; for a unit of 1 they are left unchanged."""
    if unit == 1:
        return numbers
    whole = numbers // unit
    return whole + (numbers - whole * unit) / unit


def read_times(column: pd.Series, source: str) -> Times:
    """Reads a column of times in whatever form it has.

    Raises:
      InputError: a value is neither a number nor a date, or only some of the dates have a time zone.
    """
    column = plain(column)
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "boolean":
        raise InputError(f"{source}: {column.name} holds booleans; expected numbers or dates")
    if kind in {"integer", "floating", "mixed-integer-float", "decimal"}:
        return Times(_numbers(column, source), None)
    if kind == "empty":
        return Times(pd.Series(np.nan, column.index, np.float64, name=column.name), None)
    if kind == "string":
        return _of_text(column, source)
    if kind == "datetime64":
        return Times(_seconds_of(column), _DATES)
    if kind in {"date", "datetime"}:
        return Times(_parsed(column, column, source), _DATES)
    refuse_kind(kind, column, source, "numbers or dates")
    raise AssertionError


def _numbers(column: pd.Series, source: str) -> pd.Series:
    """Returns int64 if every value is there and is a whole number, otherwise float64 with NaN for missing values."""
    if column.dtype.kind == "u" or column.dtype == object or pd.api.types.is_extension_array_dtype(column.dtype):
        large = [abs(value) >= 2**63 for value in column.dropna()] if column.dtype == object else column >= 2**63
        given = column.dropna() if column.dtype == object else column
        refuse(pd.Series(large, given.index).fillna(False), given, source, "a number below 2^63")
    if column.notna().all() and pd.api.types.infer_dtype(column) == "integer":
        return column.astype(np.int64)
    numbers = pd.Series(column.to_numpy(np.float64, na_value=np.nan), column.index, name=column.name)
    _refuse_large(numbers, column, source)
    return numbers


def _of_text(column: pd.Series, source: str) -> Times:
    given = column[column.notna()]
    # Arrow's kernels would be faster, but times as text are rare.
    digits = np.array([_NUMBER.fullmatch(text.strip()) is not None for text in given])
    if digits.any() and not all(_DAY.fullmatch(text) for text in given):
        refuse(~digits, given, source, "a number, as others are")
        numbers = pd.Series(np.nan, column.index, np.float64, name=column.name)
        numbers[column.notna()] = given.to_numpy(np.float64)
        _refuse_large(numbers, column, source)
        return Times(numbers, None)
    refuse(~given.str.match(r"[0-9]{4}"), given, source, _EXPECTED)
    # BigQuery exports times with the suffix " UTC".
    text = given.str.replace(r" ?(?:UTC|GMT)$", "Z", regex=True)
    zoned = text.str.contains(r"(?:Z|[+-]\d\d(?::?\d\d)?)$") & text.str.contains("[T ]")
    if zoned.any():
        refuse(~zoned, given, source, "a date with a time zone, as others have")
    return Times(_parsed(text.reindex(column.index), column, source), _ZONED_DATES if zoned.any() else _DATES)


def _refuse_large(numbers: pd.Series, column: pd.Series, source: str) -> None:
    refuse(np.isinf(numbers), column, source, "a finite number or a date")
    refuse(numbers.abs() >= 2**63, column, source, "a number below 2^63")


def _parsed(dates: pd.Series, column: pd.Series, source: str) -> pd.Series:
    """Converts texts or Python dates to Unix seconds; `column` holds the original values for the error message."""
    parsed = pd.to_datetime(dates, utc=True, errors="coerce", format="ISO8601")
    refuse(parsed.isna() & column.notna(), column, source, _EXPECTED)
    return _seconds_of(parsed)


def _seconds_of(dates: pd.Series) -> pd.Series:
    """Converts datetime64 of any resolution to Unix seconds, not by way of nanoseconds, whose range ends in 2262."""
    if dates.dt.tz is not None:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    values = dates.to_numpy()
    resolution, _ = np.datetime_data(values.dtype)
    whole = values.astype("datetime64[s]")
    rest = (values - whole).astype(np.int64) / {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[resolution]
    seconds = whole.astype(np.int64) + rest
    return pd.Series(np.where(dates.isna(), np.nan, seconds), dates.index, np.float64, name=dates.name)
