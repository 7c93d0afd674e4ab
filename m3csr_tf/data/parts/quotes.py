"""Quotes in delimited text that are opened and not meant: they swallow every row up to the next quote."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

_LINES = 100
"""Lines that a value in quotes may hold."""
_VECTOR = ("[", "{")
"""What a vector begins with, which may be written in several lines."""


def open_quote(rows: bytes, delimiter: str, read: Sequence[int], found: int | None) -> int | None:
    """Where a field begins with a quote that does not end where one value does.

    A value in quotes may hold line ends if it is a vector, or in a column that is not among `read`. It is refused where
    its quote has no end, is not ended by a quote before a delimiter or a line end, is ended only many lines below, or
    where each of its lines would be a row without the quotes.

    Args:
      rows: of the text.
      delimiter: of its fields.
      read: places of the columns whose values are one line each, but for vectors.
      found: rows that another parser finds; None if it finds none.

    Returns:
      How many lines are before the field's row, or None where all quotes are as they should be.
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
            # It is within a line, which all parsers take as one row.
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
    """Whether the lines of the field at `at`, with the fields around it, look like rows of as many fields each."""
    first, *middle, last = re.split("\r\n|\r|\n", fields[at])
    alone = [[*fields[:at], *first.split(delimiter)], *(line.split(delimiter) for line in middle if line)]
    alone.append([*last.split(delimiter), *fields[at + 1 :]])
    # A sentence has blanks behind its commas, and one comma tells little.
    return len(fields) > 2 and all(
        len(row) == len(fields) and all(value and value == value.strip() for value in (*row[:at], *row[at + 1 :]))
        for row in alone
    )
