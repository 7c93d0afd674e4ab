"""Reads JSON lines, one object on each line. Text stays text, so that ids keep their leading zeros."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.json

from m3csr_tf.data.parts.lines import OnShare, blocks_of_lines, line_of_block
from m3csr_tf.data.parts.part import Part, first_line, fitted, readable, slices
from m3csr_tf.data.parts.types import common_type
from m3csr_tf.errors import InputError

_DEEPEST = 200
"""Largest depth of nested brackets; at 100,000, Arrow's parser crashes the process."""
_OPENED = np.zeros(256, np.int8)
_OPENED[list(b"[{")] = 1
_OPENED[list(b"]}")] = -1
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')


class JsonLines(Part):
    """A file of JSON lines."""

    kind = "JSON lines"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[list[str], int] | None = None

    def names(self) -> list[str]:
        """See `Part`; these are the keys that occur in any row."""
        return self._names_and_count(None)[0]

    def reads_for_types(self, wanted: Collection[str], strings: Collection[str], thorough: bool = True) -> bool:
        """See `Part`."""
        return True

    def types(
        self,
        wanted: Collection[str],
        strings: Collection[str],
        thorough: bool = True,
        on_share: OnShare | None = None,
    ) -> pa.Schema:
        """See `Part`."""
        known: dict[str, pa.DataType] = {}
        for table in self._tables(None, strings, on_share):
            for field in table.schema:
                if field.name in wanted:
                    before = known.get(field.name, pa.null())
                    both = common_type(before, field.type, field.name in strings)
                    if both is None and {_written(before), _written(field.type)} == {pa.string()}:
                        both = pa.string()
                    if both is None:
                        raise InputError(
                            f"{self.path}: {field.name} holds {field.type} values in some lines and {before} in "
                            "others; expected one type"
                        )
                    known[field.name] = both
        return pa.schema(list(known.items()))

    def count(self, on_share: OnShare | None = None) -> int:
        """See `Part`."""
        return self._names_and_count(on_share)[1]

    def _names_and_count(self, on_share: OnShare | None) -> tuple[list[str], int]:
        if self._seen is None:
            names: dict[str, None] = {}
            rows = 0
            for table in self._tables(None, (), on_share):
                names |= dict.fromkeys(table.column_names)
                rows += len(table)
            self._seen = list(names), rows
        return self._seen

    def blocks(self, schema: pa.Schema, rows: int | None, on_share: OnShare | None = None) -> Iterator[pa.Table]:
        """See `Part`."""
        for table in self._tables(schema, schema.names, on_share):
            with readable(self.path, self.kind):
                yield from slices(fitted(table, schema), rows)

    def _tables(
        self, schema: pa.Schema | None, strings: Collection[str], on_share: OnShare | None
    ) -> Iterator[pa.Table]:
        """Yields a table for each block. With a `schema` it holds these columns alone, if possible with their types."""
        text = pa.schema([(name, pa.string()) for name in strings])
        with readable(self.path, self.kind):
            for block, number in blocks_of_lines(self.path, on_share=on_share):
                if block.isspace():
                    continue
                _refuse_deep(block, self.path, number)
                try:
                    yield _parsed(block, schema, text)
                except pa.ArrowInvalid as error:
                    line = line_of_block(self.path, number)
                    raise InputError(
                        f"{self.path}: cannot be read as JSON lines in the lines from {line} on ({first_line(error)}); "
                        "expected an object a line, a key once and of one type"
                    ) from None


def _written(kind: pa.DataType) -> pa.DataType:
    """Returns the type as JSON knows it: what Arrow takes for a timestamp is text."""
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _parsed(block: bytes, schema: pa.Schema | None, text: pa.Schema) -> pa.Table:
    """Parses a block; without a schema Arrow infers all types, but columns of `text` stay text where they hold text."""
    if schema is not None:
        try:
            return _read(block, schema, "ignore")
        except pa.ArrowInvalid:
            return fitted(_parsed(block, None, pa.schema([f for f in schema if pa.types.is_string(f.type)])), schema)
    if not text.names:
        return _read(block, None, "infer")
    try:
        found = _read(block, text, "infer")
    except pa.ArrowInvalid:
        # A column of `text` holds numbers or lists in this block: such columns get the type that Arrow infers.
        plain = _read(block, None, "infer")
        numbers = {field.name for field in plain.schema if pa.types.is_integer(field.type)}
        numbers |= {field.name for field in plain.schema if pa.types.is_floating(field.type)}
        numbers |= {field.name for field in plain.schema if pa.types.is_nested(field.type)}
        found = _read(block, pa.schema([field for field in text if field.name not in numbers]), "infer")
    # Arrow creates every column that it is given a type for, so those without a value are dropped again.
    return found.select(
        [f.name for f in found.schema if f.name not in text.names or found[f.name].null_count < len(found)]
    )


def _read(block: bytes, schema: pa.Schema | None, others: str) -> pa.Table:
    return pa.json.read_json(
        pa.BufferReader(block),
        pa.json.ReadOptions(block_size=len(block) + 1),
        pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=others),
    )


def _refuse_deep(block: bytes, path: Path, number: int) -> None:
    if _depth(block) > _DEEPEST and _depth(_TEXT.sub(b"", block)) > _DEEPEST:
        line = line_of_block(path, number)
        raise InputError(f"{path}: the lines from {line} on are nested too deeply; expected a flat object a line")


def _depth(block: bytes) -> int:
    return int(np.cumsum(_OPENED[np.frombuffer(block, np.uint8)], dtype=np.int32).max())
