"""retrieve: from a release to lists."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from rich.table import Table

from m3csr_tf import columns, explain
from m3csr_tf.batch.retrieve import retrieve as retrieve_lists
from m3csr_tf.batch.users import users_of
from m3csr_tf.config import Config
from m3csr_tf.errors import RunError
from m3csr_tf.serving.publish import released_from
from m3csr_tf.serving.release import Release, open_release
from m3csr_tf.training import runs
from m3csr_tf.verbs.console import console
from m3csr_tf.verbs.opened import histories_of, opened

_EXAMPLE_LISTS = 10
_EXAMPLE_PLACES = 3


def retrieve(config: Config) -> Path:
    """Top-N lists from the release, for a file of users or for all users of the prepared data."""
    released = open_release(config.release_folder)
    output = config.retrieve.output or config.run_folder / runs.LISTS_FILE
    users: Path | pd.DataFrame
    if config.retrieve.users is not None:
        users = config.retrieve.users
    else:
        trained = opened(config)
        if not released_from(released.manifest, trained):
            raise RunError(
                f"{config.release_folder}: version {released.version} was released from another training of this run; "
                "run pipelines/release.py first"
            )
        users = users_of(trained.prepared, histories_of(trained))
    done = retrieve_lists(released, users, output, config.retrieve)
    console.print(f"{done.rows:,} rows for {done.users:,} users in {output}")
    if done.short:
        console.print(f"{done.short:,} lists are shorter than {config.retrieve.top_n}: the rest was seen or excluded")
    _print_examples(output, released)
    return output


def _print_examples(output: Path, released: Release) -> None:
    """The top of the first lists, with the reason for each item."""
    first = next(pq.ParquetFile(output).iter_batches(batch_size=_EXAMPLE_LISTS * 1000), None)
    if first is None:
        return
    lists = first.to_pandas()
    table = Table("user", "rank", "item", "score", "because of", title="example lists", title_justify="left")
    for user in lists[columns.USER_ID].unique()[:_EXAMPLE_LISTS]:
        rows = lists[lists[columns.USER_ID] == user].head(_EXAMPLE_PLACES)
        for place, (_, row) in enumerate(rows.iterrows()):
            because = explain.reasons(row, released.layout)
            cells = (str(row[columns.RANK]), row[columns.ITEM_ID], f"{row[columns.SCORE]:.3f}", because)
            table.add_row("" if place else user, *cells, end_section=place == len(rows) - 1)
    console.print(table)
