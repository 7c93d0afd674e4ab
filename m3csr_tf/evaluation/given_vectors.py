"""Vectors that somebody else has made, of the users and items of a run's data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.id_columns import to_ids
from m3csr_tf.data.tables import TableFiles
from m3csr_tf.data.vector_columns import sources
from m3csr_tf.data.vectors import VectorReader
from m3csr_tf.errors import InputError
from m3csr_tf.evaluation.given_lists import require_columns, table_at
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW, IdTable, near
from m3csr_tf.util.quoting import quoted

_ROWS_AT_ONCE = 1 << 16
_VECTOR = "vector"
"""What a column of vectors may be called beside user_vector or item_vector; `vector_*`: a column for each dimension."""


@dataclass(frozen=True)
class GivenVectors:
    """Vectors by row of the run's data.

    Attributes:
      vectors: float32 [rows, D]; zeros where none was given.
      given: bool [rows], whether there is one.
      counts: what was found on the way, in words -> how often; nothing that was found never.
    """

    vectors: np.ndarray
    given: np.ndarray
    counts: dict[str, int]


def read_vectors(path: Path, id_column: str, table: IdTable, wanted: np.ndarray | None = None) -> GivenVectors:
    """Reads vectors from a table: an id and a vector in a row, in any form of `data.vector_columns`.

    Args:
      path: of the table; a folder's parts are read together, e.g. what `embed` has written.
      id_column: columns.USER_ID or columns.ITEM_ID.
      table: the ids that are known.
      wanted: rows int [n], ascending, of those that are kept; row k of the result is `wanted[k]`. All when None.

    Raises:
      InputError: the file cannot be read or lacks a column, a cell is no id or no vector, a vector is not finite, or
        none is of an id that is wanted.
    """
    file = table_at(path, "--vectors")
    require_columns(file, id_column)
    column = _vector_column(file, id_column)
    what = id_column.removesuffix("_id")
    position = np.full(len(table), -1)
    rows = np.arange(len(table)) if wanted is None else wanted
    position[rows] = np.arange(len(rows))
    position[:FIRST_ROW] = -1
    reader, vectors = VectorReader(column, path), np.zeros((len(rows), 0), np.float32)
    given = np.zeros(len(rows), bool)
    counts = {"rows": 0, f"unknown {what}s": 0, f"{what}s given again": 0, f"{what}s without a vector": 0}
    stranger: np.ndarray = np.zeros(0, object)
    for block in file.blocks([id_column, column], [id_column], _ROWS_AT_ONCE):
        if not len(block):
            continue
        before = counts["rows"]
        frame = block.select([id_column]).to_pandas(integer_object_nulls=True)
        frame.index = pd.RangeIndex(before, before + len(frame))
        ids = to_ids(frame[id_column], str(path), warn=not before).to_numpy(object)
        found = reader.read(block[column])
        counts["rows"] += len(ids)
        if not len(vectors.T) and found.shape[1]:
            vectors = np.zeros((len(rows), found.shape[1]), np.float32)
        known = table.rows(ids)
        absent = np.isnan(found).all(axis=1)
        stranger = np.append(stranger, ids[known == UNKNOWN_ROW][:1])
        counts[f"unknown {what}s"] += int((known == UNKNOWN_ROW).sum())
        counts[f"{what}s without a vector"] += int(absent.sum())
        kept = np.flatnonzero((position[known] >= 0) & ~absent)
        places = position[known[kept]]
        again = given[places] | pd.Series(places).duplicated().to_numpy(bool)
        counts[f"{what}s given again"] += int(again.sum())
        kept, places = kept[~again], places[~again]
        _refuse_not_finite(found[kept], ids[kept], what, path)
        vectors[places], given[places] = found[kept], True
    if not given.any():
        _refuse_none(path, counts["rows"], what, stranger, table)
    lacking = int((~given[FIRST_ROW:] if wanted is None else ~given).sum())
    counts[f"{what}s that the file lacks"] = lacking
    return GivenVectors(vectors, given, {name: count for name, count in counts.items() if count})


def _vector_column(file: TableFiles, id_column: str) -> str:
    own = columns.USER_VECTOR if id_column == columns.USER_ID else columns.ITEM_VECTOR
    for name in (own, _VECTOR, f"{own}_*", f"{_VECTOR}_*"):
        if sources(name, file.names, file.path):
            return name
    others = ", ".join(quoted(name) for name in file.names[:20])
    raise InputError(
        f"{file.path}: no column of vectors is there; expected {own} or {_VECTOR} (lists of numbers), or {_VECTOR}_0, "
        f"{_VECTOR}_1, ... (a column for each dimension); the file has {others}"
    )


def _refuse_not_finite(vectors: np.ndarray, ids: np.ndarray, what: str, path: Path) -> None:
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        more = f" ({bad.sum()} such vectors)" if bad.sum() > 1 else ""
        raise InputError(
            f"{path}: the vector of {what} {quoted(ids[int(bad.argmax())])} has NaN or infinite numbers{more}; give "
            "finite ones, or nothing where there is no vector"
        )


def _refuse_none(path: Path, rows: int, what: str, strangers: np.ndarray, table: IdTable) -> None:
    if not rows:
        raise InputError(f"{path}: holds no row; expected a row for each {what}")
    alike = near(strangers, table.strings) if len(strangers) else None
    if alike is not None:
        why = f"{quoted(alike[0])} differs from {quoted(alike[1])}, which the run knows, in case or spaces alone"
    else:
        why = f"e.g. {quoted(strangers[0])} is unknown to the run" if len(strangers) else "those it has are not judged"
    raise InputError(
        f"{path}: has no vector of any {what} that is wanted ({why}); write ids as the run's data has them"
    )
