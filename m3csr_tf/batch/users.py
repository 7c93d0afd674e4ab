"""The users of a batch job: read in batches from parquet, CSV or JSON lines, checked, or taken from prepared data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds

from m3csr_tf import columns
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.features.histories import click_matrix
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW
from m3csr_tf.serving.requests import flatten

COLUMNS = (columns.USER_ID, columns.HISTORY, columns.EXCLUSIONS)
JSON_LINES = frozenset({".jsonl", ".ndjson"})


def batches_of_users(users: Path | pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    """Reads users, checks them and yields them in batches.

    Args:
      users: a parquet file or folder, a CSV or a JSON-lines file, or a frame; user_id, and, if there are any, history
        (item ids, oldest first) and exclusions. In CSV, a list is text with spaces between the ids.
      size: users of a batch, at most.

    Yields:
      Frames of user_id (str), history and exclusions (lists of str, empty where missing). The ids read so far are kept,
      to find duplicates; nothing else is.

    Raises:
      InputError: the file is missing or malformed, or a row has no user_id, one that was there before, or a list that
        is none or holds something other than ids. Whole numbers are ids too.
    """
    source = "users" if isinstance(users, pd.DataFrame) else str(users)
    seen: set[str] = set()
    rows = 0
    for batch in _raw_batches(users, size):
        if len(batch):
            yield _checked(batch, source, rows, seen)
            rows += len(batch)
    if not rows:
        raise InputError(f"{source}: no users; expected a row for each user")


def count_users(users: Path | pd.DataFrame) -> int | None:
    """Number of users, where it is known without reading them all."""
    if isinstance(users, pd.DataFrame):
        return len(users)
    if users.suffix == ".parquet" and users.exists():
        return _dataset(users).count_rows()
    return None


def users_of(prepared: Prepared, histories: np.ndarray) -> pd.DataFrame:
    """The users of prepared data as a batch job takes them.

    Args:
      prepared: the data.
      histories: the run's cut of them, int32 [len(users), slots] of item rows, earliest first, PADDING_ROW where empty.

    Returns:
      user_id, history, and exclusions: all items that the user clicked in training.
    """
    clicks = click_matrix(prepared.split(columns.TRAIN), len(prepared.users), len(prepared.items))
    used = histories[FIRST_ROW:]
    return pd.DataFrame(
        {
            columns.USER_ID: prepared.users.known,
            columns.HISTORY: _lists(prepared, used[used != PADDING_ROW], (used != PADDING_ROW).sum(axis=1)),
            columns.EXCLUSIONS: _lists(prepared, clicks.indices, np.diff(clicks.indptr)[FIRST_ROW:]),
        }
    )


def _lists(prepared: Prepared, rows: np.ndarray, lengths: np.ndarray) -> pd.Series:
    """A column of lists of item ids from the rows of all lists, one after the other."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(prepared.items.ids(rows))).to_pandas()


