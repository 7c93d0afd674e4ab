"""Files of users or items as chunks of rows, with no more of the file in memory than that."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.data.tables import require_file
from m3csr_tf.errors import InputError

JSON_LINES = frozenset({".jsonl", ".ndjson"})
CHUNK_ENTRIES = 1 << 20
"""Entries of the lists in a chunk of parquet, about; bounds memory where lists are long."""
CHUNK_BYTES = 1 << 24
"""Bytes of a chunk of JSON lines, unless one line has more."""


class Chunk(NamedTuple):
    """Rows of a file, one after the other.

    Attributes:
      start: rows before.
      length: rows.
      frame: (first, last + 1) -> those rows of the chunk as a frame; a column that the file lacks is missing or empty.
      entries: entries of each row's lists, about, int64 [length]; found without making objects of them.
      batch: the rows as Arrow has them; None for JSON lines.
    """

    start: int
    length: int
    frame: Callable[[int, int], pd.DataFrame]
    entries: Callable[[], np.ndarray]
    batch: pa.RecordBatch | None = None


class Source(Protocol):
    """A file, or a folder of files, of users or items."""

    def files(self) -> list[Path]:
        """Its files, in the order in which they are read."""
        ...

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        """Its rows in order.

        Args:
          names: columns to read.
          wanted: rows that matter, others may be left out; all when None.
          size: rows of a chunk, at most.

        Raises:
          InputError: the file cannot be read.
        """
        ...


def users_source(path: Path) -> Source:
    """The file of users at `path`, by its ending.

    Raises:
      InputError: it is missing, of an unknown kind, cannot be read, or has no column user_id.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; retrieve.users must name the users to make lists for")
    require_file(path)
    if path.suffix == ".parquet" or path.is_dir():
        return _Parquet(path, columns.USER_ID)
    if path.suffix == ".csv":
        return _CsvOfUsers(path, columns.USER_ID, [columns.USER_ID, columns.HISTORY, columns.EXCLUSIONS])
    if path.suffix in JSON_LINES:
        return _JsonLines(path)
    raise InputError(f"{path}: unknown kind of file; expected .parquet, .csv, .jsonl or .ndjson")


