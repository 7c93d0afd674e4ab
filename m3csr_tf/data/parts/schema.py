"""Determines the names and types of a table's columns from all of its parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pyarrow as pa

from m3csr_tf.data.parts.keyed import Keyed
from m3csr_tf.data.parts.lines import OnShare
from m3csr_tf.data.parts.part import Part
from m3csr_tf.data.parts.types import common_type
from m3csr_tf.errors import InputError


def common_schema(
    parts: Sequence[Keyed],
    wanted: Collection[str],
    strings: Collection[str],
    thorough: bool = True,
    on_share_of: Callable[[Part], OnShare | None] = lambda part: None,
) -> pa.Schema:
    """Returns a schema whose types fit the columns of every part; Arrow itself would use the first part's for all.

    Args:
      parts: the parts of the table.
      wanted: names of the columns; those that no part has are left out.
      strings, thorough: as in `Part.types`.
      on_share_of: returns the callback of a part that is read from beginning to end for its types.

    Raises:
      InputError: a column has incompatible types in two parts, or a part cannot be read.
    """
    common: dict[str, tuple[pa.DataType, Path]] = {}
    for part, keys in parts:
        on_share = on_share_of(part) if part.reads_for_types(wanted, strings, thorough) else None
        types = part.types(wanted, strings, thorough, on_share)
        key_fields = [pa.field(name, pa.string()) for name in keys if name in wanted and name not in types.names]
        for field in [*types, *key_fields]:
            kind, first = common.get(field.name, (field.type, part.path))
            both = common_type(kind, field.type, field.name in strings)
            if both is None:
                raise InputError(
                    f"{part.path}: column {field.name} holds {field.type} values, {kind} in {first}; "
                    "expected one type in all parts"
                )
            common[field.name] = both, first
    return pa.schema([(name, common[name][0]) for name in wanted if name in common])
