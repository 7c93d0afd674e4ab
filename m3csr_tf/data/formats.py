"""Readers: each layout of raw input that docs/data.md describes, to one RawData. Nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds

from m3csr_tf import columns
from m3csr_tf.config import DataConfig
from m3csr_tf.data.catalogue import Catalogue, check_catalogue
from m3csr_tf.data.interactions import check_interactions
from m3csr_tf.data.raw import RawData, check_items_known
from m3csr_tf.data.world import make_world
from m3csr_tf.errors import InputError

INTERACTIONS = "interactions"
CATALOGUE = "catalogue"
MMREC_USER, MMREC_ITEM, MMREC_SPLIT = "userID", "itemID", "x_label"


def read(config: DataConfig) -> RawData:
    """Reads and checks the raw input that `config` names.

    Raises:
      InputError: a file is missing, malformed, or contradicts another; the message says which, and what to do.
    """
    if config.format == "world":
        return make_world(config.world)
    readers: dict[str, Callable[[DataConfig, Path], tuple[pd.DataFrame, str, Catalogue]]] = {
        "table": _read_table,
        "mmssl": _read_mmssl,
        "mmrec": _read_mmrec,
    }
    raw, source, catalogue = readers[config.format](config, _folder(config))
    interactions, counts = check_interactions(raw, source)
    check_items_known(interactions, catalogue, source)
    return RawData(interactions, catalogue, counts)


def input_files(config: DataConfig) -> list[Path]:
    """Every file that `read` would read, sorted; none for the synthetic world.

    Raises:
      InputError: a file is missing.
    """
    if config.format == "world":
        return []
    folder = _folder(config)
    if config.format == "table":
        tables = [_find_table(folder, name) for name in (INTERACTIONS, CATALOGUE)]
        return sorted(file for table in tables for file in ([table] if table.is_file() else _parts(table)))
    arrays = [_existing(folder / file) for file in config.modalities.values()]
    if config.format == "mmssl":
        return sorted([_existing(folder / f"{name}.json") for name in columns.SPLITS] + arrays)
    return sorted([_inter_file(config, folder), *arrays])


def _folder(config: DataConfig) -> Path:
    folder = Path(config.path or "")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; data.path must name the folder of the {config.format} files")
    return folder


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no such file; check data.path, data.format and data.modalities")
    return path


# Layout "table": interactions and catalogue, each one parquet or CSV file or a folder of part files.


def _read_table(config: DataConfig, folder: Path) -> tuple[pd.DataFrame, str, Catalogue]:
    path = _find_table(folder, INTERACTIONS)
    wanted = [columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.WEIGHT, columns.SPLIT]
    interactions = _load(path, wanted, strings=[columns.USER_ID, columns.ITEM_ID, columns.SPLIT])
    return _to_pandas(interactions), str(path), _read_catalogue(config, _find_table(folder, CATALOGUE))


def _read_catalogue(config: DataConfig, path: Path) -> Catalogue:
    vector_columns = list(config.modalities.values())
    plain = [columns.ITEM_ID, columns.VIEW_COUNT, columns.PUBLISH_TIME]
    table = _load(path, [*plain, *vector_columns], strings=[columns.ITEM_ID, *vector_columns])
    for name, column in config.modalities.items():
        if column not in table.column_names:
            raise InputError(f"{path}: column {column} of modality {name} is missing; check data.modalities")
    frame = _to_pandas(table.select([name for name in plain if name in table.column_names]))
    content = {name: _vectors(table[column], column, path) for name, column in config.modalities.items()}
    return check_catalogue(frame, content, str(path))


def _find_table(folder: Path, name: str) -> Path:
    found = [path for path in (folder / f"{name}.parquet", folder / f"{name}.csv") if path.exists()]
    if not found:
        raise InputError(f"{folder}: neither {name}.parquet nor {name}.csv is there; expected one of them")
    if len(found) > 1:
        raise InputError(f"{folder}: both {name}.parquet and {name}.csv are there; keep one")
    return found[0]


def _parts(folder: Path) -> list[Path]:
    """Part files of a table, as Spark writes them: names that start with _ or . are no data."""
    parts = [path for path in folder.rglob("*") if path.is_file() and path.name[0] not in "_."]
    if not parts:
        raise InputError(f"{folder}: the folder holds no part files")
    return sorted(parts)


def _load(path: Path, wanted: list[str], strings: list[str]) -> pa.Table:
    if path.suffix == ".csv":
        convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(strings, pa.string()), null_values=["", "null"])
        file_format: ds.FileFormat = ds.CsvFileFormat(convert_options=convert)
    else:
        file_format = ds.ParquetFileFormat()
    try:
        dataset = ds.dataset([str(part) for part in ([path] if path.is_file() else _parts(path))], format=file_format)
        return dataset.to_table(columns=[name for name in wanted if name in dataset.schema.names])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as {path.suffix[1:]} ({_first_line(error)})") from None


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(integer_object_nulls=False, date_as_object=False)


def _vectors(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    """A column of lists, or of text "[0.1, 0.2]" or "0.1 0.2", as float32 [rows, width]; NaN where missing."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pc.utf8_trim(pc.replace_substring(column, ",", " "), characters="[] \t")
        text = pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)
        column = pc.utf8_split_whitespace(text)
        kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InputError(f"{path}: column {name} holds {kind} values; expected a list of numbers a row")
    lists = column.combine_chunks()
    lists = pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists
    widths = pc.list_value_length(lists)
    present = pc.is_valid(lists).to_numpy(zero_copy_only=False)
    if not present.any():
        raise InputError(f"{path}: column {name} has no vector in any row; drop the modality")
    widths = np.asarray(pc.fill_null(widths, -1))
    width = int(widths[present][0])
    if not width:
        raise InputError(f"{path}: column {name} holds empty lists; expected vectors, or nothing where there is none")
    odd = present & (widths != width)
    if odd.any():
        row = int(odd.argmax())
        raise InputError(
            f"{path}: {name} in data row {row + 1} has {widths[row]} entries, {width} in the first; expected one width"
        )
    try:
        values = pc.cast(pc.list_flatten(lists), pa.float32(), safe=False)
    except pa.ArrowException as error:
        raise InputError(f"{path}: column {name} does not hold numbers ({_first_line(error)})") from None
    vectors = np.full((len(lists), width), np.nan, np.float32)
    vectors[present] = np.asarray(pc.fill_null(values, np.nan)).reshape(-1, width)
    return vectors


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


