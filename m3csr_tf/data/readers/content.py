"""Reads catalogues: a table or a list of items, with content in columns of the table or in .npy files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.config import DataConfig
from m3csr_tf.data.arrays import load_vectors, shape_of
from m3csr_tf.data.catalogue import Catalogue, check_catalogue
from m3csr_tf.data.content_files import ITEMS_AT_ONCE, ContentFile, store
from m3csr_tf.data.tables import TableFiles, to_pandas
from m3csr_tf.data.vectors import VectorReader
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import progress

_ARRAY = ".npy"
_PLAIN = [columns.ITEM_ID, columns.VIEW_COUNT, columns.PUBLISH_TIME]


def arrays_of(config: DataConfig, folder: Path, has_table: bool) -> dict[str, Path]:
    """Returns modality -> .npy file, for the modalities whose content is not in a column of the catalogue's table."""
    return {
        name: folder / place
        for name, place in config.modalities.items()
        if not has_table or place.lower().endswith(_ARRAY)
    }


def check_arrays(arrays: Mapping[str, Path], items: int | None, listed: str) -> int | None:
    """Returns the number of rows of the files, from their headers alone; None if there is no file.

    Args:
      arrays: modality -> .npy file.
      items: number of vectors that each file must have, or None if it is not known.
      listed: words for the message that say what lists so many items.

    Raises:
      InputError: a file is missing or is not an array of vectors, or the numbers of rows differ from each other or from
        `items`.
    """
    for path in arrays.values():
        if not path.is_file():
            raise InputError(f"{path}: no such file; check data.path, data.format and data.modalities")
    sizes = {path: shape_of(path)[0] for path in arrays.values()}
    if len(set(sizes.values())) > 1:
        each = ", ".join(f"{path.name} {size}" for path, size in sizes.items())
        folder = next(iter(sizes)).parent
        raise InputError(f"{folder}: the modalities have differing numbers of rows ({each}); expected a row an item")
    rows = next(iter(sizes.values()), None)
    if items is not None and rows is not None and rows != items:
        raise InputError(
            f"{next(iter(sizes))}: has {rows:,} rows, and {listed} {items:,} items; expected a row for each item, in "
            "the same order"
        )
    return rows


def catalogue_of_rows(config: DataConfig, folder: Path, into: Path, ids: np.ndarray | None = None) -> Catalogue:
    """Reads a catalogue whose content lies in .npy files, where row k of each file belongs to item k.

    Args:
      config: the configuration section `data`.
      folder: the folder of the .npy files.
      into: the folder into which the content vectors are written.
      ids: ids of the items, object [items]; by default they are numbered from 0.

    Raises:
      InputError: an id, a file or a vector is at fault, as in `check_arrays` and `check_catalogue`.
    """
    arrays = arrays_of(config, folder, has_table=False)
    rows = check_arrays(arrays, None if ids is None else len(ids), "the list of items has")
    frame = pd.DataFrame({columns.ITEM_ID: np.arange(rows or 0) if ids is None else ids})
    checked = check_catalogue(frame, {}, str(folder)).frame
    item_ids = checked[columns.ITEM_ID].to_numpy()
    return Catalogue(checked, {name: _stored(into, name, path, item_ids) for name, path in arrays.items()})


def _stored(into: Path, name: str, path: Path, ids: np.ndarray) -> np.ndarray:
    with progress(f"reading {name} content, items", len(ids)) as stage:
        return store(into, name, load_vectors(path), ids, str(path), stage)


def count_items(table: TableFiles) -> int:
    """Returns the number of rows of a catalogue, and shows how far it is where text files are read for that.

    Raises:
      InputError: the table cannot be read.
    """
    with progress(f"counting the items of the catalogue, {table.unit}") as stage:
        return table.count(stage)


def catalogue_of_table(config: DataConfig, folder: Path, table: TableFiles, into: Path) -> Catalogue:
    """Reads a catalogue from a table. Its content is copied block by block, because it may be larger than memory.

    Args:
      config: the configuration section `data`. It maps each modality to a column of the table, or to a .npy file whose
        rows are in the order of the table's.
      folder: the folder of such .npy files.
      table: has the column item_id, and may have view_count, publish_time, title, image, url and columns of vectors.
      into: the folder into which the content vectors are written.

    Raises:
      InputError: a column is missing or misspelt, or an id, a file or a vector is at fault.
    """
    table.require(columns.ITEM_ID)
    table.refuse_respelt(columns.VIEW_COUNT, columns.PUBLISH_TIME)
    arrays = arrays_of(config, folder, has_table=True)
    vector_columns = {name: column for name, column in config.modalities.items() if name not in arrays}
    source, items, kept = str(table.path), count_items(table), []
    check_arrays(arrays, items, f"{table.path.name} has")
    plain = [*_PLAIN, *(name for name in columns.DISPLAYED if name not in vector_columns.values())]
    readers = {name: VectorReader(column, table.path) for name, column in vector_columns.items()}
    with ExitStack() as stack:
        files = {name: stack.enter_context(ContentFile(into, name, items, source)) for name in readers}
        stage = stack.enter_context(progress(f"reading the catalogue, {table.unit}"))
        for block in table.blocks(
            [*plain, *vector_columns.values()],
            [columns.ITEM_ID, *columns.DISPLAYED, *vector_columns.values()],
            ITEMS_AT_ONCE,
            stage,
        ):
            for name, column in vector_columns.items():
                if column not in block.column_names:
                    raise InputError(
                        f"{source}: column {column} of modality {name} is missing; check data.modalities, which name a "
                        f"column of {', '.join(table.names[:20])}, or a .npy file"
                    )
                files[name].append(readers[name].read(block[column]))
            kept.append(block.select([name for name in plain if name in block.column_names and _is_plain(block, name)]))
        if items:
            for reader in readers.values():
                reader.finish()
        with progress("checking the catalogue, columns") as stage:
            checked = check_catalogue(to_pandas(pa.concat_tables(kept)), {}, source, stage).frame
        ids = checked[columns.ITEM_ID].to_numpy()
        content = {name: file.finish(ids) for name, file in files.items()}
    content |= {name: _stored(into, name, path, ids) for name, path in arrays.items()}
    return Catalogue(checked, {name: content[name] for name in config.modalities})


def _is_plain(block: pa.Table, name: str) -> bool:
    """Returns whether a column may be kept in memory; one named `image` may hold the pictures, and is then left out."""
    kind = block.schema.field(name).type
    return name not in columns.DISPLAYED or not (pa.types.is_nested(kind) or _is_bytes(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
