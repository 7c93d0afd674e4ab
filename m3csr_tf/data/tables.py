"""Tables as they are on the disk: parquet and CSV, one file or a folder of part files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds

from m3csr_tf.errors import InputError


def part_files(folder: Path) -> list[Path]:
    """Part files of a table, as Spark writes them: names that start with _ or . are no data."""
    require_file(folder)
    parts = [path for path in folder.rglob("*") if path.is_file() and path.name[0] not in "_."]
    if not parts:
        raise InputError(f"{folder}: the folder holds no part files")
    return sorted(parts)


def require_file(path: Path) -> None:
    """Refuses what is neither a file nor a folder: reading a pipe or a device may never end.

    Raises:
      InputError: naming it.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is no file, but a pipe or a device; expected a file, or a folder of part files")


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


def column_names(path: Path) -> list[str]:
    """Names of the columns that any part of a table has.

    Raises:
      InputError: it cannot be read.
    """
    with _readable(path, path.suffix[1:]):
        fragments = _dataset(path, []).get_fragments()
        return list(dict.fromkeys(name for part in fragments for name in part.physical_schema.names))


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


def first_line(error: Exception) -> str:
    """What Arrow says of an error, without its traceback."""
    return str(error).strip().split("\n")[0]
