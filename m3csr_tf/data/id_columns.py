"""Converts columns of ids to strings. What could name a different user or item after the conversion is refused."""

from __future__ import annotations

import logging
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf.data.cells import LARGEST_EXACT, plain, refuse, refuse_kind
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

logger = logging.getLogger(__name__)

_FLOAT = r"(?:0|-?[1-9][0-9]*)\.0"
"""Matches a whole number that is written as a float, in a form in which no two texts stand for the same number."""
_LARGE_FLOAT = r"-?[1-9](?:\.[0-9]+)?e\+[0-9]+"
_FLOATS = f"^(?:{_FLOAT}|{_LARGE_FLOAT})$"
CUT_SHORT = r"^[+-]?[0-9]+(?:[.,][0-9]+)?[eE]\+[0-9]+$"
"""Matches a long number as spreadsheets abbreviate it, 1.23457E+15: its last digits are lost."""
_WHOLE = "^-?[0-9]+$"
_WHOLE_FLOAT = r"^-?[0-9]+\.0$"
_HALVES = re.compile("[\ud800-\udfff]")
_MIXED = {"mixed", "mixed-integer", "mixed-integer-float", "decimal"}
_KINDS = "strings or whole numbers; as floats only up to 2^53, beyond which they are not exact"


def to_ids(column: pd.Series, source: str, expected: str = "an id", says: str = "is", warn: bool = True) -> pd.Series:
    """Converts ids to str: text stays as it is, and whole numbers are written out, 7.0 as "7".

    A column of text in which every id is written as a float, such as "7.0", is taken as whole numbers too, because
    pandas writes an integer column in that form if some of its values are missing.

    Args:
      column: the ids. Its index + 1 gives the numbers of the data rows in messages.
      source: the name of the input in error messages.
      expected: what the message says was expected.
      says: the verb of the message; a cell "is" a value, while a column of lists "holds" one.
      warn: whether to log a warning when text is converted to whole numbers.

    Returns:
      The ids, dtype object. If nothing needs a change it is the column itself.

    Raises:
      InputError: an id is missing or empty, is neither text nor a whole number, is a float beyond 2^53, or holds a line
        break, a NUL or half of a surrogate pair.
    """
    refuse(column.isna(), column, source, expected, says)
    column = plain(column)
    kind = pd.api.types.infer_dtype(column, skipna=False)
    if kind == "string":
        return _of_text(column, source, expected, says, warn)
    if kind == "integer":
        return column.astype(str).astype(object)
    if kind == "floating":
        bits = np.finfo(column.dtype).nmant + 1 if column.dtype.kind == "f" else 53
        numbers = column.to_numpy(np.float64)
        with np.errstate(invalid="ignore"):
            odd = (np.abs(numbers) > 2**bits) | (numbers % 1 != 0)
        refuse(odd, column, source, f"{expected} ({_KINDS})", says)
        return pd.Series(numbers.astype(np.int64), column.index, name=column.name).astype(str).astype(object)
    if kind in _MIXED:
        written = [_written(value) for value in column]
        refuse([text is None for text in written], column, source, f"{expected} ({_KINDS})", says)
        return _of_text(pd.Series(written, column.index, object, column.name), source, expected, says, warn)
    if kind != "empty":
        refuse_kind(kind, column, source, "strings or whole numbers")
    return column


def are_written_as_floats(column: pd.Series) -> bool:
    """Returns whether all ids of a column are texts such as "7.0", which `to_ids` converts to whole numbers."""
    if not len(column) or not isinstance(column.iloc[0], str) or not re.fullmatch(_FLOATS, column.iloc[0]):
        return False
    return all(isinstance(text, str) and re.fullmatch(_FLOATS, text) for text in column)


class NumberForms:
    """Refuses a column in which ids come both as "7" and as "7.0", because one user or item would then have two ids.

    Args:
      name: the name of the column.
      source: the name of the input in error messages.
    """

    def __init__(self, name: str, source: str) -> None:
        self._name = name
        self._source = source
        self._first: dict[str, tuple[int, str]] = {}

    def see(self, ids: pa.Array, before: int) -> None:
        """Takes in the next ids of the column, in the form that `to_ids` returns, or as text.

        Args:
          ids: texts, none of them missing.
          before: number of rows that came before these.

        Raises:
          InputError: both forms have now been seen; the message names a row of each.
        """
        for form in (_WHOLE, _WHOLE_FLOAT):
            if form not in self._first:
                place = pc.index(pc.match_substring_regex(ids, form), True).as_py()
                if place >= 0:
                    self._first[form] = before + place + 1, ids[place].as_py()
        if len(self._first) > 1:
            (row, whole), (other, as_float) = self._first[_WHOLE], self._first[_WHOLE_FLOAT]
            raise InputError(
                f"{self._source}: {self._name} in data row {row} is {quoted(whole)}, and in data row {other} "
                f"{quoted(as_float)}; expected one form in all rows: write whole numbers without .0"
            )


def _written(value: Any) -> str | None:
    """Returns a value written as an id, or None if it cannot be an id."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, int | np.integer):
        return str(value)
    if isinstance(value, Decimal):
        return str(int(value)) if value.is_finite() and value % 1 == 0 else None
    if isinstance(value, float | np.floating):
        return str(int(value)) if abs(float(value)) <= LARGEST_EXACT and value % 1 == 0 else None
    return None


def _of_text(column: pd.Series, source: str, expected: str, says: str, warn: bool) -> pd.Series:
    try:
        texts = pa.array(column.to_numpy(object), pa.large_string())
    except UnicodeEncodeError:
        halves = [bool(_HALVES.search(text)) for text in column]
        refuse(halves, column, source, "an id of whole characters, without half of a surrogate pair", says)
        raise
    if pc.any(pc.match_substring_regex(texts, "^$|[\n\r\\x00]")).as_py():
        refuse(pc.equal(texts, ""), column, source, expected, says)
        refuse(pc.match_substring_regex(texts, "[\n\r]"), column, source, "an id without a line break", says)
        nul = pc.match_substring_regex(texts, "\\x00")
        refuse(nul, column, source, "an id without the character NUL, at which other programs would cut it", says)
    if are_written_as_floats(column):
        return _of_floats(column, texts, source, expected, says, warn)
    cut = pc.match_substring_regex(texts, CUT_SHORT)
    refuse(
        cut, column, source, f"{expected} with all its digits, which a spreadsheet has cut; export ids as text", says
    )
    return column if column.dtype == object else column.astype(object)


def _of_floats(
    column: pd.Series, texts: pa.LargeStringArray, source: str, expected: str, says: str, warn: bool
) -> pd.Series:
    beyond = [re.fullmatch(_FLOAT, text) is None or abs(int(text[:-2])) > LARGEST_EXACT for text in column]
    refuse(beyond, column, source, f"{expected} ({_KINDS})", says)
    ids = pc.replace_substring_regex(texts, r"\.0$", "").to_numpy(zero_copy_only=False)
    if warn:
        logger.warning(
            "%s: all of %s is written as floats (%s); the ids are the whole numbers (%s)",
            source,
            column.name,
            column.iloc[0],
            ids[0],
        )
    return pd.Series(ids, column.index, object, column.name)
