"""Reads a file of items that were added, changed or removed since a release was published."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf import columns
from m3csr_tf.data.catalogue import check_catalogue, check_vectors
from m3csr_tf.data.tables import column_names, load_table, to_pandas
from m3csr_tf.data.vector_columns import sources
from m3csr_tf.data.vectors import vectors_of
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import listed, quoted


@dataclass(frozen=True)
class Updates:
    """Items that were added, changed or removed.

    Attributes:
      frame: the added and changed items: item_id (str, distinct) and, if the file has it, view_count (int64, -1 if
        unknown).
      content: modality -> raw vectors float32 [items, width] in the order of `frame`, for the modalities that the file
        has. A row that is all NaN means that the item lacks the modality.
      removed: ids of the removed items.
    """

    frame: pd.DataFrame
    content: dict[str, np.ndarray]
    removed: list[str]


def read_updates(path: Path, modalities: Mapping[str, str], widths: Mapping[str, int]) -> Updates:
    """Reads added, changed and removed items from a table in one file, or in a folder of part files.

    The columns are item_id, and any of view_count, one column of vectors for each modality, and removed (bool). The
    other cells of a removed item do not matter.

    Args:
      path: the path of the file or folder.
      modalities: modality -> name of its column.
      widths: modality -> width of its vectors, for columns in which no row has a vector.

    Raises:
      InputError: the file is missing or malformed, as in `check_catalogue`; a column seems to be misspelt; or no column
        beside item_id says anything about the items.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a table of items")
    plain = [columns.ITEM_ID, columns.VIEW_COUNT, columns.REMOVED]
    vector_columns = list(modalities.values())
    table = load_table(path, [*plain, *vector_columns], strings=[columns.ITEM_ID, *vector_columns])
    _check_names(path, [*plain, *vector_columns])
    gone = np.zeros(len(table), bool)
    if columns.REMOVED in table.column_names:
        kind = table.schema.field(columns.REMOVED).type
        if not (pa.types.is_boolean(kind) or pa.types.is_null(kind)):
            raise InputError(f"{path}: column {columns.REMOVED} holds {kind} values; expected true or false")
        gone = pc.fill_null(table[columns.REMOVED].cast(pa.bool_()), False).to_numpy()
    # All ids are checked together, so that one that is both given and removed counts as listed twice.
    everything = to_pandas(table.select([name for name in plain[:2] if name in table.column_names]))
    whole = check_catalogue(everything, {}, str(path))
    came = table.filter(pa.array(~gone))
    frame = whole.frame[~gone].reset_index(drop=True)
    content = {}
    for name, column in modalities.items():
        if column in came.column_names:
            vectors = np.full((len(came), widths[name]), np.nan, np.float32)
            if came[column].null_count < len(came):
                vectors = vectors_of(came[column], column, path)
            content[name] = check_vectors(vectors, frame[columns.ITEM_ID].to_numpy(), name, str(path))
    if columns.VIEW_COUNT not in everything:
        frame = frame[[columns.ITEM_ID]]
    return Updates(frame, content, whole.frame[columns.ITEM_ID][gone].tolist())


def _check_names(path: Path, known: list[str]) -> None:
    """Refuses a file that says nothing about its items beside their ids, or in which a column may be misspelt.

    Such a file would count all of its items as changed, although nothing about them is read from it.

    Other columns are ignored, unless one is very similar to a column of `known` that the file lacks.
    """
    names = column_names(path)
    if columns.ITEM_ID not in names:
        raise InputError(f"{path}: column {columns.ITEM_ID} is missing; found {listed(names)}")
    made_of = {name: sources(name, names, path) for name in known}
    lacking = [name for name, found in made_of.items() if not found]
    used = {column for found in made_of.values() for column in found}
    for name in names:
        near = difflib.get_close_matches(name.lower(), lacking, n=1, cutoff=0.75) if name not in used else []
        if near:
            raise InputError(
                f"{path}: column {quoted(name)} is unknown; is it {near[0]}? Rename it, or drop it "
                f"(known columns: {listed(known)})"
            )
    if not any(made_of[name] for name in known[1:]):
        raise InputError(
            f"{path}: nothing is said of the items beside their ids; found {listed(names)}; expected any of "
            f"{listed(known[1:])}"
        )
