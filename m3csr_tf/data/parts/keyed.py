"""Adds the columns that only the names of a file's folders give: `dt=2026-11-01`, as Hive writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from m3csr_tf.data.parts.part import Part

Keyed = tuple[Part, Mapping[str, str | None]]
"""A part, with the values of columns that its file lacks and that are the same for all its rows."""

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def keys_of(file: Path, folder: Path) -> dict[str, str | None]:
    """Returns the columns and values that the names of the folders between a table's and its part's path give."""
    pairs = [name.split("=", 1) for name in file.relative_to(folder).parts[:-1] if "=" in name]
    return {unquote(key): None if value == _NO_VALUE else unquote(value) for key, value in pairs}


def with_keys(block: pa.Table, keys: Mapping[str, str | None], schema: pa.Schema) -> pa.Table:
    """Returns the block with the columns that its folders' names give, in the order of `schema`."""
    for name, value in keys.items():
        if name in schema.names and name not in block.column_names:
            cells = pa.repeat(pa.scalar(value, pa.string()), len(block)).cast(schema.field(name).type)
            block = block.append_column(name, cells)
    return block.select(schema.names)
