"""Reads columns of content vectors that are held as lists, or as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf.data.parts.part import first_line
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

_ABSENT = r"(?i)^\s*(?:null|none|nan|na|n/a|\[\s*\]|\{\s*\}|)\s*$"
_NUMBER = r"[+-]?(?:(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf|infinity))"
_BETWEEN = (r"\s+", r"\s*,", r"\s*,\s+", r"\s*\|\s*")
_NUMBERS = "(?:" + "|".join(f"{_NUMBER}(?:{between}{_NUMBER})*" for between in _BETWEEN) + ")"
_IN_BRACKETS = _NUMBERS
_VECTOR = rf"^\s*(?:{_NUMBERS}|\[\s*{_IN_BRACKETS}\s*\]|{{\s*{_IN_BRACKETS}\s*}})\s*$"
_THOUSANDS = r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?"
_DECIMAL_COMMA = r"(?:[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3})+),[0-9]+(?:[eE][+-]?[0-9]+)?"
_ONE_NUMBER = rf"^\s*[+-]?(?:{_THOUSANDS}|{_DECIMAL_COMMA})\s*$"
"""Matches 1,234.5 and 0,1 without brackets, where the comma may separate thousands or decimals instead of entries."""


def vectors_of(column: pa.ChunkedArray, name: str, path: Path, before: int = 0) -> np.ndarray:
    """Reads a column of lists, or of text such as "[0.1, 0.2]" or "0.1 0.2", as float32 [rows, width].

    Text writes decimals with a point, and separates the numbers by blanks, commas or bars, the same within a cell; the
    cell may be in brackets or braces. An empty cell and the words "null", "none", "nan" and "na", in any case, mean
    that there is no vector; such rows are NaN.

    Args:
      column: the column of the table.
      name: the name of the column, for error messages.
      path: the path of the table, for error messages.
      before: number of rows of the table that came before these, so that messages count rows from the first.

    Raises:
      InputError: the column holds anything else, its vectors differ in width, or no row has a vector.
    """
    reader = VectorReader(name, path, before)
    vectors = reader.read(column)
    reader.finish()
    return vectors


class VectorReader:
    """Reads a column of vectors block by block, in the forms that `vectors_of` describes.

    Args:
      name, path, before: as in `vectors_of`.
    """

    def __init__(self, name: str, path: Path, before: int = 0) -> None:
        self._name = name
        self._path = path
        self._rows = before
        self._width: int | None = None

    def read(self, column: pa.ChunkedArray) -> np.ndarray:
        """Reads the next rows as float32 [rows, width]; the width is 0 until the first vector has come.

        Raises:
          InputError: the column holds anything else, or its vectors differ in width.
        """
        lists = self._lists(column)
        widths = np.asarray(pc.fill_null(pc.list_value_length(lists), -1))
        present = widths >= 0
        if self._width is None and present.any():
            self._width = int(widths[present][0])
            if not self._width:
                raise InputError(
                    f"{self._path}: column {self._name} holds empty lists; expected vectors, or nothing where there is "
                    "none"
                )
        odd = present & (widths != self._width)
        if odd.any():
            row = int(odd.argmax())
            raise InputError(
                f"{self._path}: {self._name} in data row {self._rows + row + 1} has {widths[row]} entries, "
                f"{self._width} in the first; expected one width"
            )
        try:
            values = pc.cast(pc.list_flatten(lists), pa.float32(), safe=False)
        except pa.ArrowException as error:
            raise InputError(f"{self._path}: column {self._name} does not hold numbers ({first_line(error)})") from None
        self._rows += len(lists)
        vectors = np.full((len(lists), self._width or 0), np.nan, np.float32)
        if present.any():
            vectors[present] = np.asarray(pc.fill_null(values, np.nan)).reshape(-1, vectors.shape[1])
        return vectors

    def finish(self) -> None:
        """Refuses a column in which no row had a vector.

        Raises:
          InputError: no vector was read; the message names the column.
        """
        if self._width is None:
            raise InputError(f"{self._path}: column {self._name} has no vector in any row; drop the modality")

    def _lists(self, column: pa.ChunkedArray) -> pa.Array:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            column = self._entries(column)
            kind = column.type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            raise InputError(f"{self._path}: column {self._name} holds {kind} values; expected a list of numbers a row")
        lists = column.combine_chunks()
        return pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists

    def _entries(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Splits text cells into lists of the texts of their numbers; null where a cell holds no vector."""
        absent = pc.match_substring_regex(column, _ABSENT)
        column = pc.if_else(absent, pa.scalar(None, column.type), column)
        self._refuse(pc.invert(pc.match_substring_regex(column, _VECTOR)), column, "cannot be read as a vector")
        self._refuse(pc.match_substring_regex(column, _ONE_NUMBER), column, "may be one number or several")
        spaced = pc.replace_substring(pc.replace_substring(column, ",", " "), "|", " ")
        return pc.ascii_split_whitespace(pc.ascii_trim(spaced, characters="[]{} \t\n\r\f"))

    def _refuse(self, bad: pa.ChunkedArray, column: pa.ChunkedArray, fault: str) -> None:
        places = np.flatnonzero(np.asarray(pc.fill_null(bad, False)))
        if len(places):
            row = int(places[0])
            more = f" ({len(places)} such rows)" if len(places) > 1 else ""
            raise InputError(
                f"{self._path}: {self._name} in data row {self._rows + row + 1} is {quoted(column[row].as_py())}, "
                f"which {fault}; expected numbers with points for decimals and the same between all of them, "
                f"as [0.1, 0.2] or 0.1 0.2, or nothing{more}"
            )
