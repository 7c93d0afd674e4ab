"""Finds opening quotes in delimited text that are not meant as such: they swallow every row up to the next quote."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

_LINES = 100
"""Largest number of lines that a value in quotes may span."""
_VECTOR = ("[", "{")
"""The characters with which a vector can begin, which may be written in several lines."""


def open_quote(rows: bytes, delimiter: str, read: Sequence[int], found: int | None) -> int | None:
    """Finds a field that begins with a quote but is not a single value in quotes.

    A value in quotes may contain line ends if it is a vector, or if it is in a column that is not among `read`. Such a
    field is reported if its quote is never closed, if the closing quote is not followed by a delimiter or a line end,
    if it closes only many lines below, or if each of its lines would be a row without the quotes.

    Args:
      rows: rows of the text.
      delimiter: the delimiter of the fields.
      read: positions of the columns whose values, unless they are vectors, have a single line.
      found: number of rows that another parser finds; None if that parser failed.

    Returns:
      The number of lines before the row of the field, or None if all quotes are as they should be.
    """
    text = io.StringIO(rows.decode(errors="replace"), newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    before = counted = 0
    odd = None
    while True:
        try:
            fields = next(reader, None)
        except csv.Error:
            if reader.line_num > before + 1:
                return before
            # The fault lies within one line, which all parsers take as one row.
            odd = before if odd is None else odd
            fields = [""]
        if fields is None:
            break
        lines = reader.line_num - before
        if lines > 1 and fields:
            broken = [at for at, value in enumerate(fields) if "\n" in value or "\r" in value]
            vectors = [at for at in broken if fields[at].lstrip().startswith(_VECTOR)]
            if (lines > _LINES and vectors != broken) or any(at in read and at not in vectors for at in broken):
                return before
            if len(broken) == 1 and not vectors and _are_rows(fields, broken[0], delimiter):
                return before
        counted += bool(fields)
        before = reader.line_num
    return None if found is None or counted == found else odd or 0


def _are_rows(fields: Sequence[str], at: int, delimiter: str) -> bool:
    """Returns whether the lines of the field at `at`, with the fields around it, look like complete rows."""
    first, *middle, last = re.split("\r\n|\r|\n", fields[at])
    alone = [[*fields[:at], *first.split(delimiter)], *(line.split(delimiter) for line in middle if line)]
    alone.append([*last.split(delimiter), *fields[at + 1 :]])
    # Sentences have blanks after their commas, and rows of two fields, with a single comma, are no evidence.
    return len(fields) > 2 and all(
        len(row) == len(fields) and all(value and value == value.strip() for value in (*row[:at], *row[at + 1 :]))
        for row in alone
    )
