"""The items of a job that embeds them: a file in the layout of a catalogue, or those of a release."""

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
from m3csr_tf.batch.rows import FileOfRows
from m3csr_tf.batch.sources import Chunk, items_source
from m3csr_tf.data.catalogue import Catalogue, check_catalogue
from m3csr_tf.data.tables import to_pandas
from m3csr_tf.data.vectors import vectors_of
from m3csr_tf.errors import InputError
from m3csr_tf.releases.items import ItemStore
from m3csr_tf.releases.release import Release


class Items(Protocol):
    """Items in a fixed order, of which any stretch can be read."""

    def digest(self) -> str:
        """SHA-256 of what they are, hex: equal digests, equal items in the same order."""
        ...

    def count(self) -> int:
        """How many they are."""
        ...

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, Catalogue]]:
        """Batches of items as (part, items), in order; part k is items k * part_size to (k + 1) * part_size - 1.

        No batch holds items of two parts, and what a part's batches are does not depend on the other parts.
        """
        ...


class FileOfItems(FileOfRows):
    """Items in a file; pickled, they are the items of that file where they arrive.

    Args:
      path: a parquet file, a folder of them, or a CSV: item_id, a column of vectors a modality, and perhaps view_count.
      vector_columns: modality -> its column.
      widths: modality -> width of its vectors.

    Raises:
      InputError: the file is missing, of another kind, cannot be read, or has no column item_id.
    """

    def __init__(self, path: Path, vector_columns: Mapping[str, str], widths: Mapping[str, int]) -> None:
        source = items_source(Path(path), list(vector_columns.values()))
        super().__init__(Path(path), source, columns.ITEM_ID, "item")
        self._columns = dict(vector_columns)
        self._widths = dict(widths)

    def __reduce__(self) -> tuple[type[FileOfItems], tuple[Path, dict[str, str], dict[str, int]]]:
        return FileOfItems, (self.path.absolute(), self._columns, self._widths)

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, Catalogue]]:
        """See `Items`; row groups of parquet without a wanted item are not read.

        Raises:
          InputError: as in `check_catalogue`, or a column of vectors is missing or of another width.
        """
        names = [columns.ITEM_ID, columns.VIEW_COUNT, *self._columns.values()]
        for start, tables in self.batches(parts, part_size, batch_size, names, _cut):
            yield (
                start // part_size,
                catalogue_of(pa.concat_tables(tables), self._columns, self._widths, self.path, before=start),
            )


class ReleaseItems:
    """The items of a release, those that came by refresh among them; pickled, they are opened again where they arrive.

    Args:
      release: as of the position that matters.
    """

    def __init__(self, release: Release) -> None:
        self._release = release

    def __reduce__(self) -> tuple[type[ReleaseItems], tuple[Release]]:
        return ReleaseItems, (self._release,)

    def digest(self) -> str:
        """SHA-256 of the release's fingerprint, hex; its position is the job's."""
        return hashlib.sha256(self._release.manifest["fingerprint"].encode()).hexdigest()

    def count(self) -> int:
        """See `Items`."""
        return len(self._ids)

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, Catalogue]]:
        """See `Items`."""
        for part in sorted(parts):
            stop = min((part + 1) * part_size, self.count())
            for start in range(part * part_size, stop, batch_size):
                yield part, self._store.catalogue(self._ids[start : min(start + batch_size, stop)])

    @cached_property
    def _store(self) -> ItemStore:
        return self._release.items_alone()

    @cached_property
    def _ids(self) -> np.ndarray:
        return self._store.ids


def catalogue_of(
    table: pa.Table, vector_columns: Mapping[str, str], widths: Mapping[str, int], path: Path, before: int = 0
) -> Catalogue:
    """Rows of a table of items as the item tower takes them, checked.

    Args:
      table: item_id, a column of vectors a modality, and perhaps view_count.
      vector_columns, widths: see `FileOfItems`.
      path: what messages call the table.
      before: rows that came earlier.

    Raises:
      InputError: see `FileOfItems.read`.
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
