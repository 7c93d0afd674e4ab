"""Converts vectors that a table does not hold as a column of lists into such a column.

| name of a modality's column | what it stands for |
| --- | --- |
| `emb_*` | one column for each dimension: emb_0, emb_1, ..., in the order of their numbers |
| `emb:float32[64]` | bytes: each cell holds 64 little-endian numbers of that type |
| `emb` | lists, or vectors of Spark ML (VectorUDT), dense or sparse |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

_BYTES = re.compile(r"(?P<column>.+):(?P<kind>float(?:16|32|64))\[(?P<width>[1-9][0-9]{0,5})\]")
_WIDEST = 65_536
"""Largest size of a sparse vector, which is written out densely: its memory depends on the size that it claims."""
_SPARK = {"type", "size", "indices", "values"}


def sources(name: str, names: Sequence[str], path: Path) -> list[str]:
    """Returns the columns of a table from which a column of vectors is made; there are none if the table lacks them.

    Args:
      name: the name of the column of vectors, in one of the forms of the table above.
      names: names of the table's columns.
      path: the path of the table, for error messages.

    Raises:
      InputError: the columns that match `emb_*` are not numbered without gaps.
    """
    if name in names:
        return [name]
    if found := _BYTES.fullmatch(name):
        return [found["column"]] if found["column"] in names else []
    if not name.endswith("*"):
        return []
    stem = name[:-1]
    numbered = {column: column[len(stem) :] for column in names if column.startswith(stem)}
    odd = next((column for column, number in numbered.items() if not re.fullmatch("[0-9]{1,6}", number)), None)
    if odd is not None:
        raise InputError(f"{path}: column {quoted(odd)} is one of {name} and has no number; expected {stem}0, {stem}1")
    ordered = sorted(numbered, key=lambda column: int(numbered[column]))
    numbers = [int(numbered[column]) for column in ordered]
    if numbers and (numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers)))):
        lacking = next(number for number in range(numbers[0] > 1, 10**6) if number not in numbers)
        raise InputError(
            f"{path}: of {name} number {lacking} is missing; expected one column a dimension, without gaps"
        )
    return ordered


def as_lists(name: str, columns: Sequence[str], table: pa.Table, path: Path, before: int) -> pa.ChunkedArray:
    """Converts a column of vectors to lists; a column in none of the forms of this module is returned unchanged.

    Args:
      name: the name of the column of vectors, as in `sources`.
      columns: the columns that `sources` returned for it.
      table: the rows to convert.
      path: the path of the table, for error messages.
      before: number of rows of the table that came before these, so that messages count rows from the first.

    Raises:
      InputError: a cell has another width than stated, or does not hold numbers.
    """
    if columns != [name] and name.endswith("*"):
        return pa.chunked_array([_from_dimensions(table, columns, path)])
    column = table[columns[0]]
    if columns != [name]:
        found = _BYTES.fullmatch(name)
        assert found is not None
        return pa.chunked_array([_from_bytes(column, np.dtype(found["kind"]), int(found["width"]), path, before)])
    if pa.types.is_struct(column.type) and {field.name for field in column.type} == _SPARK:
        return pa.chunked_array([_from_spark(column.combine_chunks(), name, path, before)])
    return column


def _from_dimensions(table: pa.Table, columns: Sequence[str], path: Path) -> pa.Array:
    vectors = np.empty((len(table), len(columns)), np.float32)
    for position, name in enumerate(columns):
        kind = table[name].type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
            raise InputError(f"{path}: column {quoted(name)} holds {kind} values; expected a number of a vector")
        vectors[:, position] = pc.cast(table[name], pa.float64()).to_numpy(zero_copy_only=False)
    present = np.asarray(~np.isnan(vectors).all(axis=1))
    return _lists(vectors[present].reshape(-1), np.where(present, len(columns), 0), present)


def _from_bytes(column: pa.ChunkedArray, kind: np.dtype, width: int, path: Path, before: int) -> pa.Array:
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    if not any(is_kind(column.type) for is_kind in binary) and not pa.types.is_null(column.type):
        raise InputError(f"{path}: a column of vectors holds {column.type} values; expected bytes of {kind}[{width}]")
    cells = pc.cast(column, pa.large_binary()).combine_chunks()
    present = np.asarray(pc.is_valid(cells))
    sizes = np.asarray(pc.fill_null(pc.binary_length(cells), 0))
    odd = present & (sizes != width * kind.itemsize)
    if odd.any():
        row = int(odd.argmax())
        raise InputError(
            f"{path}: the vector in data row {before + row + 1} has {sizes[row]} bytes; expected "
            f"{width * kind.itemsize}, {width} numbers of {kind}"
        )
    joined = b"".join(cell for cell in cells.to_pylist() if cell is not None)
    numbers = np.frombuffer(joined, kind.newbyteorder("<")).astype(np.float32)
    return _lists(numbers, np.where(present, width, 0), present)


def _from_spark(column: pa.Array, name: str, path: Path, before: int) -> pa.Array:
    """Converts Spark ML vectors: type 1 is dense (`values`), type 0 sparse (`values` at `indices` of `size`)."""
    present = np.asarray(pc.is_valid(column))
    fields = {field.name: pc.struct_field(column, field.name) for field in column.type}
    values = [np.asarray(one if one is not None else [], np.float64) for one in fields["values"].to_pylist()]
    kinds = fields["type"].to_pylist()
    for row in np.flatnonzero(present):
        if kinds[row] == 1:
            continue
        size, positions = fields["size"][row].as_py() or 0, np.asarray(fields["indices"][row].as_py() or [], np.int64)
        inside = not len(positions) or 0 <= positions.min() <= positions.max() < size
        if kinds[row] != 0 or not 0 < size <= _WIDEST or len(positions) != len(values[row]) or not inside:
            raise InputError(
                f"{path}: {quoted(name)} in data row {before + row + 1} is no vector of Spark's ML; expected type 1 "
                f"and values, or type 0, size (up to {_WIDEST:,}), indices and values"
            )
        whole = np.zeros(size)
        whole[positions] = values[row]
        values[row] = whole
    sizes = np.array([len(one) for one in values]) * present
    numbers = np.concatenate([values[row] for row in np.flatnonzero(present)] or [np.empty(0)])
    return _lists(numbers.astype(np.float32), sizes, present)


def _lists(numbers: np.ndarray, sizes: np.ndarray, present: np.ndarray) -> pa.Array:
    """Returns lists [rows] that take `sizes` numbers each from `numbers`, null where a row is not `present`."""
    ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(ends), pa.array(numbers), mask=pa.array(~present))