def _raw_batches(users: Path | pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    if isinstance(users, pd.DataFrame):
        _require_user_id(users.columns, "users")
        return (users.iloc[start : start + size] for start in range(0, len(users), size))
    if not users.exists():
        raise InputError(f"{users}: no such file; retrieve.users must name the users to make lists for")
    if users.suffix in JSON_LINES:
        return _json_lines(users, size)
    if users.suffix in {".parquet", ".csv"}:
        return _tables(users, size)
    raise InputError(f"{users}: unknown kind of file; expected .parquet, .csv, .jsonl or .ndjson")


def _dataset(path: Path) -> ds.Dataset:
    if path.suffix == ".csv":
        types = dict.fromkeys(COLUMNS, pa.string())
        options = pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
        return ds.dataset(str(path), format=ds.CsvFileFormat(convert_options=options))
    return ds.dataset(str(path), format="parquet")


def _tables(path: Path, size: int) -> Iterator[pd.DataFrame]:
    try:
        dataset = _dataset(path)
        _require_user_id(dataset.schema.names, str(path))
        wanted = [name for name in COLUMNS if name in dataset.schema.names]
        for table in dataset.to_batches(columns=wanted, batch_size=size):
            frame = table.to_pandas(integer_object_nulls=True)
            if path.suffix == ".csv":
                for name in wanted[1:]:
                    frame[name] = frame[name].str.split()
            yield frame
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{path}: cannot be read as {path.suffix[1:]} ({reason})") from None


def _require_user_id(names: Iterable[str], source: str) -> None:
    if columns.USER_ID not in names:
        raise InputError(f"{source}: column {columns.USER_ID} is missing; found {', '.join(map(str, names)) or 'none'}")


def _json_lines(path: Path, size: int) -> Iterator[pd.DataFrame]:
    with path.open("rb") as file:
        numbered = ((number, line) for number, line in enumerate(file, 1) if line.strip())
        while lines := list(islice(numbered, size)):
            objects = [_json_object(line, number, path) for number, line in lines]
            yield pd.DataFrame({name: pd.Series([one.get(name) for one in objects], dtype=object) for name in COLUMNS})


def _json_object(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}: line {number} is not JSON ({error}); expected one object a line") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: line {number} holds a {type(value).__name__}; expected one object a line")
    return value


def _checked(batch: pd.DataFrame, source: str, before: int, seen: set[str]) -> pd.DataFrame:
    """The batch with ids as str and every list in place; `before` rows came earlier, with the ids `seen`."""
    rows = before + 1 + np.arange(len(batch))
    ids = _ids(batch[columns.USER_ID].to_numpy(dtype=object), rows, columns.USER_ID, source)
    for row, user in zip(rows, ids, strict=True):
        if user in seen:
            raise InputError(f"{source}: {columns.USER_ID} in data row {row} is {user!r}, which an earlier row has too")
        seen.add(user)
    checked = {columns.USER_ID: pd.Series(ids, dtype=object)}
    for name in COLUMNS[1:]:
        cells = batch[name].to_numpy(dtype=object) if name in batch else np.full(len(batch), None)
        lists = pd.Series([_list(cell, row, name, source) for cell, row in zip(cells, rows, strict=True)], dtype=object)
        items, owners = flatten(lists)
        items = _ids(items, rows[owners], name, source)
        borders = np.cumsum(np.bincount(owners, minlength=len(lists)))[:-1]
        checked[name] = pd.Series(np.split(items, borders), dtype=object)
    return pd.DataFrame(checked)


def _list(cell: Any, row: np.integer, name: str, source: str) -> Any:
    if isinstance(cell, list | tuple | np.ndarray):
        return cell
    if cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)):
        return ()
    raise InputError(f"{source}: {name} in data row {row} is {cell!r}; expected a list of item ids")


def _ids(values: np.ndarray, rows: np.ndarray, name: str, source: str) -> np.ndarray:
    """Ids as str, object array; whole numbers are written out."""
    kind = pd.api.types.infer_dtype(values, skipna=False)
    if kind in {"integer", "mixed-integer"}:
        values = np.array(
            [str(v) if isinstance(v, int | np.integer) and not isinstance(v, bool) else v for v in values], dtype=object
        )
        kind = pd.api.types.infer_dtype(values, skipna=False)
    if kind in {"string", "empty"} and not (values == "").any():
        return values
    bad = next(at for at, value in enumerate(values) if not isinstance(value, str) or not value)
    value = values[bad]
    missing = value is None or value is pd.NA or value == "" or (isinstance(value, float) and np.isnan(value))
    got = "nothing" if missing else repr(value.item() if isinstance(value, np.generic) else value)
    says, expected = ("is", "an id") if name == columns.USER_ID else ("holds", "a list of item ids")
    raise InputError(f"{source}: {name} in data row {rows[bad]} {says} {got}; expected {expected}")
