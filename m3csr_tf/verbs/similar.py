"""similar: finds the nearest items of one item, or of each item of a file or of the release."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from m3csr_tf import columns
from m3csr_tf.batch.ages import AgeRules
from m3csr_tf.batch.filters import Filters
from m3csr_tf.batch.job import JobStatus
from m3csr_tf.batch.query_items import FileOfContent, QueryItemBatch, file_of_queries
from m3csr_tf.batch.similar import SimilarItems, check_filters
from m3csr_tf.batch.similar import similar as similar_items
from m3csr_tf.config import Config
from m3csr_tf.errors import InputError
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.training import run_files
from m3csr_tf.util.progress import progress
from m3csr_tf.util.quoting import is_utf8, quoted, shortened
from m3csr_tf.verbs.batch_jobs import engine_of, parts_made, print_missing
from m3csr_tf.verbs.console import console, say

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of the JSON format; it grows whenever a name in it changes or is removed."""
_READ_AT_ONCE = 4096
"""Number of rows of a file that are searched for the item at a time."""


def similar(config: Config, item: str | None = None, as_json: bool = False) -> Path | None:
    """Prints the nearest items of one item, or writes those of many items as a batch job (docs/similar.md).

    Args:
      config: names the release, what is compared, the items of the job, and filters.
      item: id of an item of the release, or of the file `similar.items` if it has content; None runs the batch job.
      as_json: print JSON and nothing else; it needs `item`.

    Returns:
      The path of the link to the folder of the lists, which exists once all parts are there; None for one item.

    Raises:
      InputError: the item is unknown or lacks what is compared, or a file or a filter is malformed.
      ReleaseError: the release cannot be opened.
    """
    if item is None and as_json:
        raise InputError("similar: --json is for one item; name it with --item, or read the lists of the job (parquet)")
    if item is not None and (not item or not is_utf8(item)):
        raise InputError(f"similar: --item {quoted(item)} is no id; expected that of an item, in UTF-8")
    with progress("opening the release"):
        released = open_release(config.release_folder)
    path = config.similar.items
    if item is None:
        return _job(config, released, path)
    batch = _given(released, item, path)
    filters = Filters.read(config.similar, config.cold)
    filters = replace(filters, ages=filters.ages.at(filters.ages.clock()))
    check_filters(released, filters, config.similar)
    finder = SimilarItems(released, config.similar.by, config.similar.top_n, filters)
    for doubt in filters.ages.doubts(released):
        logger.warning("%s: %s", released.folder, doubt)
    found = finder.find(batch)
    if not found.unit.any():
        raise InputError(
            f"item {quoted(item)} has nothing of similar.by={config.similar.by}, so it cannot be compared; take "
            "another modality, or similar.by=vector"
        )
    lists = finder.table(found).to_pandas()
    if as_json:
        text = json.dumps(_tree(released, batch, config.similar.by, lists, finder), indent=2, ensure_ascii=False)
        # Ids keep their letters, but control characters, which a terminal would execute, are escaped as in JSON.
        sys.stdout.write("".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text))
        sys.stdout.write("\n")
    else:
        _print_lists(released, batch, config.similar.by, lists, finder)
    return None


def _job(config: Config, released: Release, path: Path | None) -> Path:
    output = config.similar.output or config.run_folder / run_files.SIMILAR_ITEMS
    queries = None
    if path is not None:
        with progress("reading the items"):
            queries = file_of_queries(path, released)
    done = similar_items(released, queries, output, config.similar, engine_of(config, config.similar), config.cold)
    if done.missing:
        print_missing(done, config.similar)
        return output
    _print_done(done, config)
    for doubt in AgeRules.of(config.similar, config.cold).at(done.now).doubts(released):
        logger.warning("%s: %s", released.folder, doubt)
    return output


def _print_done(done: JobStatus, config: Config) -> None:
    say(f"{done.rows:,} rows for {done.inputs:,} items in {done.output} ({parts_made(done)})")
    if not done.made:
        say("these lists were made before; similar.overwrite=true makes them again")
    if done.unknown_ids:
        say(f"{done.unknown_ids:,} of {done.ids:,} ids are unknown to the release and have no list")
    if done.empty:
        say(f"{done.empty:,} items have nothing of similar.by={config.similar.by} and have no list")
    if done.short:
        say(
            f"{done.short:,} lists are shorter than {config.similar.top_n}: the rest was filtered, has nothing of what "
            "is compared, or the catalogue is smaller"
        )


def _given(released: Release, item: str, path: Path | None) -> QueryItemBatch:
    """Returns one item, with the content that the file at `path` has of it, or else as the release knows it.

    Raises:
      InputError: the item is neither in the release nor in a file with content.
    """
    ids = np.array([item], dtype=object)
    queries = None if path is None else file_of_queries(path, released)
    if isinstance(queries, FileOfContent):
        for _, batch in queries.read(range(-(-queries.count() // _READ_AT_ONCE)), _READ_AT_ONCE, _READ_AT_ONCE):
            place = np.flatnonzero(batch.ids == item)
            if len(place) and batch.content is not None:
                released.check_placed(ids, str(path))
                return QueryItemBatch(ids, batch.content.at(place))
    if released.index.rows(ids)[0] < 0:
        of_file = f" and not in {path}" if isinstance(queries, FileOfContent) else ""
        raise InputError(
            f"item {quoted(item)} is not in version {released.version} of {released.folder} "
            f"({len(released.index):,} items){of_file}; check the id, take the video in with pipelines/refresh.py, or "
            "give its content in a file, similar.items"
        )
    return QueryItemBatch(ids, None)


def _tree(
    released: Release, batch: QueryItemBatch, by: str, lists: pd.DataFrame, finder: SimilarItems
) -> dict[str, Any]:
    """Returns the lists as the JSON of docs/similar.md."""
    return {
        "format": FORMAT,
        "release": {
            "name": released.folder.name,
            "version": released.version,
            "fingerprint": released.manifest["fingerprint"],
        },
        "item": {"id": batch.ids[0], "content_given": batch.content is not None},
        "by": by,
        "similar": [
            {
                "rank": int(row[columns.RANK]),
                "item": row[columns.SIMILAR_ITEM_ID],
                "cosine": float(row[columns.COSINE]),
                "parts": {part: float(row[columns.part_column(part)]) for part in finder.space.parts},
            }
            for _, row in lists.iterrows()
        ],
    }


def _print_lists(released: Release, batch: QueryItemBatch, by: str, lists: pd.DataFrame, finder: SimilarItems) -> None:
    say(f"{released.folder.name}, version {released.version} ({released.manifest['fingerprint'][:12]})")
    given = ", by the content that is given" if batch.content is not None else ""
    say(f"item {shortened(batch.ids[0])}{given}; the nearest by cosine in {by}")
    table = Table("rank", "item", "cosine", *finder.space.parts, "popularity bin")
    for column in table.columns[2:]:
        column.justify = "right"
    bins = released.items.bins(lists[columns.SIMILAR_ITEM_ID].to_numpy(dtype=object))
    for (_, row), popularity in zip(lists.iterrows(), bins, strict=True):
        parts = (f"{row[columns.part_column(part)]:+.4f}" for part in finder.space.parts)
        item = shortened(row[columns.SIMILAR_ITEM_ID])
        table.add_row(str(row[columns.RANK]), item, f"{row[columns.COSINE]:.4f}", *parts, str(popularity))
    console.print(table)
