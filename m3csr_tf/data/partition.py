"""Reads a log that is larger than memory once, and partitions it by user into files on disk (buckets).

All rows of a user are written to one bucket, which a stable hash of her id chooses. Whatever needs all rows of a user
(merging duplicates, splitting by user, building histories) therefore needs only one bucket at a time, and a bucket is a
random sample of the users. Item ids are converted to rows at once, because the catalogue knows all of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf import columns
from m3csr_tf.config.events import LARGEST_WEIGHT
from m3csr_tf.data.events import Extent, extent_of, wider
from m3csr_tf.data.id_columns import CUT_SHORT
from m3csr_tf.data.interactions import LogCheck
from m3csr_tf.data.raw import EXAMPLES, refuse_unknown
from m3csr_tf.data.readers.log import TableLog
from m3csr_tf.data.tables import to_pandas
from m3csr_tf.errors import InputError
from m3csr_tf.ids import UNKNOWN_ROW, IdTable
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.string_hashes import string_hashes

_BLOCK = 1_000_000
_MOST_BUCKETS = 512
"""Largest number of buckets, all of which are open for writing at the same time."""
_ODD_ID = rf"^$|[\n\r\x00]|{CUT_SHORT}"
_LABELS = pa.array(columns.SPLITS)


@dataclass(frozen=True)
class Partition:
    """A log that has been partitioned by user.

    Attributes:
      files: one Arrow file for each bucket, with the columns user_id (string), item_row (int32) and any of timestamp,
        weight (float64), kinds (int64) and split (int8, the position in `columns.SPLITS`). Rows are in the order of
        the log.
      rows: number of rows of the log.
      clicked: which item rows occur in the log, bool [items].
      names: names of the columns of the files.
      time_unit: how many units of the timestamps make one second; the files hold them in the unit of the input.
      left_out: reason -> number of rows that were left out.
      weights: the smallest and the largest weight of a row; None if rows have none.
    """

    files: list[Path]
    rows: int
    clicked: np.ndarray
    names: list[str]
    time_unit: int
    left_out: dict[str, int]
    weights: Extent | None


def partition(
    log: TableLog,
    items: IdTable,
    folder: Path,
    rows: int,
    bucket_rows: int,
    on_progress: ProgressCallback,
) -> Partition:
    """Reads a log in blocks, checks each block, and writes its rows to their buckets.

    Args:
      log: the interactions.
      items: the id table of the catalogue.
      folder: the folder for the buckets.
      rows: number of rows of the log.
      bucket_rows: approximate number of rows of a bucket.
      on_progress: progress callback, in the unit of the log (`TableLog.unit`).

    Raises:
      InputError: for the reasons that `check_interactions` and `check_items_known` give; row numbers are those of the
        whole log.
    """
    count = min(_MOST_BUCKETS, max(1, -(-rows // bucket_rows)))
    files = [folder / f"bucket-{number:04d}.arrow" for number in range(count)]
    clicked = np.zeros(len(items), bool)
    done, unknown = 0, 0
    examples: dict[str, None] = {}
    names: list[str] = []
    check: LogCheck | None = None
    weights: Extent | None = None
    with ExitStack() as stack:
        writers: list[pa.ipc.RecordBatchFileWriter] = []
        for block in log.blocks(_BLOCK, on_progress):
            # A log can name its source only after its first block: only then does it know what its rows are.
            check = check or LogCheck(log.source)
            checked = _checked(block, done, check)
            if columns.WEIGHT in checked.column_names:
                weights = wider(weights, extent_of(checked[columns.WEIGHT].to_pandas()))
            item_rows = items.rows(checked[columns.ITEM_ID])
            lacking = item_rows == UNKNOWN_ROW
            if lacking.any():
                if len(examples) < EXAMPLES:
                    examples |= dict.fromkeys(checked[columns.ITEM_ID].filter(pa.array(lacking)).unique().to_pylist())
                unknown += int(lacking.sum())
            clicked[item_rows] = True
            table = checked.drop_columns(columns.ITEM_ID).append_column(columns.ITEM_ROW, pa.array(item_rows))
            if not writers:
                names = table.column_names
                writers = [stack.enter_context(pa.ipc.new_file(str(file), table.schema)) for file in files]
            _write(table, writers)
            done += block.num_rows
    if check is None or not done:
        raise InputError(f"{log.source}: no interactions; expected a row for each click")
    time_unit = check.time_unit()
    if unknown:
        refuse_unknown(unknown, list(examples)[:EXAMPLES], items.known, log.source)
    return Partition(files, done, clicked, names, time_unit, log.counts(), weights)


def read_bucket(file: Path) -> pa.Table:
    """Reads a bucket, or another table that was written as an Arrow file."""
    with pa.ipc.open_file(str(file)) as reader:
        return reader.read_all()


def _write(table: pa.Table, writers: list[pa.ipc.RecordBatchFileWriter]) -> None:
    bucket = string_hashes(table[columns.USER_ID].cast(pa.large_string()).combine_chunks()) % np.uint64(len(writers))
    order = np.argsort(bucket, kind="stable")
    ordered = table.take(pa.array(order)).combine_chunks()
    ends = np.cumsum(np.bincount(bucket.astype(np.int64), minlength=len(writers)))
    for writer, start, end in zip(writers, [0, *ends[:-1]], ends, strict=True):
        if end > start:
            writer.write_table(ordered.slice(int(start), int(end - start)))


def _checked(block: pa.Table, first: int, check: LogCheck) -> pa.Table:
    """Returns the block with ids as strings, timestamps as numbers, weights as float64 and splits as int8.

    Columns of the usual types are checked by Arrow, which is fast. A block with anything unusual takes the slower path
    of logs in memory, which converts it or says what is wrong with it.
    """
    usual = _usual(block)
    rows_of_log = pd.RangeIndex(first, first + block.num_rows)
    if usual is not None:
        times = [columns.TIMESTAMP] if columns.TIMESTAMP in usual.column_names else []
        check.see(usual.select(times).to_pandas().set_index(rows_of_log), usual)
        return usual
    rows = check.rows(to_pandas(block).set_index(rows_of_log))
    table = pa.Table.from_pandas(rows, preserve_index=False)
    usual = _usual(table, checked=True)
    assert usual is not None  # After `LogCheck.rows` every column has its usual type and valid values.
    return usual


def _usual(block: pa.Table, checked: bool = False) -> pa.Table | None:
    """Returns the block in the form of `_checked` if every column has its usual type and only valid values, else None.

    A block whose ids may be written as floats also gives None, for the path of small logs to judge, unless it has been
    `checked` there already.
    """
    made = {}
    for name in block.column_names:
        column = block[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = pc.cast(column, column.type.value_type)
        if pa.types.is_large_string(column.type):
            column = pc.cast(column, pa.string())
        if column.null_count or column.type == pa.uint64():
            return None
        if name in (columns.USER_ID, columns.ITEM_ID):
            if pa.types.is_integer(column.type):
                column = pc.cast(column, pa.string())
            elif not pa.types.is_string(column.type) or _any(pc.match_substring_regex(column, _ODD_ID)):
                return None
            elif not checked and len(column) and column[0].as_py().endswith(".0"):
                return None
        elif name == columns.SPLIT:
            if not pa.types.is_string(column.type):
                return None
            column = pc.cast(pc.index_in(column, value_set=_LABELS), pa.int8())
            if column.null_count:
                return None
        elif pa.types.is_integer(column.type):
            if name == columns.WEIGHT:
                if _any(_is_no_weight(column)):
                    return None
                column = pc.cast(column, pa.float64(), safe=False)
            else:
                column = pc.cast(column, pa.int64())
        elif pa.types.is_floating(column.type):
            column = pc.cast(column, pa.float64())
            odd = _is_no_weight(column) if name == columns.WEIGHT else pc.greater_equal(pc.abs(column), 2.0**63)
            bad = pc.or_(pc.invert(pc.is_finite(column)), odd)
            if _any(bad):
                return None
        else:
            return None
        made[name] = column
    return pa.table(made)


def _is_no_weight(column: pa.Array) -> pa.Array:
    return pc.or_(pc.less_equal(column, 0), pc.greater(column, LARGEST_WEIGHT))


def _any(mask: pa.Array) -> bool:
    return bool(pc.any(mask).as_py())
