"""The users of a batch job, read in one pass: a file (parquet, CSV, JSON lines), or those of prepared data."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.batch.checks import checked, checked_ids, duplicate_hashes, repeated
from m3csr_tf.batch.sources import source_of
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.features.histories import click_matrix
from m3csr_tf.files import sha256
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW

CHECKED_AT_ONCE = 65_536
"""User ids that are checked at once."""
SUSPECTS_AT_ONCE = 1000
"""Hashes that several users share, and are looked into at once."""
ENTRIES_OF_BATCH = 2_000_000
"""Entries of the lists of a batch, about, unless one user alone has more: batches of users with a long past are smaller
than others, so that they fit in memory."""


class Users(Protocol):
    """Users in a fixed order, of whom any stretch can be read."""

    def digest(self) -> str:
        """SHA-256 of what they are, hex: equal digests, equal users in the same order."""
        ...

    def count(self) -> int:
        """How many they are.

        Raises:
          InputError: there are none, or a row has no user_id, or one that an earlier row has.
        """
        ...

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """Batches of users as (part, frame), in order; part k is users k * part_size to (k + 1) * part_size - 1.

        No batch holds users of two parts, and what a part's batches are does not depend on the other parts.

        Args:
          parts: the parts to read; what lies between is skipped.
          part_size: users of a part.
          batch_size: users of a batch, at most; fewer where their lists have many entries.

        Yields:
          Frames of user_id (str), history and exclusions (lists of str, empty where missing).

        Raises:
          InputError: a row has a list that is none or holds something other than ids.
        """
        ...


class FileOfUsers:
    """Users in a file.

    Args:
      path: a parquet file or a folder of them, a CSV or a JSON-lines file: user_id, and, if there are any, history
        (item ids, oldest first) and exclusions. In CSV, a list is text with spaces between the ids. Whole numbers are
        ids too.

    Raises:
      InputError: the file is missing, of another kind, cannot be read, or has no column user_id.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._source = source_of(self._path)

    def digest(self) -> str:
        """SHA-256 of the file, or of the names and contents of the folder's files, hex."""
        files = self._source.files()
        if files == [self._path]:
            return sha256(self._path)
        names = [f"{file.relative_to(self._path).as_posix()} {sha256(file)}\n" for file in files]
        return hashlib.sha256("".join(names).encode()).hexdigest()

    def count(self) -> int:
        """See `Users`; only the ids are read, and 8 bytes a user are kept to find duplicates."""
        hashes = [pd.util.hash_array(ids, categorize=False) for _, ids in self._ids()]
        if not any(map(len, hashes)):
            raise InputError(f"{self._path}: no users; expected a row for each user")
        suspects = duplicate_hashes(hashes)
        for start in range(0, len(suspects), SUSPECTS_AT_ONCE):
            found = repeated(self._ids(), suspects[start : start + SUSPECTS_AT_ONCE])
            if found:
                raise InputError(
                    f"{self._path}: {columns.USER_ID} in data row {found.again} is {found.user!r}, "
                    f"which data row {found.first} has too"
                )
        return sum(map(len, hashes))

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """See `Users`; row groups of parquet without a wanted user are not read."""
        wanted = [range(part * part_size, (part + 1) * part_size) for part in sorted(parts)]
        pieces = self._pieces(wanted, part_size, batch_size)
        for start, of_batch in groupby(pieces, key=itemgetter(0)):
            frames = [frame for _, frame in of_batch]
            frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
            yield start // part_size, checked(frame, str(self._path), start)

    def _ids(self) -> Iterator[tuple[int, np.ndarray]]:
        """All user ids as (rows before, object array of str)."""
        for chunk in self._source.chunks([columns.USER_ID], None, CHECKED_AT_ONCE):
            rows = chunk.start + 1 + np.arange(chunk.length)
            values = chunk.frame(0, chunk.length)[columns.USER_ID].to_numpy(dtype=object)
            yield chunk.start, checked_ids(values, rows, columns.USER_ID, str(self._path))

    def _pieces(self, wanted: list[range], part_size: int, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """What chunks hold of each batch, as (first row of the batch, frame)."""
        of_parts = {rows.start // part_size for rows in wanted}
        names = [columns.USER_ID, columns.HISTORY, columns.EXCLUSIONS]
        batch = held = 0
        for chunk in self._source.chunks(names, wanted, batch_size):
            row, end = chunk.start, chunk.start + chunk.length
            entries = chunk.entries()
            while row < end:
                part, place = row // part_size, row % part_size // batch_size
                first = part * part_size + place * batch_size
                stop = min(end, (part + 1) * part_size, first + batch_size)
                if part not in of_parts:
                    row = stop
                    continue
                if row == first:
                    batch, held = row, 0
                sums = held + np.cumsum(entries[row - chunk.start : stop - chunk.start])
                fitting = _fitting(sums, alone=row == batch)
                if fitting:
                    yield batch, chunk.frame(row - chunk.start, row - chunk.start + fitting)
                    row, held = row + fitting, int(sums[fitting - 1])
                if row < stop:
                    batch, held = row, 0


class PreparedUsers:
    """The users of prepared data; a user's exclusions are all items that she clicked in training.

    Args:
      prepared: the data.
      histories: the run's cut of them, int32 [len(users), slots] of item rows, earliest first, PADDING_ROW where empty.
    """

    def __init__(self, prepared: Prepared, histories: np.ndarray) -> None:
        self._prepared = prepared
        self._histories = histories
        clicks = click_matrix(prepared.split(columns.TRAIN), len(prepared.users), len(prepared.items))
        self._clicks: sparse.csr_matrix = clicks

    def digest(self) -> str:
        """SHA-256 of the prepared data's manifest and the histories, hex."""
        manifest = sha256(self._prepared.folder / columns.MANIFEST)
        return hashlib.sha256(manifest.encode() + np.ascontiguousarray(self._histories).tobytes()).hexdigest()

    def count(self) -> int:
        """See `Users`; prepared data has each user once."""
        return len(self._prepared.users) - FIRST_ROW

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """See `Users`."""
        for part in sorted(parts):
            start, end = part * part_size, min((part + 1) * part_size, self.count())
            for stop in [*range(start + batch_size, end, batch_size), end]:
                while start < stop:
                    clicks = np.diff(self._clicks.indptr[FIRST_ROW + start : FIRST_ROW + stop + 1])
                    fitting = _fitting(np.cumsum(clicks), alone=True)
                    yield part, self.frame(start, start + fitting)
                    start += fitting

    def frame(self, start: int, stop: int) -> pd.DataFrame:
        """Users `start` to `stop - 1`: user_id, history, exclusions."""
        rows = slice(FIRST_ROW + start, FIRST_ROW + stop)
        used, clicks = self._histories[rows], self._clicks[rows]
        return pd.DataFrame(
            {
                columns.USER_ID: self._prepared.users.ids(np.arange(rows.start, rows.stop)),
                columns.HISTORY: self._lists(used[used != PADDING_ROW], (used != PADDING_ROW).sum(axis=1)),
                columns.EXCLUSIONS: self._lists(clicks.indices, np.diff(clicks.indptr)),
            }
        )

    def _lists(self, rows: np.ndarray, lengths: np.ndarray) -> pd.Series:
        """A column of lists of item ids from the rows of all lists, one after the other."""
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(self._prepared.items.ids(rows))).to_pandas()


def _fitting(entries: np.ndarray, alone: bool) -> int:
    """How many users a batch can take that has so many entries with each of them; at least one if it has none yet."""
    return max(int(alone), int(np.searchsorted(entries, ENTRIES_OF_BATCH, side="right")))
