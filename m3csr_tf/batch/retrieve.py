"""Top-N lists for many users on one machine: a release and a file of users in, a parquet file of lists out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from m3csr_tf import columns
from m3csr_tf.batch.users import batches_of_users, count_users
from m3csr_tf.config import RetrieveConfig
from m3csr_tf.errors import InputError
from m3csr_tf.files import replacing
from m3csr_tf.index import ItemIndex
from m3csr_tf.serving.release import Release
from m3csr_tf.serving.requests import flatten

SEARCHED_AT_ONCE = 1 << 20
"""Places of all lists of one search; bounds memory, as users with many exclusions need long lists."""
SCORED_AT_ONCE = 8192
"""User-item pairs whose parts are computed at once."""


@dataclass(frozen=True)
class Retrieved:
    """What a batch job did.

    Attributes:
      users: users read.
      rows: rows written.
      short: users with fewer than N items, because the catalogue held no more that they had not seen.
    """

    users: int
    rows: int
    short: int


def retrieve(release: Release, users: Path | pd.DataFrame, output: Path, config: RetrieveConfig) -> Retrieved:
    """Makes the top-N list of every user and writes them all to one parquet file.

    Columns: user_id, rank (from 1), item_id, score, part_id and part_<modality>; the parts sum to the score. Users come
    in the order of the input, with one row group a batch. Users whom the release has never seen, and users without a
    history, get lists too. The file takes its place when it is complete.

    Args:
      release: a verified release.
      users: see `batches_of_users`; items of history and exclusions are left out of a user's list.
      output: the parquet file, replaced if it exists.
      config: length of the lists, users of a batch.

    Raises:
      InputError: users cannot be read, or the output cannot be written; no file is left behind.
    """
    done = Retrieved(0, 0, 0)
    ids = pd.Index(release.index.ids)
    schema = _schema(release)
    try:
        with replacing(output) as beside, _progress() as progress, pq.ParquetWriter(beside, schema) as writer:
            task = progress.add_task("retrieving", total=count_users(users))
            for batch in batches_of_users(users, config.batch_size):
                lists = _lists(release, ids, batch, config.top_n)
                writer.write_table(pa.Table.from_pandas(lists, schema, preserve_index=False))
                full = int((lists[columns.RANK] == config.top_n).sum())
                done = Retrieved(done.users + len(batch), done.rows + len(lists), done.short + len(batch) - full)
                progress.advance(task, len(batch))
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror or error}); check retrieve.output") from None
    return done


def top_n_lists(release: Release, users: pd.DataFrame, n: int) -> pd.DataFrame:
    """Top-N lists of one batch of users, as `retrieve` writes them.

    Args:
      release: a release.
      users: user_id (str), history and exclusions (lists of str).
      n: length of the lists.

    Returns:
      Rows in the order of users, then of rank; a user has fewer than n where the catalogue holds no more unseen items.
    """
    return _lists(release, pd.Index(release.index.ids), users, n)


def _lists(release: Release, ids: pd.Index, users: pd.DataFrame, n: int) -> pd.DataFrame:
    vectors = release.user_vectors(users)
    seen = _seen(users, ids)
    pieces = list(_search(release.index, ids, vectors, seen, n))
    owner, row, rank, score = (np.concatenate(values) for values in zip(*pieces, strict=True))
    order = np.lexsort([rank, owner])
    owner, row = owner[order], row[order]
    items = ids.to_numpy()[row]
    lists = {
        columns.USER_ID: users[columns.USER_ID].to_numpy(dtype=object)[owner],
        columns.RANK: rank[order].astype(np.int32),
        columns.ITEM_ID: items,
        columns.SCORE: score[order],
    }
    parts: dict[str, list[np.ndarray]] = {part: [] for part in release.layout}
    for start in range(0, max(1, len(items)), SCORED_AT_ONCE):
        block = slice(start, start + SCORED_AT_ONCE)
        of_block = release.score_parts(vectors[owner[block]], release.index.vectors(items[block]))
        for part, values in of_block.items():
            parts[part].append(values)
    return pd.DataFrame(lists | {columns.part_column(part): np.concatenate(values) for part, values in parts.items()})


def _seen(users: pd.DataFrame, ids: pd.Index) -> np.ndarray:
    """Items to leave out, as sorted keys user * len(ids) + item, each once."""
    keys = []
    for name in (columns.HISTORY, columns.EXCLUSIONS):
        items, owners = flatten(users[name])
        rows = ids.get_indexer(items)
        keys.append(owners[rows >= 0] * len(ids) + rows[rows >= 0])
    return np.unique(np.concatenate(keys))


def _search(
    index: ItemIndex, ids: pd.Index, vectors: np.ndarray, seen: np.ndarray, n: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Finds n items and as many more as the user has seen, then drops those.

    Users are taken in the order of how many they need, so that a few with a long past do not lengthen every search.

    Yields:
      Position of the user, row of the item in `ids`, rank and score, [entries] each.
    """
    wanted = np.minimum(n + np.bincount(seen // len(ids), minlength=len(vectors)), len(ids))
    order = np.argsort(wanted, kind="stable")
    widths = wanted[order]
    start = 0
    while start < len(order):
        fits = np.searchsorted(np.arange(1, len(order) - start + 1) * widths[start:], SEARCHED_AT_ONCE, side="right")
        alike = np.searchsorted(widths, 2 * widths[start], side="right")
        stop = min(start + max(1, int(fits)), int(alike))
        users = order[start:stop]
        found, scores = index.search(vectors[users], int(widths[stop - 1]))
        rows = ids.get_indexer(found.ravel()).reshape(found.shape)
        new = (rows >= 0) & ~np.isin(users[:, np.newaxis] * len(ids) + rows, seen, assume_unique=False)
        rank = np.cumsum(new, axis=1)
        line, place = np.nonzero(new & (rank <= n))
        yield users[line], rows[line, place], rank[line, place], scores[line, place]
        start = stop


def _schema(release: Release) -> pa.Schema:
    parts = [(columns.part_column(part), pa.float32()) for part in release.layout]
    ids, rank = pa.string(), pa.int32()
    return pa.schema(
        [(columns.USER_ID, ids), (columns.RANK, rank), (columns.ITEM_ID, ids), (columns.SCORE, pa.float32()), *parts]
    )


def _progress() -> Progress:
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*shown, console=Console(stderr=True), disable=not sys.stderr.isatty())
