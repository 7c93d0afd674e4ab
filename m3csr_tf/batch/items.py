"""The items of a job that embeds items: those of a file in the layout of a catalogue, or those of a release."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.batch.checks import checked_ids
from m3csr_tf.batch.rows import FileOfRows, batches_of_parts
from m3csr_tf.batch.sources import Chunk, items_source
from m3csr_tf.data.catalogue import Catalogue, check_catalogue
from m3csr_tf.data.tables import to_pandas
from m3csr_tf.data.vectors import vectors_of
from m3csr_tf.errors import InputError
from m3csr_tf.releases.items import ItemStore
from m3csr_tf.releases.release import Release


class Items(Protocol):
    """Items in a fixed order, of which any part can be read."""

    def digest(self) -> str:
        """Returns a SHA-256 of the items, in hex; equal digests mean equal items in the same order."""
        ...

    def count(self) -> int:
        """Returns the number of items."""
        ...

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, Catalogue]]:
        """Yields batches of items as (part, items), in order.

        Part k holds the items k * part_size to (k + 1) * part_size - 1. No batch holds items of two parts, and the
        batches of a part do not depend on which other parts are read.
        """
        ...


class FileOfItems(FileOfRows):
    """Items in a file; a pickled copy reads the file of the same path in the process that unpickles it.

    Args:
      path: a parquet file, a folder of parquet files, or a CSV file, with the columns item_id, one column of vectors
        for each modality, and perhaps view_count.
      vector_columns: modality -> name of its column.
      widths: modality -> width of its vectors.

    Raises:
      InputError: the file is missing, of another type, cannot be read, or has no column item_id.
    """

    def __init__(self, path: Path, vector_columns: Mapping[str, str], widths: Mapping[str, int]) -> None:
        source = items_source(Path(path), list(vector_columns.values()))
        super().__init__(Path(path), source, columns.ITEM_ID, "item")
        self._columns = dict(vector_columns)
        self._widths = dict(widths)

    def __reduce__(self) -> tuple[type[FileOfItems], tuple[Path, dict[str, str], dict[str, int]]]:
        return FileOfItems, (self.path.absolute(), self._columns, self._widths)

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, Catalogue]]:
        """See `Items`; row groups of parquet that hold none of the items are not read.

        Raises:
          InputError: an item is invalid (`check_catalogue`), or a column of vectors is missing or of another width.
        """
        names = [columns.ITEM_ID, columns.VIEW_COUNT, *self._columns.values()]
        for start, tables in self.batches(parts, part_size, batch_size, names, _cut):
            yield (
                start // part_size,
                catalogue_of(pa.concat_tables(tables), self._columns, self._widths, self.path, before=start),
            )


class ReleaseItems:
    """The items of a release, including those added by refresh; a pickled copy opens the release again on arrival.

    Args:
      release: the release, opened at the journal position whose items are meant.
    """

    def __init__(self, release: Release) -> None:
        self._release = release

    def __reduce__(self) -> tuple[type[ReleaseItems], tuple[Release]]:
        return ReleaseItems, (self._release,)

    def digest(self) -> str:
        """Returns the SHA-256 of the release's fingerprint, in hex; the journal position is part of the job instead."""
        return hashlib.sha256(self._release.manifest["fingerprint"].encode()).hexdigest()

    def count(self) -> int:
        """See `Items`."""
        return len(self._ids)

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, Catalogue]]:
        """See `Items`."""
        for part, start, stop in batches_of_parts(parts, part_size, batch_size, self.count()):
            yield part, self._store.catalogue(self._ids[start:stop])

    @cached_property
    def _store(self) -> ItemStore:
        return self._release.items_alone()

    @cached_property
    def _ids(self) -> np.ndarray:
        return self._store.ids


def catalogue_of(
    table: pa.Table, vector_columns: Mapping[str, str], widths: Mapping[str, int], path: Path, before: int = 0
) -> Catalogue:
    """Checks rows of a table of items, and returns them in the form that the item tower takes.

    Args:
      table: item_id, one column of vectors for each modality, and perhaps view_count.
      vector_columns, widths: as in `FileOfItems`.
      path: the path of the table, for error messages.
      before: number of rows of the table that came before these.

    Raises:
      InputError: for the same reasons as in `FileOfItems.read`.
    """
    rows = before + 1 + np.arange(len(table))
    frame = to_pandas(table.select([name for name in (columns.VIEW_COUNT,) if name in table.column_names]))
    ids = table[columns.ITEM_ID].to_pandas(integer_object_nulls=True).to_numpy(dtype=object)
    frame[columns.ITEM_ID] = pd.Series(checked_ids(ids, rows, columns.ITEM_ID, str(path)), dtype=object)
    content = {}
    for name, column in vector_columns.items():
        if column not in table.column_names:
            raise InputError(
                f"{path}: column {column} is missing; the item tower takes {name} vectors of {widths[name]} numbers, "
                "or nothing where an item lacks them"
            )
        content[name] = np.full([len(table), widths[name]], np.nan, np.float32)
        if table[column].null_count < len(table):
            content[name] = vectors_of(table[column], column, path, before)
        if content[name].shape[1] != widths[name]:
            raise InputError(
                f"{path}: {column} holds vectors of {content[name].shape[1]} numbers in data rows from {before + 1}; "
                f"the item tower takes {widths[name]}"
            )
    return check_catalogue(frame, content, str(path))


def _cut(chunk: Chunk, first: int, last: int) -> pa.Table:
    assert chunk.batch is not None
    return pa.Table.from_batches([chunk.batch.slice(first, last - first)])
