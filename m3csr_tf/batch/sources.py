"""Reads files of users or items in chunks of rows, so that no more than a chunk is in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.data.lacking import nearest
from m3csr_tf.data.part_files import part_files, require_file
from m3csr_tf.data.parts.delimited import Delimited
from m3csr_tf.data.parts.kinds import open_part
from m3csr_tf.data.tables import TableFiles
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

_PREAMBLE = re.compile(r"^Error creating dataset.*input source '.*': (?:Invalid: )?")
"""Matches what Arrow puts before the reason in its message."""
_TWICE = re.compile(r"multiple columns named (.*)|duplicate field names")
CHUNK_ENTRIES = 1 << 20
"""Approximate largest number of list entries in a chunk of parquet, which bounds memory where lists are long."""


class Chunk(NamedTuple):
    """Consecutive rows of a file.

    Attributes:
      start: number of rows before the chunk.
      length: number of rows of the chunk.
      frame: maps (first, last + 1) to these rows of the chunk as a frame; a column that the file lacks is missing or
        empty.
      entries: returns the approximate number of list entries of each row, int64 [length], without building the lists.
      batch: the rows as an Arrow batch; None for JSON lines.
    """

    start: int
    length: int
    frame: Callable[[int, int], pd.DataFrame]
    entries: Callable[[], np.ndarray]
    batch: pa.RecordBatch | None = None


class RowSource(Protocol):
    """A file, or a folder of files, of users or items."""

    def files(self) -> list[Path]:
        """Returns the files in the order in which they are read."""
        ...

    def names(self) -> dict[Path, list[str]]:
        """Returns the columns of each file."""
        ...

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        """Yields the rows in order, in chunks.

        Args:
          names: names of the columns to read.
          wanted: ranges of the rows that are needed, outside of which rows may be left out; None for all rows.
          size: the largest number of rows of a chunk.

        Raises:
          InputError: the file cannot be read.
        """
        ...


def items_source(path: Path, vector_columns: Sequence[str]) -> RowSource:
    """Opens the table of items at `path`; its `vector_columns` may take any form of `m3csr_tf.data.vector_columns`.

    Raises:
      InputError: the table is missing, of an unknown type, cannot be read, or has no column item_id.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; embed.items must name the items to embed")
    require_file(path)
    if is_parquet(path):
        source = Parquet(path, columns.ITEM_ID)
        # Vectors in other forms than lists are converted by `Table`, which reads all rows.
        if not any(source.is_struct_or_missing(column) for column in vector_columns):
            return source
    return Table(path, columns.ITEM_ID, [columns.ITEM_ID, *vector_columns])


def is_parquet(path: Path) -> bool:
    """Returns whether a table is a parquet file, or a folder of such files only.

    Raises:
      InputError: the folder holds no part files.
    """
    if not path.is_dir():
        return path.suffix.lower() == ".parquet"
    return {part.suffix.lower() for part in part_files(path)} <= {".parquet", ""}


class Parquet:
    """A parquet file, or a folder of parquet files (`RowSource`).

    Args:
      path: the path of the file or folder.
      id_column: the name of a column that every file must have.

    Raises:
      InputError: a file cannot be read, or lacks the column of ids.
    """

    def __init__(self, path: Path, id_column: str) -> None:
        self._path = path
        try:
            files = [Path(file) for file in ds.dataset(str(path), format="parquet").files]
            self._schemas = {file: pq.read_schema(file) for file in files}
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None
        for file, names in self.names().items():
            require_id(id_column, names, file)

    def files(self) -> list[Path]:
        """See `RowSource`."""
        return list(self._schemas)

    def names(self) -> dict[Path, list[str]]:
        """See `RowSource`."""
        return {file: list(schema.names) for file, schema in self._schemas.items()}

    def is_struct_or_missing(self, column: str) -> bool:
        """Returns whether a column is missing in some file, or holds structures, as vectors of Spark ML do."""
        schemas = self._schemas.values()
        return any(column not in one.names or pa.types.is_struct(one.field(column).type) for one in schemas)

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        """See `RowSource`; row groups that hold none of the wanted rows are not read."""
        start = 0
        for path in self._schemas:
            try:
                with pq.ParquetFile(path) as file:
                    there = [name for name in names if name in file.schema_arrow.names]
                    for group in range(file.num_row_groups):
                        rows = range(start, start + file.metadata.row_group(group).num_rows)
                        if wanted is None or overlap(rows, wanted):
                            few = _rows_of_chunk(file.metadata.row_group(group), there, size)
                            yield from _arrow_chunks(
                                file.iter_batches(few, row_groups=[group], columns=there), rows.start
                            )
                        start = rows.stop
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(path, error) from None


