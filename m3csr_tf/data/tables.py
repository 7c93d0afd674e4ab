"""Tables as they are on the disk: parquet and CSV, one file or a folder of part files, and columns of vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds

from m3csr_tf.errors import InputError


def part_files(folder: Path) -> list[Path]:
    """Part files of a table, as Spark writes them: names that start with _ or . are no data."""
    parts = [path for path in folder.rglob("*") if path.is_file() and path.name[0] not in "_."]
    if not parts:
        raise InputError(f"{folder}: the folder holds no part files")
    return sorted(parts)


def load_table(path: Path, wanted: list[str], strings: list[str]) -> pa.Table:
    """Those of the `wanted` columns that a table has.

    Args:
      path: parquet or CSV, a file or a folder of part files.
      wanted: names of columns.
      strings: columns that a CSV holds as text, whatever they look like.

    Raises:
      InputError: it cannot be read.
    """
    with _readable(path, path.suffix[1:]):
        return _dataset(path, strings, wanted).to_table()


def count_rows(path: Path) -> int:
    """Rows of a table; of parquet they are known, a CSV is read for them.

    Raises:
      InputError: it cannot be read.
    """
    with _readable(path, path.suffix[1:]):
        return _dataset(path, []).count_rows()


def read_blocks(path: Path, wanted: list[str], strings: list[str], rows: int) -> Iterator[pa.Table]:
    """The table of `load_table` in blocks of at most `rows` rows, in order; an empty one has a single empty block.

    Raises:
      InputError: it cannot be read.
    """
    with _readable(path, path.suffix[1:]):
        dataset = _dataset(path, strings, wanted)
        some = False
        for part in dataset.get_fragments():
            with _readable(Path(part.path), path.suffix[1:]):
                # What Arrow reads ahead by default is a gigabyte and more.
                for batch in part.to_batches(dataset.schema, batch_size=rows, batch_readahead=2, fragment_readahead=1):
                    if batch.num_rows:
                        some = True
                        yield pa.Table.from_batches([batch])
        if not some:
            yield dataset.schema.empty_table()


def _dataset(path: Path, strings: list[str], wanted: list[str] | None = None) -> ds.Dataset:
    """All parts of a table; only the `wanted` columns that any part has, in the order of `wanted`, unless None."""
    if path.suffix == ".csv":
        convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(strings, pa.string()), null_values=["", "null"])
        file_format: ds.FileFormat = ds.CsvFileFormat(convert_options=convert)
    else:
        # By default Arrow reads the whole file ahead, and keeps what it has read.
        file_format = ds.ParquetFileFormat(pre_buffer=False, use_buffered_stream=True)
    parts = [str(part) for part in ([path] if path.is_file() else part_files(path))]
    dataset = ds.dataset(parts, format=file_format)
    if wanted is None:
        return dataset
    return ds.dataset(parts, _common_schema(dataset, strings, wanted), format=file_format)


def _common_schema(dataset: ds.Dataset, strings: list[str], wanted: list[str]) -> pa.Schema:
    """Types that hold the wanted columns of every part; Arrow by itself takes those of the first part for all."""
    common: dict[str, tuple[pa.DataType, str]] = {}
    for fragment in dataset.get_fragments():
        with _readable(Path(fragment.path), fragment.format.default_extname):
            schema = fragment.physical_schema
        for field in schema:
            if field.name in wanted:
                kind, first = common.get(field.name, (field.type, fragment.path))
                both = _common_type(kind, field.type, field.name in strings)
                if both is None:
                    raise InputError(
                        f"{fragment.path}: column {field.name} holds {field.type} values, {kind} in {first}; "
                        "expected one type in all parts"
                    )
                common[field.name] = both, first
    return pa.schema([(name, common[name][0]) for name in wanted if name in common])


def _common_type(one: pa.DataType, other: pa.DataType, is_text: bool) -> pa.DataType | None:
    """A type that holds the values of both, or None; whole numbers are text where a column is text anyway."""
    try:
        schemas = [pa.schema([("", kind)]) for kind in (one, other)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (one, other)]
        texts = [pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in plain]
        if not is_text or not all(text or pa.types.is_integer(kind) for text, kind in zip(texts, plain, strict=True)):
            return None
        return pa.large_string() if pa.large_string() in plain else pa.string()


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as {kind} ({first_line(error)})") from None


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """A frame; whole numbers with missing ones become floats, dates timestamps."""
    return table.to_pandas(integer_object_nulls=False, date_as_object=False)


def vectors_of(column: pa.ChunkedArray, name: str, path: Path, before: int = 0) -> np.ndarray:
    """A column of lists, or of text "[0.1, 0.2]" or "0.1 0.2", as float32 [rows, width]; NaN where missing.

    Args:
      column: of the table.
      name: of the column.
      path: of the table.
      before: rows of the table that came earlier; messages count from its first.

    Raises:
      InputError: it holds something else, differing widths, or no vector at all.
    """
    reader = VectorReader(name, path, before)
    vectors = reader.read(column)
    reader.finish()
    return vectors


class VectorReader:
    """Reads a column of vectors block by block, as `vectors_of`.

    Args:
      name, path, before: as there.
    """

    def __init__(self, name: str, path: Path, before: int = 0) -> None:
        self._name = name
        self._path = path
        self._rows = before
        self._width: int | None = None

    def read(self, column: pa.ChunkedArray) -> np.ndarray:
        """The next rows, float32 [rows, width]; the width is 0 as long as no vector has come.

        Raises:
          InputError: the column holds something else, or differing widths.
        """
        lists = self._lists(column)
        widths = np.asarray(pc.fill_null(pc.list_value_length(lists), -1))
        present = widths >= 0
        if self._width is None and present.any():
            self._width = int(widths[present][0])
            if not self._width:
                raise InputError(
                    f"{self._path}: column {self._name} holds empty lists; expected vectors, or nothing where there is "
                    "none"
                )
        odd = present & (widths != self._width)
        if odd.any():
            row = int(odd.argmax())
            raise InputError(
                f"{self._path}: {self._name} in data row {self._rows + row + 1} has {widths[row]} entries, "
                f"{self._width} in the first; expected one width"
            )
        try:
            values = pc.cast(pc.list_flatten(lists), pa.float32(), safe=False)
        except pa.ArrowException as error:
            raise InputError(f"{self._path}: column {self._name} does not hold numbers ({first_line(error)})") from None
        self._rows += len(lists)
        vectors = np.full((len(lists), self._width or 0), np.nan, np.float32)
        if present.any():
            vectors[present] = np.asarray(pc.fill_null(values, np.nan)).reshape(-1, vectors.shape[1])
        return vectors

    def finish(self) -> None:
        """Refuses a column without any vector.

        Raises:
          InputError: naming the column.
        """
        if self._width is None:
            raise InputError(f"{self._path}: column {self._name} has no vector in any row; drop the modality")

    def _lists(self, column: pa.ChunkedArray) -> pa.Array:
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            text = pc.utf8_trim(pc.replace_substring(column, ",", " "), characters="[] \t")
            text = pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)
            column = pc.utf8_split_whitespace(text)
            kind = column.type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            raise InputError(f"{self._path}: column {self._name} holds {kind} values; expected a list of numbers a row")
        lists = column.combine_chunks()
        return pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists


def first_line(error: Exception) -> str:
    """What Arrow says of an error, without its traceback."""
    return str(error).strip().split("\n")[0]
