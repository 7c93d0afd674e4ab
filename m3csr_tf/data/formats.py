"""Reads every layout of raw input that docs/data.md describes into one `RawData`. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.config import DataConfig
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.data.content_files import store
from m3csr_tf.data.events import are_weighted
from m3csr_tf.data.interactions import CHECK_STEPS, check_interactions
from m3csr_tf.data.kept_columns import read_kept_columns
from m3csr_tf.data.parts.amount_read import BYTES
from m3csr_tf.data.raw import RawData, check_items_known
from m3csr_tf.data.readers.lightgcn import LightgcnLayout
from m3csr_tf.data.readers.log import TableLog
from m3csr_tf.data.readers.log_layout import LogLayout
from m3csr_tf.data.readers.mind import MindLayout
from m3csr_tf.data.readers.mmrec import MmrecLayout
from m3csr_tf.data.readers.mmssl import MmsslLayout
from m3csr_tf.data.readers.movielens import MovielensLayout
from m3csr_tf.data.readers.recbole import RecboleLayout
from m3csr_tf.data.readers.table import TableLayout
from m3csr_tf.data.tables import to_pandas
from m3csr_tf.data.world import authors_of, make_world
from m3csr_tf.data.world_events import with_events
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import after, progress
from m3csr_tf.util.quoting import quoted

LAYOUTS: dict[str, type[LogLayout]] = {
    "table": TableLayout,
    "mmssl": MmsslLayout,
    "mmrec": MmrecLayout,
    "movielens": MovielensLayout,
    "recbole": RecboleLayout,
    "lightgcn": LightgcnLayout,
    "mind": MindLayout,
}


def read(config: DataConfig, folder: Path, with_split: bool = True) -> RawData:
    """Reads and checks the raw input that `config` names.

    Args:
      config: the configuration section `data`.
      folder: the folder for the content vectors (`content_files`). The returned catalogue maps them from there, because
        they may be larger than memory.
      with_split: whether a split that comes with the data is kept (`check_interactions`).

    Raises:
      InputError: a file is missing, is malformed, or contradicts another one; the message says which, and what to do.
    """
    if config.format == "world":
        with progress("drawing the clicks of the world, users") as stage:
            raw = make_world(config.world, stage)
        if config.events.column is not None:
            raw = with_events(raw, config.world, config.events)
        return replace(raw, catalogue=_stored(raw.catalogue.frame, raw.catalogue.content, "world", folder))
    layout = LAYOUTS[config.format](config)
    clicks, left_out, source = _read_log(layout)
    catalogue = layout.catalogue(folder)
    repeated = config.events.repeated
    steps = CHECK_STEPS + 3
    with progress("checking the interactions, steps", steps) as stage:
        # The table is given up here, because two copies of the log are as much as memory is planned for.
        clicks = to_pandas(clicks) if isinstance(clicks, pa.Table) else clicks
        stage(1)
        interactions, counts = check_interactions(clicks, source, with_split, repeated, after(stage, 1, steps))
        check_items_known(interactions, catalogue, source)
        stage(steps - 1)
        weighted = are_weighted(clicks, interactions, source, repeated)
        stage(steps)
    return RawData(interactions, catalogue, counts | left_out, weighted=weighted)


def _read_log(layout: LogLayout) -> tuple[pa.Table | pd.DataFrame, dict[str, int], str]:
    """Reads a log whole: returns its rows, the numbers of rows left out by reason, and its name in error messages."""
    if not layout.in_blocks:
        with progress(f"reading the interactions, {BYTES}") as stage:
            log = layout.log(stage)
        assert not isinstance(log, TableLog)
        return *log, str(layout.folder)
    log = layout.log()
    assert isinstance(log, TableLog)
    with progress(f"reading the interactions, {log.unit}") as stage:
        table = log.load(stage)
    return table, log.counts(), log.source


def input_files(config: DataConfig) -> list[Path]:
    """Returns the paths of all files that `read` would read, sorted; the synthetic world has none.

    Raises:
      InputError: a file is missing, or the header of a .npy file shows that it cannot be the content of the items.
    """
    return [] if config.format == "world" else sorted(LAYOUTS[config.format](config).files())


def larger_than_memory(config: DataConfig) -> TableLog | None:
    """Returns the log if it has more than `data.in_memory_rows` rows and its layout allows reading it in blocks.

    Raises:
      InputError: the log is missing or cannot be read.
    """
    if config.format == "world":
        return None
    layout = LAYOUTS[config.format](config)
    log = layout.log() if layout.in_blocks else None
    if not isinstance(log, TableLog):
        return None
    with progress(f"counting the interactions, {log.unit}") as stage:
        return log if log.count(stage) > config.in_memory_rows else None


def catalogue_of(config: DataConfig, folder: Path) -> Catalogue:
    """Reads the catalogue alone, without the interactions.

    Args:
      config, folder: as in `read`.

    Raises:
      InputError: for the same reasons as in `read`.
    """
    return LAYOUTS[config.format](config).catalogue(folder)


def kept_columns(config: DataConfig, names: Sequence[str]) -> pd.DataFrame:
    """Reads those columns of the catalogue that a release shall keep (`release.columns`).

    Returns:
      item_id (str) and a column for each name, of str, and None where an item has no value.

    Raises:
      InputError: the input has no catalogue with such columns, or they cannot be read.
    """
    if config.format == "world":
        frame = authors_of(config.world)
        other = [name for name in names if name not in frame]
        if other:
            raise InputError(
                f"release.columns names {quoted(other[0])}; the synthetic world has one such column, {columns.AUTHOR}"
            )
        return frame[[columns.ITEM_ID, *names]]
    table = LAYOUTS[config.format](config).catalogue_table
    if table is None:
        raise InputError(
            f"release.columns names {quoted(names[0])}, but data.format={config.format} in {config.path} has no table "
            "of items; put a table catalogue beside the log, or leave release.columns out"
        )
    return read_kept_columns(table, names)


def _stored(frame: pd.DataFrame, content: Mapping[str, np.ndarray], source: str, folder: Path) -> Catalogue:
    """Checks the content of a catalogue, writes it into `folder`, and returns the catalogue mapped from there."""
    ids = frame[columns.ITEM_ID].to_numpy()
    return Catalogue(frame, {name: store(folder, name, vectors, ids, source) for name, vectors in content.items()})
