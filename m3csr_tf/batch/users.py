"""The users of a batch job, read in one pass: a file (parquet, CSV, JSON lines), or those of prepared data."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.batch.checks import checked
from m3csr_tf.batch.rows import FileOfRows, fitting
from m3csr_tf.batch.sources import users_source
from m3csr_tf.data.audience import Audience
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.files import replacing, sha256
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW

WRITTEN_AT_ONCE = 4096
"""Users of a row group of a file that other processes read."""
_READ_AT_ONCE = 20_000
_SHARED = pa.schema(
    [
        (columns.USER_ID, pa.string()),
        (columns.HISTORY, pa.list_(pa.string())),
        (columns.EXCLUSIONS, pa.list_(pa.string())),
    ]
)


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

    def shared(self, path: Path) -> FileOfUsers:
        """The same users as a file, for other processes: their own, or one written to `path`."""
        ...


class FileOfUsers(FileOfRows):
    """Users in a file; pickled, they are the users of that file where they arrive.

    Args:
      path: a parquet file or a folder of them, a CSV or a JSON-lines file: user_id, and, if there are any, history
        (item ids, oldest first) and exclusions. In CSV, a list is text with spaces between the ids. Whole numbers are
        ids too.

    Raises:
      InputError: the file is missing, of another kind, cannot be read, or has no column user_id.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(Path(path), users_source(Path(path)), columns.USER_ID, "user")

    def __reduce__(self) -> tuple[type[FileOfUsers], tuple[Path]]:
        return FileOfUsers, (self.path.absolute(),)

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """See `Users`; row groups of parquet without a wanted user are not read."""
        names = [columns.USER_ID, columns.HISTORY, columns.EXCLUSIONS]
        for start, frames in self.batches(parts, part_size, batch_size, names, lambda chunk, *rows: chunk.frame(*rows)):
            frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
            yield start // part_size, checked(frame, str(self.path), start)

    def shared(self, path: Path) -> FileOfUsers:
        """See `Users`."""
        return self


class _Read(NamedTuple):
    """Users from `start` on: histories int32 [users, slots] and clicks [users, items]."""

    start: int
    histories: np.ndarray
    clicks: sparse.csr_matrix


class PreparedUsers:
    """The users of prepared data; a user's exclusions are all items that she clicked in training.

    Args:
      prepared: the data.
      audience: her history, and her clicks.
    """

    def __init__(self, prepared: Prepared, audience: Audience) -> None:
        self._prepared = prepared
        self._audience = audience
        self._read = _Read(0, np.zeros((0, 1), np.int32), sparse.csr_matrix((0, len(prepared.items))))

    def digest(self) -> str:
        """SHA-256 of the prepared data's manifest and the length of histories, hex."""
        manifest = sha256(self._prepared.folder / columns.MANIFEST)
        return hashlib.sha256(f"{manifest} {self._audience.length}".encode()).hexdigest()

    def count(self) -> int:
        """See `Users`; prepared data has each user once."""
        return len(self._prepared.users) - FIRST_ROW

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """See `Users`."""
        for part in sorted(parts):
            start, end = part * part_size, min((part + 1) * part_size, self.count())
            for stop in [*range(start + batch_size, end, batch_size), end]:
                while start < stop:
                    slots, clicks = self._of(start, stop)
                    used = (slots != PADDING_ROW).sum(axis=1)
                    count = fitting(np.cumsum(np.diff(clicks.indptr) + used), alone=True)
                    yield part, self.frame(start, start + count)
                    start += count

    def shared(self, path: Path) -> FileOfUsers:
        """See `Users`; a batch of the file is what a batch here is."""
        with replacing(path) as beside:
            writer = None
            for start in range(0, self.count(), WRITTEN_AT_ONCE):
                frame = self.frame(start, min(start + WRITTEN_AT_ONCE, self.count()))
                table = pa.Table.from_pandas(frame, _SHARED, preserve_index=False)
                writer = writer or pq.ParquetWriter(beside, _SHARED)
                writer.write_table(table)
            if writer is not None:
                writer.close()
        return FileOfUsers(path)

    def frame(self, start: int, stop: int) -> pd.DataFrame:
        """Users `start` to `stop - 1`: user_id, history, exclusions."""
        used, clicks = self._of(start, stop)
        return pd.DataFrame(
            {
                columns.USER_ID: self._prepared.users.ids(np.arange(FIRST_ROW + start, FIRST_ROW + stop)),
                columns.HISTORY: self._lists(used[used != PADDING_ROW], (used != PADDING_ROW).sum(axis=1)),
                columns.EXCLUSIONS: self._lists(clicks.indices, np.diff(clicks.indptr)),
            }
        )

    def _of(self, start: int, stop: int) -> tuple[np.ndarray, sparse.csr_matrix]:
        """Histories and clicks of users `start` to `stop - 1`, read for many users at a time."""
        held = self._read
        if not held.start <= start <= stop <= held.start + len(held.histories):
            rows = FIRST_ROW + np.arange(start, max(stop, min(start + _READ_AT_ONCE, self.count())))
            held = self._read = _Read(start, self._audience.histories(rows), self._audience.clicks(rows))
        some = slice(start - held.start, stop - held.start)
        return held.histories[some], held.clicks[some]

    def _lists(self, rows: np.ndarray, lengths: np.ndarray) -> pd.Series:
        """A column of lists of item ids from the rows of all lists, one after the other."""
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(self._prepared.items.ids(rows))).to_pandas()
