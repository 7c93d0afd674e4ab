"""Reads delimited text (CSV, TSV and the like), with or without a header line, in blocks of lines.

Arrow infers the type of a column from the first block that it reads. Here the type of a column fits all blocks of the
file, so that a column that begins with whole numbers and later has fractions is read correctly.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from m3csr_tf import columns
from m3csr_tf.data.parts.lines import OnShare, blocks_of_lines, line_of_block
from m3csr_tf.data.parts.part import Part, fitted, readable, refuse_twice, slices
from m3csr_tf.data.parts.quotes import open_quote
from m3csr_tf.data.parts.types import as_read
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

DELIMITERS = (",", "\t", ";", "|")
WORDS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "pipes"}
_SHARE = 1 << 20
"""Number of bytes that a thread parses at a time."""
_ONE_BYTE = "\x1f"
"""Replaces a delimiter of two characters, which Arrow does not support."""
_SEP_LINE = re.compile(r"sep=(.)")
"""Matches a first line that states the delimiter, as Excel writes it."""
_LOOKED_AT = 20
"""Number of rows after the header line whose numbers of fields decide which character is the delimiter."""


@dataclass(frozen=True)
class Dialect:
    """How the fields of a file are written.

    Attributes:
      usual: the delimiter that the ending of the file suggests.
      found: whether the delimiter is detected from the header line and the rows below it.
      names: names of the columns, for a file without a header line.
      quoted: whether a field may be in double quotes, which are then not part of its value.
      typed: whether names in the header line carry a type after a colon, as in user_id:token.
    """

    usual: str = ","
    found: bool = True
    names: tuple[str, ...] | None = None
    quoted: bool = True
    typed: bool = False


class Delimited(Part):
    """A file of delimited text.

    Args:
      path: the path of the file, which may be compressed.
      dialect: how its fields are written.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self.path = path
        self.kind = {",": "csv", "\t": "tab-separated text"}.get(dialect.usual, "delimited text")
        self.dialect = dialect
        self._rows: int | None = None

    @property
    def delimiter(self) -> str:
        """The delimiter between fields."""
        return self._header[1]

    def names(self) -> list[str]:
        """See `Part`."""
        return self._header[0]

    def reads_for_types(self, wanted: Collection[str], strings: Collection[str], thorough: bool = True) -> bool:
        """See `Part`."""
        return thorough and any(name in wanted and name not in strings for name in self.names())

    def types(
        self,
        wanted: Collection[str],
        strings: Collection[str],
        thorough: bool = True,
        on_share: OnShare | None = None,
    ) -> pa.Schema:
        """See `Part`."""
        there = [name for name in self.names() if name in wanted]
        known = {name: pa.string() if name in strings else pa.null() for name in there}
        plain = [name for name in there if name not in strings]
        if plain:
            for table in self._tables(plain, {}, on_share):
                known |= {name: as_read(known[name], table.schema.field(name).type) for name in plain}
                if not thorough and pa.null() not in known.values():
                    break
        return pa.schema(list(known.items()))

    def count(self, on_share: OnShare | None = None) -> int:
        """See `Part`."""
        if self._rows is None:
            first = self.names()[:1]
            tables = self._tables(first, dict.fromkeys(first, pa.string()), on_share)
            self._rows = sum(len(table) for table in tables)
        return self._rows

    def blocks(self, schema: pa.Schema, rows: int | None, on_share: OnShare | None = None) -> Iterator[pa.Table]:
        """See `Part`."""
        # If the file has none of the wanted columns its first one is read, because its rows still count.
        there = [name for name in schema.names if name in self.names()] or self.names()[:1]
        # A column whose type is null has empty cells only, and dictionary-encoded text is built from plain text.
        types = {
            name: pa.string() if pa.types.is_dictionary(kind) or pa.types.is_large_string(kind) else kind
            for name, kind in ((name, schema.field(name).type) for name in there if name in schema.names)
        } or dict.fromkeys(there, pa.string())
        for table in self._tables(there, types, on_share):
            with readable(self.path, self.kind):
                yield from slices(fitted(table, schema), rows)

    @cached_property
    def _header(self) -> tuple[list[str], str, int]:
        """Names of the columns, the delimiter, and the number of bytes up to the end of the header line."""
        with readable(self.path, self.kind):
            block = next(blocks_of_lines(self.path, self.dialect.quoted), (b"", 1))[0]
        if self.dialect.names is not None:
            return list(self.dialect.names), self.dialect.usual, 0
        line, end = _first_line(block)
        text = self._decoded(line)
        match = _SEP_LINE.fullmatch(text) if self.dialect.found else None
        if match:
            line, length = _first_line(block[end:])
            text, end = self._decoded(line), end + length
        if not text:
            raise InputError(f"{self.path}: cannot be read as {self.kind}: it is empty; expected a line of names first")
        delimiter = match[1] if match else self.dialect.usual
        if self.dialect.found and not match:
            delimiter = _delimiter(text, block[end:], self.dialect.usual)
        fields = _fields(text, delimiter) if self.dialect.quoted else text.split(delimiter)
        names = [name.rsplit(":", 1)[0] for name in fields] if self.dialect.typed else fields
        refuse_twice(names, self.path)
        return names, delimiter, end

    def _decoded(self, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise InputError(
                f"{self.path}: cannot be read as {self.kind}: its first line is not UTF-8 text; save it as UTF-8"
            ) from None

    def _tables(
        self, included: list[str], types: dict[str, pa.DataType], on_share: OnShare | None
    ) -> Iterator[pa.Table]:
        """Yields a table of the `included` columns for each block; Arrow infers the type of a column not in `types`."""
        names, delimiter, header = self._header
        with readable(self.path, self.kind):
            for block, number in blocks_of_lines(self.path, self.dialect.quoted, on_share):
                # The header is replaced by as many empty lines, so that line numbers in messages stay right.
                rows = b"\n" * block.count(b"\n", 0, header) + block[header:] if header and not number else block
                if len(delimiter) > 1:
                    rows = rows.replace(delimiter.encode(), _ONE_BYTE.encode())
                if rows and not rows.isspace():
                    yield self._parsed(rows, names, delimiter, included, types, number)

    def _parsed(
        self,
        rows: bytes,
        names: list[str],
        delimiter: str,
        included: list[str],
        types: dict[str, pa.DataType],
        number: int,
    ) -> pa.Table:
        # Arrow's threads split a block at line ends, which is safe only if no line end lies inside quotes.
        has_quotes = self.dialect.quoted and b'"' in rows
        whole = has_quotes or not _has_short_lines(rows)
        one_byte = delimiter if len(delimiter) == 1 else _ONE_BYTE
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(rows),
                pa.csv.ReadOptions(column_names=names, block_size=len(rows) + 1 if whole else _SHARE),
                pa.csv.ParseOptions(
                    delimiter=one_byte,
                    quote_char='"' if self.dialect.quoted else False,
                    newlines_in_values=whole,
                ),
                pa.csv.ConvertOptions(column_types=types, include_columns=included, null_values=["", "null"]),
            )
        except pa.ArrowInvalid:
            if has_quotes:
                self._refuse_open_quotes(rows, names, one_byte, included, number, None)
            # Arrow's message says what is wrong with a line, but not always which line it is.
            odd = _odd_line(rows, one_byte, self.dialect.quoted, len(names))
            if odd is None:
                raise
            before, fields, text = odd
            line = line_of_block(self.path, number, self.dialect.quoted) + before
            raise InputError(
                f"{self.path}: cannot be read as {self.kind}: line {line} has {fields} fields, {len(names)} expected: "
                f"{quoted(text.replace(_ONE_BYTE, delimiter))}; mend the line"
                + (", or put quotes around a field that holds the delimiter" if self.dialect.quoted else "")
            ) from None
        if has_quotes and len(table) != sum(map(bool, rows.splitlines())):
            self._refuse_open_quotes(rows, names, one_byte, included, number, len(table))
        return table

    def _refuse_open_quotes(
        self, rows: bytes, names: list[str], delimiter: str, included: list[str], number: int, found: int | None
    ) -> None:
        """Refuses an unintended opening quote, because of which some of the `found` rows hold parts of other rows."""
        read = [names.index(name) for name in included if name != columns.TITLE]  # A title may have several lines.
        at = open_quote(rows, delimiter, read, found)
        if at is not None:
            line = line_of_block(self.path, number, self.dialect.quoted) + at
            raise InputError(
                f"{self.path}: a field in line {line} begins with a double quote and goes on in the lines below; "
                "expected a value in one line; end the field with a quote, or, where the quote is a part of it, "
                'write "" for each quote inside and put quotes around the field'
            ) from None