class Table:
    """A table in any file format that `m3csr_tf.data.parts` knows, in one file or a folder of part files (`RowSource`).

    Args:
      path: the path of the file or folder.
      id_column: the name of a column that every file must have.
      texts: names of columns that are read as text from text files, whatever their cells look like.

    Attributes:
      is_text: whether a file is delimited text, in which lists are text.

    Raises:
      InputError: a file cannot be read, or lacks the column of ids.
    """

    def __init__(self, path: Path, id_column: str, texts: Sequence[str]) -> None:
        parts = [open_part(file, path) for file in (part_files(path) if path.is_dir() else [path])]
        self._texts = list(texts)
        self.is_text = any(isinstance(part, Delimited) for part in parts)
        self._table = TableFiles(path, [(part, {}) for part in parts])
        self._names = {part.path: part.names() for part in parts}
        for file, names in self._names.items():
            require_id(id_column, names, file)

    def files(self) -> list[Path]:
        """See `RowSource`."""
        return list(self._names)

    def names(self) -> dict[Path, list[str]]:
        """See `RowSource`."""
        return self._names

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        """See `RowSource`; all rows are read."""
        start = 0
        for block in self._table.blocks(names, self._texts, size):
            for batch in block.combine_chunks().to_batches():
                yield _arrow_chunk(batch, start)
                start += batch.num_rows


def _arrow_chunks(batches: Iterable[pa.RecordBatch], start: int) -> Iterator[Chunk]:
    for batch in batches:
        batch.validate(full=True)  # Parquet itself does not guarantee that text is UTF-8.
        yield _arrow_chunk(batch, start)
        start += batch.num_rows


def _arrow_chunk(batch: pa.RecordBatch, start: int) -> Chunk:
    return Chunk(start, batch.num_rows, _arrow_frame(batch), partial(_arrow_entries, batch), batch)


def _arrow_frame(batch: pa.RecordBatch) -> Callable[[int, int], pd.DataFrame]:
    return lambda first, last: batch.slice(first, last - first).to_pandas(integer_object_nulls=True)


def _arrow_entries(batch: pa.RecordBatch) -> np.ndarray:
    entries = np.zeros(batch.num_rows, np.int64)
    for name in {columns.HISTORY, columns.EXCLUSIONS} & set(batch.schema.names):
        cells, kind = batch[name], batch[name].type
        if pa.types.is_string(kind):
            entries += np.asarray(pc.fill_null(pc.count_substring(cells, " "), 0)) + 1
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            entries += np.asarray(pc.fill_null(pc.list_value_length(cells), 0))
    return entries


def _rows_of_chunk(group: pq.RowGroupMetaData, names: Sequence[str], size: int) -> int:
    """Returns how many rows of a row group to read at once, at most `size`, given the columns that are read."""
    leaves = [group.column(position) for position in range(group.num_columns)]
    values = sum(leaf.num_values for leaf in leaves if leaf.path_in_schema.split(".")[0] in names)
    return max(1, min(size, CHUNK_ENTRIES * group.num_rows // max(1, values)))


def overlap(rows: range, wanted: Sequence[range]) -> bool:
    """Returns whether a range of rows has rows in common with one of the `wanted` ranges."""
    return any(rows.start < one.stop and one.start < rows.stop for one in wanted)


def require_id(column: str, names: Iterable[str], path: Path) -> None:
    """Refuses a file that lacks the column of ids.

    Raises:
      InputError: the column is missing; the message lists the columns that there are.
    """
    names = list(map(str, names))
    if column in names:
        return
    near = nearest(names, column)
    advice = "" if near is None else f"; if {quoted(near)} is meant, name it {column}"
    raise InputError(f"{path}: column {column} is missing; found {', '.join(names) or 'none'}{advice}")


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = _PREAMBLE.sub("", str(error).strip().split("\n")[0])
    twice = _TWICE.search(reason)
    if path.is_file() and not path.stat().st_size:
        return InputError(f"{path}: is empty; expected a parquet file")
    if twice:
        named = f"column {twice[1]} is there" if twice[1] else "two columns have the same name: one is there"
        return InputError(f"{path}: {named} twice; keep one")
    return InputError(f"{path}: cannot be read as parquet ({reason})")
