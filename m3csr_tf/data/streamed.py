"""Turns a partitioned log into tables of rows with splits, one bucket at a time.

There are three steps. First, each bucket in turn has its duplicates merged and its users numbered. Then what depends on
the whole log is settled: the borders of a split by time, and the choice of strictly cold and pseudo-cold items. Last,
every interaction gets its split and is written. Memory grows with the catalogue and with the size of a bucket, never
with the length of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.config import Config, SplitConfig
from m3csr_tf.data import splits
from m3csr_tf.data.interactions import merge
from m3csr_tf.data.logs import USERS_FILE, SplitLog
from m3csr_tf.data.partition import Partition, read_bucket
from m3csr_tf.data.selection import values_at
from m3csr_tf.data.shards import ShardWriter
from m3csr_tf.data.times import in_seconds
from m3csr_tf.ids import FIRST_ROW, IdTable
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.splitmix import GOLDEN, finalize

_TRAIN, _VAL, _TEST = range(len(columns.SPLITS))


def split_partition(
    log: Partition, items: IdTable, config: Config, folder: Path, on_progress: ProgressCallback
) -> SplitLog:
    """Writes users.parquet, train.parquet (in shards), val.parquet and test.parquet from a partitioned log.

    The splits follow `splits.split` and `splits.play_cold`, with two differences: the kind "random" draws bucket by
    bucket, and `cold_validation` draws by a hash.

    Args:
      log: the buckets, which are overwritten in the process.
      items: the id table of the catalogue.
      config: settings of splits and shards.
      folder: the folder for the tables.
      on_progress: progress callback, which gets the number of steps that are done and the number of all steps.

    Raises:
      InputError: for the reasons that `splits.split` and `splits.play_cold` give.
    """
    kind = splits.kind_of(log.names, config.split)
    _, random_cold = np.random.default_rng(config.split.seed).spawn(2)
    clicked = np.sort(items.ids(np.flatnonzero(log.clicked)))
    strictly_cold = splits.strictly_cold_items(clicked, items.known, config.split, random_cold)
    is_strict = np.zeros(len(items), bool)
    is_strict[items.rows(strictly_cold)] = True

    steps = 2 * len(log.files)
    users, counts, rows = _merge_all(log, kind, config, folder / USERS_FILE, lambda done: on_progress(done, steps))
    borders = None
    times = partial(_times, log)
    if kind == "time":
        borders = values_at(splits.ranks_of_borders(config.split.ratios, rows), times)

    def labels_of(table: pa.Table) -> np.ndarray:
        """Returns the splits of merged interactions, int8 [n], with strictly cold items already moved."""
        if borders is None:
            labels = table[columns.SPLIT].to_numpy().copy()
        else:
            labels = np.searchsorted(borders, table[columns.TIMESTAMP].to_numpy(), side="right").astype(np.int8)
        strictly_cold = is_strict[table[columns.ITEM_ROW].to_numpy()]
        labels[strictly_cold] = _TEST
        if config.split.cold_validation:
            labels[strictly_cold & _drawn(table, config.split)] = _VAL
        return labels

    before = _sizes(log, labels_of, len(items))
    sizes = dict(zip(columns.SPLITS, before.by_split, strict=True))
    splits.refuse_empty(sizes, len(strictly_cold), kind, times)
    pseudo_cold = np.empty(0, object)
    is_pseudo = np.zeros(len(items), bool)
    if config.split.pseudo_cold_share:
        trained = np.sort(items.ids(np.flatnonzero(before.trained)))
        pseudo_cold = splits.pseudo_cold_items(trained, config.split)
        is_pseudo[items.rows(pseudo_cold)] = True
        splits.refuse_untrained(int(before.trained[~is_pseudo].sum()), len(trained), config.split)

    def final(table: pa.Table) -> np.ndarray:
        labels = labels_of(table)
        labels[(labels == _TRAIN) & is_pseudo[table[columns.ITEM_ROW].to_numpy()]] = _VAL
        return labels

    written = _write_all(log, final, config, folder, len(items), lambda done: on_progress(len(log.files) + done, steps))
    return SplitLog(
        kind=kind,
        users=users,
        users_with_clicks=written.users_with_clicks,
        sizes=dict(zip(columns.SPLITS, written.by_split, strict=True)),
        train_clicks=written.trained,
        strictly_cold=strictly_cold,
        pseudo_cold=pseudo_cold,
        counts=counts | log.left_out,
    )


def _drawn(table: pa.Table, config: SplitConfig) -> np.ndarray:
    """Returns which interactions go to validation if their items are strictly cold, bool [n].

    A hash of user and item decides, because buckets are labelled more than once and must get the same labels each time.
    The share is therefore that of `split.cold_validation` only up to chance.
    """
    users, items = (table[name].to_numpy().astype(np.uint64) for name in (columns.USER_ROW, columns.ITEM_ROW))
    keys = (users << np.uint64(32)) + items + np.uint64(int(GOLDEN) * (config.seed + 1) % 2**64)
    return finalize(keys) < np.uint64(config.cold_validation * 2**64)


@dataclass
class _Sizes:
    by_split: list[int]
    trained: np.ndarray
    users_with_clicks: int = 0


def _merge_all(
    log: Partition, kind: splits.Kind, config: Config, users_file: Path, on_progress: Callable[[int], None]
) -> tuple[int, dict[str, int], int]:
    """Merges duplicates and numbers the users, bucket by bucket, and rewrites the buckets in place.

    Returns:
      The number of known users, the number of rows merged and dropped by reason, and the number of interactions left.
    """
    users, rows = 0, 0
    counts: dict[str, int] = {}
    with pq.ParquetWriter(users_file, pa.schema([(columns.USER_ID, pa.string())])) as writer:
        for number, file in enumerate(log.files):
            table = read_bucket(file)
            on_progress(number + 1)
            if not table.num_rows:
                continue
            ids = table[columns.USER_ID].combine_chunks().dictionary_encode()
            frame = table.drop_columns(columns.USER_ID).to_pandas()
            frame[columns.USER_ROW] = ids.indices.to_numpy().astype(np.int32) + np.int32(users + FIRST_ROW)
            if columns.TIMESTAMP in frame:
                frame[columns.TIMESTAMP] = in_seconds(frame[columns.TIMESTAMP], log.time_unit)
            if kind == "given":
                frame[columns.SPLIT] = np.array(columns.SPLITS, object)[frame[columns.SPLIT].to_numpy()]
            else:
                frame = frame.drop(columns=columns.SPLIT, errors="ignore")
            frame, merged = merge(frame, (columns.USER_ROW, columns.ITEM_ROW))
            counts = {name: counts.get(name, 0) + count for name, count in merged.items()}
            random = np.random.default_rng([config.split.seed, number])
            if kind == "random":
                frame[columns.SPLIT] = splits.by_user(frame[columns.USER_ROW], config.split.ratios, random)
            elif config.split.validation_share:
                labels = frame[columns.SPLIT].to_numpy(object)
                frame[columns.SPLIT] = splits.with_validation(labels, frame[columns.USER_ROW], config.split, random)
            if columns.SPLIT in frame:
                frame[columns.SPLIT] = pd.Index(columns.SPLITS).get_indexer(frame[columns.SPLIT]).astype(np.int8)
            kept = pa.Table.from_pandas(frame, preserve_index=False)
            temporary = file.with_name(f".{file.name}")
            with pa.ipc.new_file(str(temporary), kept.schema) as merged_file:
                merged_file.write_table(kept)
            temporary.replace(file)
            # One row group for each bucket, so that looking up a user reads one row group alone.
            writer.write_table(pa.table({columns.USER_ID: ids.dictionary}), row_group_size=max(1, len(ids.dictionary)))
            users += len(ids.dictionary)
            rows += len(frame)
    return users, counts, rows


def _sizes(log: Partition, labels_of: Callable[[pa.Table], np.ndarray], items: int) -> _Sizes:
    sizes = _Sizes([0] * len(columns.SPLITS), np.zeros(items, np.int64))
    for table in _tables(log):
        labels = labels_of(table)
        _add(sizes, labels, table[columns.ITEM_ROW].to_numpy())
    return sizes


def _write_all(
    log: Partition,
    labels_of: Callable[[pa.Table], np.ndarray],
    config: Config,
    folder: Path,
    items: int,
    on_progress: Callable[[int], None],
) -> _Sizes:
    sizes = _Sizes([0] * len(columns.SPLITS), np.zeros(items, np.int64))
    order = [columns.USER_ROW, columns.ITEM_ROW]
    with ExitStack() as stack:
        train = stack.enter_context(ShardWriter(folder / f"{columns.TRAIN}.parquet", config.data.shard_clicks))
        others: dict[int, pq.ParquetWriter] = {}
        for number, table in enumerate(_tables(log)):
            labels = labels_of(table)
            _add(sizes, labels, table[columns.ITEM_ROW].to_numpy())
            others_columns = [name for name in (columns.TIMESTAMP, columns.WEIGHT) if name in table.column_names]
            frame = table.select([*order, *others_columns]).to_pandas()
            for label, name in enumerate(columns.SPLITS):
                split_frame = frame[labels == label].sort_values(order, ignore_index=True)
                if label == _TRAIN:
                    train.write(split_frame)
                    sizes.users_with_clicks += split_frame[columns.USER_ROW].nunique()
                    continue
                rows = pa.Table.from_pandas(split_frame, preserve_index=False)
                if label not in others:
                    path = str(folder / f"{name}.parquet")
                    others[label] = stack.enter_context(pq.ParquetWriter(path, rows.schema))
                others[label].write_table(rows)
            on_progress(number + 1)
    return sizes


def _add(sizes: _Sizes, labels: np.ndarray, item_rows: np.ndarray) -> None:
    counted = np.bincount(labels, minlength=len(columns.SPLITS))
    sizes.by_split = [size + int(more) for size, more in zip(sizes.by_split, counted, strict=True)]
    sizes.trained += np.bincount(item_rows[labels == _TRAIN], minlength=len(sizes.trained))


def _times(log: Partition) -> Iterator[np.ndarray]:
    return (table[columns.TIMESTAMP].to_numpy() for table in _tables(log))


def _tables(log: Partition) -> Iterator[pa.Table]:
    for file in log.files:
        table = read_bucket(file)
        if table.num_rows:
            yield table
