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
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.data.lacking import nearest
from m3csr_tf.data.tables import require_file
from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "pipes"}
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
    """Opens the file of items at `path` by its ending; the `vector_columns` of a CSV file are read as text.

    Raises:
      InputError: the file is missing, of an unknown type, cannot be read, or has no column item_id.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; embed.items must name the items to embed")
    require_file(path)
    kind = path.suffix.lower()
    if kind == ".parquet" or path.is_dir():
        return Parquet(path, columns.ITEM_ID)
    if kind == ".csv":
        return Csv(path, columns.ITEM_ID, [columns.ITEM_ID, *vector_columns])
    raise InputError(f"{path}: unknown kind of file; expected .parquet or .csv")


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
            self._names = {file: list(pq.read_schema(file).names) for file in files}
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, "parquet", error) from None
        for file, names in self._names.items():
            require_id(id_column, names, file)

    def files(self) -> list[Path]:
        """See `RowSource`."""
        return list(self._names)

    def names(self) -> dict[Path, list[str]]:
        """See `RowSource`."""
        return self._names

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        """See `RowSource`; row groups that hold none of the wanted rows are not read."""
        start = 0
        for path in self._names:
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
                raise _unreadable(path, "parquet", error) from None


class Csv:
    """A CSV file (`RowSource`).

    Args:
      path: the path of the file.
      id_column: the name of a column that the file must have.
      texts: names of columns that are read as text, whatever their cells look like.

    Raises:
      InputError: the file cannot be read, or lacks the column of ids.
    """

    def __init__(self, path: Path, id_column: str, texts: Sequence[str]) -> None:
        self._path = path
        types = dict.fromkeys(texts, pa.string())
        options = pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
        try:
            self._dataset = ds.dataset(str(path), format=ds.CsvFileFormat(convert_options=options))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, "csv", error) from None
        require_id(id_column, self._dataset.schema.names, path)

    def files(self) -> list[Path]:
        """See `RowSource`."""
        return [self._path]

    def names(self) -> dict[Path, list[str]]:
        """See `RowSource`."""
        return {self._path: list(self._dataset.schema.names)}

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        """See `RowSource`; all rows are read."""
        there = [name for name in names if name in self._dataset.schema.names]
        try:
            yield from _arrow_chunks(self._dataset.to_batches(columns=there, batch_size=size), 0)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self._path, "csv", error) from None


def _arrow_chunks(batches: Iterable[pa.RecordBatch], start: int) -> Iterator[Chunk]:
    for batch in batches:
        batch.validate(full=True)  # Parquet itself does not guarantee that text is UTF-8.
        yield Chunk(start, batch.num_rows, _arrow_frame(batch), partial(_arrow_entries, batch), batch)
        start += batch.num_rows


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
    advice = ""
    near = nearest(names, column)
    if len(names) == 1 and (parted := [word for mark, word in _DELIMITERS.items() if mark in names[0]]):
        advice = f"; its fields seem to be parted by {parted[0]}; write them with commas between, or as parquet"
    elif near is not None:
        advice = f"; if {quoted(near)} is meant, name it {column}"
    raise InputError(f"{path}: column {column} is missing; found {', '.join(names) or 'none'}{advice}")


def _unreadable(path: Path, kind: str, error: Exception) -> InputError:
    reason = _PREAMBLE.sub("", str(error).strip().split("\n")[0])
    twice = _TWICE.search(reason)
    if path.is_file() and not path.stat().st_size:
        return InputError(f"{path}: is empty; expected a {kind} file" + (" with a header line" * (kind == "csv")))
    if twice:
        named = f"column {twice[1]} is there" if twice[1] else "two columns have the same name: one is there"
        return InputError(f"{path}: {named} twice; keep one")
    return InputError(f"{path}: cannot be read as {kind} ({reason})")
