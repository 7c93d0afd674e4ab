"""retrieve: from a release to lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.table import Table

from m3csr_tf import columns, explain
from m3csr_tf.batch.job import Retrieved
from m3csr_tf.batch.job import retrieve as retrieve_lists
from m3csr_tf.batch.users import FileOfUsers, PreparedUsers, Users
from m3csr_tf.config import Config
from m3csr_tf.features.audience import Audience
from m3csr_tf.serving.release import Release, open_release
from m3csr_tf.training import runs
from m3csr_tf.verbs.console import console
from m3csr_tf.verbs.origin import origin

_EXAMPLE_LISTS = 10
_EXAMPLE_PLACES = 3


def retrieve(config: Config) -> Path:
    """Top-N lists from the release, for a file of users or for all users of the prepared data.

    Returns:
      The link to the folder of the lists, there or to come.
    """
    released = open_release(config.release_folder)
    output = config.retrieve.output or config.run_folder / runs.LISTS
    done = retrieve_lists(released, _users(config, released), output, config.retrieve, config.index)
    _print_done(done, config)
    if not done.missing:
        _print_examples(done.folder, released)
    return output


def _users(config: Config, released: Release) -> Users:
    if config.retrieve.users is not None:
        return FileOfUsers(config.retrieve.users)
    trained = origin(config, released, "name a file of users and their histories, retrieve.users")
    everybody = np.arange(len(trained.prepared.users))
    return PreparedUsers(trained.prepared, Audience(trained.prepared, trained.config).histories(everybody))


def _print_done(done: Retrieved, config: Config) -> None:
    parts = f"{done.made:,} of {done.parts:,} parts made now" if done.made else "all there already"
    if done.missing:
        console.print(
            f"shard {config.retrieve.shard} is done: {parts}; {done.missing:,} parts of other shards are missing, and "
            f"{done.output} is put in place with the last of them; on other disks, copy the parts into "
            f"{done.folder} and run this again"
        )
        return
    console.print(f"{done.rows:,} rows for {done.users:,} users in {done.output} ({parts})")
    if not done.made:
        console.print("these lists were made before; retrieve.overwrite=true makes them again")
    if done.short:
        console.print(
            f"{done.short:,} lists are shorter than {config.retrieve.top_n}: the rest was seen, excluded or filtered, "
            "or the catalogue is smaller"
        )


def _print_examples(folder: Path, released: Release) -> None:
    """The top of the first lists, with the reason for each item; nothing if a later job has replaced them meanwhile."""
    try:
        first = min(folder.glob("part-*"), default=None)
        lists = first and next(pq.ParquetFile(first).iter_batches(batch_size=_EXAMPLE_LISTS * 1000), None)
    except FileNotFoundError:
        return
    if not lists:
        return
    lists = lists.to_pandas()
    table = Table("user", "rank", "item", "score", "because of", title="example lists", title_justify="left")
    for user in lists[columns.USER_ID].unique()[:_EXAMPLE_LISTS]:
        rows = lists[lists[columns.USER_ID] == user].head(_EXAMPLE_PLACES)
        for place, (_, row) in enumerate(rows.iterrows()):
            because = explain.reasons(row, released.layout)
            cells = (str(row[columns.RANK]), row[columns.ITEM_ID], f"{row[columns.SCORE]:.3f}", because)
            table.add_row("" if place else user, *cells, end_section=place == len(rows) - 1)
    console.print(table)
