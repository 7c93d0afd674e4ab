"""Splits a log that fits in memory and writes it into the prepared folder as tables of user and item rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.raw import RawData
from m3csr_tf.data.shards import ShardWriter
from m3csr_tf.data.splits import Kind, kind_of, play_cold, split
from m3csr_tf.ids import FIRST_ROW, IdTable
from m3csr_tf.util.progress import ProgressCallback, after

USERS_FILE = "users.parquet"
SPLIT_STEPS = 7
"""Number of steps of `split_in_memory`: splits, pseudo-cold items, users, rows of users, of items, order, files."""
OTHER_COLUMNS = (columns.TIMESTAMP, columns.WEIGHT, columns.KINDS)
"""Columns of a split's table beside the two rows, where the log has them."""


@dataclass(frozen=True)
class SplitLog:
    """The statistics of a log whose tables have been written.

    Attributes:
      kind: the kind of split: "given", "time" or "random".
      users, users_with_clicks: number of known users, and of those with at least one training click.
      sizes: split -> number of interactions.
      train_clicks: number of training clicks of each item row, int64 [items].
      strictly_cold, pseudo_cold: ids of these items, object, sorted.
      counts: number of rows that were merged and dropped (`interactions.check_interactions`).
      weighted: whether interactions differ in weight (`events.weights_differ`).
      train_weights: sum of the weights of each item row's training clicks, float64 [items]; None if they have none.
    """

    kind: Kind
    users: int
    users_with_clicks: int
    sizes: dict[str, int]
    train_clicks: np.ndarray
    strictly_cold: np.ndarray
    pseudo_cold: np.ndarray
    counts: dict[str, int]
    weighted: bool
    train_weights: np.ndarray | None


def split_in_memory(
    raw: RawData, items: IdTable, config: Config, folder: Path, on_progress: ProgressCallback | None = None
) -> SplitLog:
    """Splits a log, and writes users.parquet, train.parquet (in shards), val.parquet and test.parquet into `folder`.

    Args:
      raw: the log.
      items: the id table of the catalogue.
      config: settings of splits and shards.
      folder: the folder for the tables.
      on_progress: progress callback, which gets the number of steps that are done and SPLIT_STEPS.

    Raises:
      InputError: for the reasons that `splits.split` and `splits.play_cold` give.
    """
    report = after(on_progress, 0, SPLIT_STEPS)
    kind = kind_of(raw.interactions.columns, config.split)
    settings = config.split.model_copy(update={"kind": kind})
    labelled, strictly_cold = split(raw.interactions, items.known, settings)
    report(1, None)
    labelled, pseudo_cold = play_cold(labelled, config.split)
    report(2, None)
    users = IdTable(labelled[columns.USER_ID].unique())
    report(3, None)
    frames = _row_frames(labelled, users, items, after(on_progress, 3, SPLIT_STEPS))
    pd.DataFrame({columns.USER_ID: users.known}).to_parquet(folder / USERS_FILE, index=False)
    for name, frame in frames.items():
        path = folder / f"{name}.parquet"
        if name == columns.TRAIN:
            with ShardWriter(path, config.data.shard_clicks) as shards:
                shards.write(frame)
        else:
            frame.to_parquet(path, index=False)
    report(SPLIT_STEPS, None)
    train = frames[columns.TRAIN]
    rows, weights = train[columns.ITEM_ROW].to_numpy(), train.get(columns.WEIGHT)
    return SplitLog(
        kind=kind,
        users=len(users) - FIRST_ROW,
        users_with_clicks=train[columns.USER_ROW].nunique(),
        sizes={name: len(frame) for name, frame in frames.items()},
        train_clicks=np.bincount(rows, minlength=len(items)),
        strictly_cold=strictly_cold,
        pseudo_cold=pseudo_cold,
        counts=raw.counts,
        weighted=raw.weighted,
        train_weights=None if weights is None else np.bincount(rows, weights, minlength=len(items)),
    )


def _row_frames(
    labelled: pd.DataFrame, users: IdTable, items: IdTable, report: ProgressCallback
) -> dict[str, pd.DataFrame]:
    user_rows = users.rows(labelled[columns.USER_ID].to_numpy())
    report(1, None)
    rows = pd.DataFrame(
        {columns.USER_ROW: user_rows, columns.ITEM_ROW: items.rows(labelled[columns.ITEM_ID].to_numpy())}
    )
    report(2, None)
    for name in OTHER_COLUMNS:
        if name in labelled:
            rows[name] = labelled[name].to_numpy()
    order = [columns.USER_ROW, columns.ITEM_ROW]
    labels = labelled[columns.SPLIT].to_numpy()
    frames = {name: rows[labels == name].sort_values(order, ignore_index=True) for name in columns.SPLITS}
    report(3, None)
    return frames
