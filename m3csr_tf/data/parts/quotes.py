"""Quotes in delimited text that are opened and not meant: they swallow every row up to the next quote."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

_LINES = 100
"""Lines that a value in quotes may hold."""
_VECTOR = ("[", "{")
"""What a vector begins with, which may be written in several lines."""


def open_quote(rows: bytes, delimiter: str, read: Sequence[int], found: int | None) -> int | None:
    """Where a field begins with a quote that does not end where one value does.

    A value in quotes may hold line ends if it is in a column that is not read, or a vector. It is refused where its
    quote has no end, is not ended by a quote before a delimiter or a line end, or is ended only many lines below.

    Args:
      rows: of the text.
      delimiter: of its fields.
      read: places of the columns that are read.
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
        counted += bool(fields)
        before = reader.line_num
    return None if found is None or counted == found else odd or 0