def _odd_line(rows: bytes, delimiter: str, has_quotes: bool, expected: int) -> tuple[int, int, str] | None:
    """Finds the first line with another number of fields: returns the lines before it, its fields and its text."""
    text = io.StringIO(rows.decode(errors="replace"), newline="")
    quoting = csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE
    reader = csv.reader(text, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    before = 0
    with suppress(csv.Error):
        for fields in reader:
            if fields and len(fields) != expected:
                return before, len(fields), delimiter.join(fields)
            before = reader.line_num
    return None


def _has_short_lines(rows: bytes) -> bool:
    """Returns whether there is a line end in every stretch of half of `_SHARE`, so that threads can split the block."""
    half = _SHARE // 2
    return all(rows.find(b"\n", start, start + half) >= 0 for start in range(0, len(rows) - half, half))


def _first_line(block: bytes) -> tuple[bytes, int]:
    """Returns the first line that is not blank, without its line end, and the offset in bytes at which it ends."""
    blank = len(block) - len(block.lstrip(b"\r\n"))
    line = block[blank:].split(b"\n", 1)[0].split(b"\r", 1)[0]
    return line, blank + len(line)


def _delimiter(header: str, rows: bytes, usual: str) -> str:
    """Returns the delimiter that gives header and rows the same, largest number of fields; in doubt, the usual one."""
    some = rows if len(rows) <= _SHARE else rows[:_SHARE].rsplit(b"\n", 1)[0]
    text = some.decode(errors="replace")

    def fits(one: str) -> tuple[bool, bool, int]:
        names = _fields(header, one)
        counts = set()
        with suppress(csv.Error):
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=one)
            counts = {len(fields) for fields in islice(filter(None, reader), _LOOKED_AT)}
        known = not {columns.USER_ID, columns.ITEM_ID}.isdisjoint(names)
        return len(names) > 1 and counts == {len(names)}, known, len(names)

    return max((usual, *DELIMITERS), key=fits)


def _fields(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])