def items_source(path: Path, vector_columns: Sequence[str]) -> Source:
    """The file of items at `path`, by its ending; `vector_columns` are text in CSV.

    Raises:
      InputError: it is missing, of an unknown kind, cannot be read, or has no column item_id.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; embed.items must name the items to embed")
    require_file(path)
    if path.suffix == ".parquet" or path.is_dir():
        return _Parquet(path, columns.ITEM_ID)
    if path.suffix == ".csv":
        return _Csv(path, columns.ITEM_ID, [columns.ITEM_ID, *vector_columns])
    raise InputError(f"{path}: unknown kind of file; expected .parquet or .csv")


class _Parquet:
    def __init__(self, path: Path, id_column: str) -> None:
        self._path = path
        try:
            self._files = [Path(file) for file in ds.dataset(str(path), format="parquet").files]
            for file in self._files:
                _require_id(id_column, pq.read_schema(file).names, file)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, "parquet", error) from None

    def files(self) -> list[Path]:
        return self._files

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        start = 0
        for path in self._files:
            try:
                with pq.ParquetFile(path) as file:
                    there = [name for name in names if name in file.schema_arrow.names]
                    for group in range(file.num_row_groups):
                        rows = range(start, start + file.metadata.row_group(group).num_rows)
                        if wanted is None or _overlap(rows, wanted):
                            few = _rows_of_chunk(file.metadata.row_group(group), there, size)
                            yield from _arrow_chunks(
                                file.iter_batches(few, row_groups=[group], columns=there), rows.start
                            )
                        start = rows.stop
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(path, "parquet", error) from None


class _Csv:
    def __init__(self, path: Path, id_column: str, texts: Sequence[str]) -> None:
        self._path = path
        types = dict.fromkeys(texts, pa.string())
        options = pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
        try:
            self._dataset = ds.dataset(str(path), format=ds.CsvFileFormat(convert_options=options))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, "csv", error) from None
        _require_id(id_column, self._dataset.schema.names, path)

    def files(self) -> list[Path]:
        return [self._path]

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        there = [name for name in names if name in self._dataset.schema.names]
        try:
            yield from _arrow_chunks(self._dataset.to_batches(columns=there, batch_size=size), 0)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self._path, "csv", error) from None


class _CsvOfUsers(_Csv):
    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        for chunk in super().chunks(names, wanted, size):
            yield chunk._replace(frame=_split_texts(chunk.frame))


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self._path = path

    def files(self) -> list[Path]:
        return [self._path]

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        start = 0
        for lines in self._blocks(size):
            yield Chunk(start, len(lines), self._frame(lines, names), partial(_commas, lines))
            start += len(lines)

    def _blocks(self, size: int) -> Iterator[list[tuple[int, bytes]]]:
        """Lines with their numbers, `size` or CHUNK_BYTES of them at once."""
        lines: list[tuple[int, bytes]] = []
        held = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                if lines and (len(lines) == size or held + len(line) > CHUNK_BYTES):
                    yield lines
                    lines, held = [], 0
                lines.append((number, line))
                held += len(line)
        if lines:
            yield lines

    def _frame(self, lines: list[tuple[int, bytes]], names: Sequence[str]) -> Callable[[int, int], pd.DataFrame]:
        def frame(first: int, last: int) -> pd.DataFrame:
            # Of each object only what is wanted is kept: the others' lists may be long.
            rows = [_json_values(line, number, self._path, names) for number, line in lines[first:last]]
            return pd.DataFrame(rows, columns=list(names), dtype=object)

        return frame


def _arrow_chunks(batches: Iterable[pa.RecordBatch], start: int) -> Iterator[Chunk]:
    for batch in batches:
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
    """How many rows of a row group to take at once, at most `size`, if these columns are read."""
    leaves = [group.column(place) for place in range(group.num_columns)]
    values = sum(leaf.num_values for leaf in leaves if leaf.path_in_schema.split(".")[0] in names)
    return max(1, min(size, CHUNK_ENTRIES * group.num_rows // max(1, values)))


def _commas(lines: Sequence[tuple[int, bytes]]) -> np.ndarray:
    return np.array([line.count(b",") for _, line in lines], np.int64)


def _split_texts(frame: Callable[[int, int], pd.DataFrame]) -> Callable[[int, int], pd.DataFrame]:
    def split(first: int, last: int) -> pd.DataFrame:
        texts = frame(first, last)
        for name in set(texts.columns) - {columns.USER_ID}:
            texts[name] = texts[name].str.split()
        return texts

    return split


def _overlap(rows: range, wanted: Sequence[range]) -> bool:
    return any(rows.start < one.stop and one.start < rows.stop for one in wanted)


def _require_id(column: str, names: Iterable[str], path: Path) -> None:
    if column not in names:
        raise InputError(f"{path}: column {column} is missing; found {', '.join(map(str, names)) or 'none'}")


def _unreadable(path: Path, kind: str, error: Exception) -> InputError:
    reason = str(error).strip().split("\n")[0]
    return InputError(f"{path}: cannot be read as {kind} ({reason})")


def _json_values(line: bytes, number: int, path: Path, names: Sequence[str]) -> list[Any]:
    """What an object has under each name; None where it has nothing."""
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except RecursionError:
        raise InputError(f"{path}: line {number} is nested too deep; expected one object a line") from None
    except ValueError as error:
        raise InputError(f"{path}: line {number} is not JSON ({error}); expected one object a line") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: line {number} holds a {type(value).__name__}; expected one object a line")
    values = [value.get(name) for name in names]
    # Only by an escape can half of a pair come in.
    if b"\\u" in line and re.search("[\ud800-\udfff]", json.dumps(values, ensure_ascii=False)):
        raise InputError(f"{path}: line {number} holds half of a surrogate pair, which is no text; expected whole ones")
    return values
