"""Files of users as chunks of rows, with no more of the file in memory than that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.errors import InputError

JSON_LINES = frozenset({".jsonl", ".ndjson"})


class Chunk(NamedTuple):
    """Rows of a file, one after the other.

    Attributes:
      start: rows before.
      length: rows.
      frame: (first, last + 1) -> those rows of the chunk as a frame; a column that the file lacks is missing or empty.
    """

    start: int
    length: int
    frame: Callable[[int, int], pd.DataFrame]


class Source(Protocol):
    """A file, or a folder of files, of users."""

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


def source_of(path: Path) -> Source:
    """The file at `path`, by its ending.

    Raises:
      InputError: it is missing, of an unknown kind, cannot be read, or has no column user_id.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; retrieve.users must name the users to make lists for")
    if path.suffix == ".parquet" or path.is_dir():
        return _Parquet(path)
    if path.suffix == ".csv":
        return _Csv(path)
    if path.suffix in JSON_LINES:
        return _JsonLines(path)
    raise InputError(f"{path}: unknown kind of file; expected .parquet, .csv, .jsonl or .ndjson")


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._files = [Path(file) for file in ds.dataset(str(path), format="parquet").files]
            for file in self._files:
                _require_user_id(pq.read_schema(file).names, file)
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
                            yield from _arrow_chunks(
                                file.iter_batches(size, row_groups=[group], columns=there), rows.start
                            )
                        start = rows.stop
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(path, "parquet", error) from None


class _Csv:
    def __init__(self, path: Path) -> None:
        self._path = path
        types = dict.fromkeys((columns.USER_ID, columns.HISTORY, columns.EXCLUSIONS), pa.string())
        options = pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
        try:
            self._dataset = ds.dataset(str(path), format=ds.CsvFileFormat(convert_options=options))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, "csv", error) from None
        _require_user_id(self._dataset.schema.names, path)

    def files(self) -> list[Path]:
        return [self._path]

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        there = [name for name in names if name in self._dataset.schema.names]
        try:
            for chunk in _arrow_chunks(self._dataset.to_batches(columns=there, batch_size=size), 0):
                yield chunk._replace(frame=_split_texts(chunk.frame))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self._path, "csv", error) from None


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self._path = path

    def files(self) -> list[Path]:
        return [self._path]

    def chunks(self, names: Sequence[str], wanted: Sequence[range] | None, size: int) -> Iterator[Chunk]:
        start = 0
        with self._path.open("rb") as file:
            numbered = ((number, line) for number, line in enumerate(file, 1) if line.strip())
            while lines := list(islice(numbered, size)):
                yield Chunk(start, len(lines), self._frame(lines, names))
                start += len(lines)

    def _frame(self, lines: list[tuple[int, bytes]], names: Sequence[str]) -> Callable[[int, int], pd.DataFrame]:
        def frame(first: int, last: int) -> pd.DataFrame:
            objects = [_json_object(line, number, self._path) for number, line in lines[first:last]]
            return pd.DataFrame({name: pd.Series([one.get(name) for one in objects], dtype=object) for name in names})

        return frame


def _arrow_chunks(batches: Iterable[pa.RecordBatch], start: int) -> Iterator[Chunk]:
    for batch in batches:
        yield Chunk(start, batch.num_rows, _arrow_frame(batch))
        start += batch.num_rows


def _arrow_frame(batch: pa.RecordBatch) -> Callable[[int, int], pd.DataFrame]:
    return lambda first, last: batch.slice(first, last - first).to_pandas(integer_object_nulls=True)


def _split_texts(frame: Callable[[int, int], pd.DataFrame]) -> Callable[[int, int], pd.DataFrame]:
    def split(first: int, last: int) -> pd.DataFrame:
        texts = frame(first, last)
        for name in set(texts.columns) - {columns.USER_ID}:
            texts[name] = texts[name].str.split()
        return texts

    return split


def _overlap(rows: range, wanted: Sequence[range]) -> bool:
    return any(rows.start < one.stop and one.start < rows.stop for one in wanted)


def _require_user_id(names: Iterable[str], path: Path) -> None:
    if columns.USER_ID not in names:
        raise InputError(f"{path}: column {columns.USER_ID} is missing; found {', '.join(map(str, names)) or 'none'}")


def _unreadable(path: Path, kind: str, error: Exception) -> InputError:
    reason = str(error).strip().split("\n")[0]
    return InputError(f"{path}: cannot be read as {kind} ({reason})")


def _json_object(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}: line {number} is not JSON ({error}); expected one object a line") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: line {number} holds a {type(value).__name__}; expected one object a line")
    return value