# Layouts whose items are the rows of .npy files.


def _read_mmssl(config: DataConfig, folder: Path) -> tuple[pd.DataFrame, str, Catalogue]:
    interactions = pd.concat(
        [_read_user_lists(_existing(folder / f"{name}.json"), name) for name in columns.SPLITS], ignore_index=True
    )
    return interactions, str(folder), _catalogue_of_rows(config, folder)


def _read_user_lists(path: Path, name: str) -> pd.DataFrame:
    """One split: a JSON mapping of a user index to the list of her item indices."""
    expected = "expected a mapping of user index to a list of item indices"
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path}: not valid JSON; {expected}") from None
    if not isinstance(lists, dict) or not all(isinstance(items, list) for items in lists.values()):
        raise InputError(f"{path}: {expected}")
    users = np.repeat(np.array(list(lists), dtype=object), [len(items) for items in lists.values()])
    items = pd.Series([item for items in lists.values() for item in items], dtype=object)
    if len(items) and pd.api.types.infer_dtype(items, skipna=False) not in {"integer", "string"}:
        raise InputError(f"{path}: item indices must be whole numbers; {expected}")
    return pd.DataFrame({columns.USER_ID: users, columns.ITEM_ID: items.astype(str), columns.SPLIT: name})


def _read_mmrec(config: DataConfig, folder: Path) -> tuple[pd.DataFrame, str, Catalogue]:
    path = _inter_file(config, folder)
    names = {MMREC_USER: columns.USER_ID, MMREC_ITEM: columns.ITEM_ID, columns.TIMESTAMP: columns.TIMESTAMP}
    wanted = {*names, MMREC_SPLIT}
    try:
        frame = pd.read_csv(
            path, sep="\t", usecols=lambda name: name in wanted, dtype={MMREC_USER: str, MMREC_ITEM: str}
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as tab-separated text ({_first_line(error)})") from None
    if MMREC_SPLIT in frame:
        labels = dict(enumerate(columns.SPLITS))
        odd = ~frame[MMREC_SPLIT].isin(labels)
        if odd.any():
            row = int(odd.to_numpy().argmax())
            raise InputError(
                f"{path}: {MMREC_SPLIT} in data row {row + 1} is {frame[MMREC_SPLIT].iloc[row]}; expected 0, 1 or 2 "
                "(train, val, test)"
            )
        frame[columns.SPLIT] = frame.pop(MMREC_SPLIT).map(labels)
    return frame.rename(columns=names), str(path), _catalogue_of_rows(config, folder)


def _inter_file(config: DataConfig, folder: Path) -> Path:
    if config.inter_file is not None:
        return _existing(folder / config.inter_file)
    found = sorted(folder.glob("*.inter"))
    if not found:
        raise InputError(f"{folder}: no .inter file is there; check data.path and data.format")
    if len(found) > 1:
        raise InputError(f"{folder}: {len(found)} .inter files are there; name one in data.inter_file")
    return found[0]


def _catalogue_of_rows(config: DataConfig, folder: Path) -> Catalogue:
    """A catalogue whose item k is row k of every modality's file."""
    content = {name: _load_array(_existing(folder / file)) for name, file in config.modalities.items()}
    sizes = {name: len(vectors) for name, vectors in content.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{config.modalities[name]} {size}" for name, size in sizes.items())
        raise InputError(f"{folder}: the modalities have differing numbers of rows ({listed}); expected a row an item")
    frame = pd.DataFrame({columns.ITEM_ID: np.arange(next(iter(sizes.values())))})
    return check_catalogue(frame, content, str(folder))


def _load_array(path: Path) -> np.ndarray:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        reason = "it is pickled or holds objects" if "allow_pickle" in str(error) else _first_line(error)
        raise InputError(
            f"{path}: cannot be read as .npy ({reason}); expected numbers [items, width], never a pickle"
        ) from None
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        shape = f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, np.ndarray) else "an archive"
        raise InputError(f"{path}: holds {shape}; expected numbers [items, width]")
    return vectors
