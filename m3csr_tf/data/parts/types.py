"""Finds a type that fits the values of two columns."""

from __future__ import annotations

import pyarrow as pa


def common_type(one: pa.DataType, other: pa.DataType, is_text: bool) -> pa.DataType | None:
    """Returns a type that fits the values of both types, or None; with `is_text`, whole numbers may become text."""
    try:
        schemas = [pa.schema([("", kind)]) for kind in (one, other)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (one, other)]
        texts = [pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in plain]
        if not is_text or not all(text or pa.types.is_integer(kind) for text, kind in zip(texts, plain, strict=True)):
            return None
        return pa.large_string() if pa.large_string() in plain else pa.string()


def as_read(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Merges the types inferred from two stretches of a text column: numbers if both are, text if they differ."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    both = {one, other}
    return pa.float64() if both == {pa.int64(), pa.float64()} else pa.string()
