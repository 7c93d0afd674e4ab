"""Summarises a finished top-N job, and says what in its lists looks like a mistake in the input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.batch.job import JobStatus
from m3csr_tf.batch.known import KnownIds
from m3csr_tf.batch.lists import Ids
from m3csr_tf.batch.users import Users
from m3csr_tf.export.requests import flatten
from m3csr_tf.ids import UNKNOWN_ROW
from m3csr_tf.releases.release import Release
from m3csr_tf.util.quoting import quoted

_LOOKED_INTO = 1000
"""Number of users whose ids are examined if most ids of a job are unknown."""


def distinct_lists(folder: Path) -> int:
    """Counts the distinct lists (the same items in the same order) in a job's folder, holding 8 bytes for each list.

    Raises:
      FileNotFoundError: a later job has replaced the lists in the meantime.
    """
    hashes = [np.zeros(0, np.uint64)]
    for part in sorted(folder.glob("part-*.parquet")):
        with pq.ParquetFile(part, read_dictionary=[columns.ITEM_ID]) as file:
            for group in range(file.num_row_groups):
                read = file.read_row_group(group, columns=[columns.RANK, columns.ITEM_ID]).combine_chunks()
                hashes.append(_hashes(read[columns.RANK].to_numpy(), read[columns.ITEM_ID].to_pandas()))
    return len(np.unique(np.concatenate(hashes)))


def _hashes(ranks: np.ndarray, items: pd.Series) -> np.ndarray:
    """Returns a hash of each list, uint64 [lists]; a new list begins at each rank 1."""
    if not len(ranks):
        return np.zeros(0, np.uint64)
    # Odd weights that differ by position make the hash depend on the order of the items.
    weights = pd.util.hash_array(np.arange(ranks.max() + 1)) | np.uint64(1)
    item_hashes = pd.util.hash_array(items.cat.categories.to_numpy(dtype=object), categorize=False)
    return np.add.reduceat(item_hashes[items.cat.codes] * weights[ranks], np.flatnonzero(ranks == 1))


def said_of(done: JobStatus, distinct: int) -> str:
    """Returns the counts of a finished job as one sentence."""
    unknown = f"{done.unknown_ids:,} of {done.ids:,} ids of histories and exclusions and {done.unknown_users:,} users"
    return f"{distinct:,} distinct lists; {done.empty:,} users have no history, {unknown} are unknown to the release"


def doubts(done: JobStatus, distinct: int, release: Release, users: Users, part_size: int) -> list[str]:
    """Returns what is suspicious about a finished job, one sentence for each finding.

    Args:
      done: the state of the job.
      distinct: its number of `distinct_lists`.
      release: the release from which it was made.
      users: its users; if most ids are unknown, the first users are read for an example.
      part_size: number of users of a part.
    """
    known, notes = KnownIds(release), []
    if 2 * done.unknown_ids > done.ids:
        items = _first(users, part_size)[1]
        unknown = items[known.unknown(Ids(items, np.zeros(len(items), np.int64), release.index.rows(items)))]
        notes.append(
            f"most item ids of the users are unknown to the release ({done.unknown_ids:,} of {done.ids:,}) and count "
            f"for nothing{_example(unknown, known.near_items)}"
        )
    if 2 * done.unknown_users > done.inputs and known.users is not None:
        ids = _first(users, part_size)[0]
        strangers = ids[known.users.rows(ids) == UNKNOWN_ROW]
        notes.append(
            f"most users are unknown to the release ({done.unknown_users:,} of {done.inputs:,})"
            f"{_example(strangers, known.near_users)}"
        )
    if 2 * done.empty > done.inputs:
        notes.append(f"most users have no history ({done.empty:,} of {done.inputs:,}) and get what suits everybody")
    if done.inputs > 1 and 2 * distinct <= done.inputs:
        lists = "all lists are the same" if distinct == 1 else f"there are but {distinct:,} different lists"
        notes.append(f"{lists}, for {done.inputs:,} users")
    return notes


def _first(users: Users, part_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids of the first users, and the items of their lists, both object arrays of str."""
    _, frame = next(users.read([0], part_size, _LOOKED_INTO))
    items = [flatten(frame[name])[0] for name in (columns.HISTORY, columns.EXCLUSIONS)]
    return frame[columns.USER_ID].to_numpy(dtype=object), np.concatenate(items)


def _example(unknown: np.ndarray, near: Callable[[np.ndarray], tuple[str, str] | None]) -> str:
    """Returns an unknown id as the end of a sentence, preferably one that differs from a known id in spelling alone."""
    if not len(unknown):
        return ""
    found = near(unknown)
    if found is None:
        return f", e.g. {quoted(unknown[0])}"
    given, known = found
    return f"; {quoted(given)} differs from {quoted(known)}, which it knows, in case or in spaces around it alone"
