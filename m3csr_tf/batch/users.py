"""The users of a batch job, read in one pass: a file (parquet, CSV, JSON lines), or those of prepared data."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.batch.checks import checked
from m3csr_tf.batch.rows import FileOfRows, fitting
from m3csr_tf.batch.user_histories import PastOf, UserHistories
from m3csr_tf.batch.user_sources import PASTS_AT_ONCE, WithPast, users_source
from m3csr_tf.data.audience import Audience
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.util.files import replacing

WRITTEN_AT_ONCE = 4096
"""Users of a row group of a file that other processes read."""
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
        (item ids, oldest first) and exclusions, and nothing else. In CSV, a list is text with spaces between the ids,
        or a JSON list. Whole numbers are ids too. Without a column of histories all are empty, unless a log is asked
        (`with_past`).

    Raises:
      InputError: the file is missing, of another kind, cannot be read, has no column user_id, or has unknown ones.
    """

    def __init__(self, path: Path) -> None:
        source = users_source(Path(path))
        super().__init__(Path(path), source, columns.USER_ID, "user")
        self.has_history = all(columns.HISTORY in names for names in source.names().values())
        """Whether it has a column of histories."""
        self._past: UserHistories | None = None

    def __reduce__(self) -> tuple[type[FileOfUsers], tuple[Path]]:
        if self._past is not None:
            raise TypeError("a past cannot be sent; send `shared(path)`")
        return FileOfUsers, (self.path.absolute(),)

    @property
    def is_text(self) -> bool:
        """Whether lists are text, in which what is meant as several ids can pass for one."""
        return self.path.suffix.lower() == ".csv" and not self.path.is_dir()

    def with_past(self, past: UserHistories) -> FileOfUsers:
        """The same users with the histories that a log knows, for a file that has none; what they clicked is excluded.

        The file's own exclusions are kept besides.
        """
        known = FileOfUsers(self.path)  # No copy: that would go by `__reduce__`, to an absolute path.
        known._past = past
        known._source = WithPast(self._source, past, self.path)
        return known

    def digest(self) -> str:
        """See `Users`: of the file, and of the log, if one is asked."""
        file_digest = super().digest()
        if self._past is None:
            return file_digest
        return hashlib.sha256(f"{file_digest} {self._past.digest()}".encode()).hexdigest()

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """See `Users`; row groups of parquet without a wanted user are not read. A frame's index counts data rows."""
        names = [columns.USER_ID, columns.HISTORY, columns.EXCLUSIONS]
        for start, frames in self.batches(parts, part_size, batch_size, names, lambda chunk, *rows: chunk.frame(*rows)):
            whole = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
            rows = pd.RangeIndex(start + 1, start + 1 + len(whole))
            yield start // part_size, checked(whole, str(self.path), start).set_axis(rows)

    def shared(self, path: Path) -> FileOfUsers:
        """See `Users`."""
        if self._past is None:
            return self
        parts = range(-(-self.count() // WRITTEN_AT_ONCE))
        return _written((frame for _, frame in self.read(parts, WRITTEN_AT_ONCE, WRITTEN_AT_ONCE)), path)


class PreparedUsers:
    """The users of prepared data; a user's exclusions are all items that she clicked.

    Args:
      prepared: the data.
      audience: whose clicks are known.
    """

    def __init__(self, prepared: Prepared, audience: Audience) -> None:
        self._prepared = prepared
        self._past = UserHistories(prepared, audience)
        self._read: tuple[int, PastOf] | None = None

    def digest(self) -> str:
        """See `Users`: that of their past."""
        return self._past.digest()

    def count(self) -> int:
        """See `Users`; prepared data has each user once."""
        return len(self._prepared.users) - FIRST_ROW

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """See `Users`."""
        for part in sorted(parts):
            start, end = part * part_size, min((part + 1) * part_size, self.count())
            for stop in [*range(start + batch_size, end, batch_size), end]:
                while start < stop:
                    count = fitting(np.cumsum(self._of(start, stop).entries), alone=True)
                    yield part, self.frame(start, start + count)
                    start += count

    def shared(self, path: Path) -> FileOfUsers:
        """See `Users`; a batch of the file is what a batch here is."""
        starts = range(0, self.count(), WRITTEN_AT_ONCE)
        return _written((self.frame(start, min(start + WRITTEN_AT_ONCE, self.count())) for start in starts), path)

    def frame(self, start: int, stop: int) -> pd.DataFrame:
        """Users `start` to `stop - 1`: user_id, history, exclusions."""
        history, exclusions = self._past.lists(self._of(start, stop))
        users = self._prepared.users.ids(np.arange(FIRST_ROW + start, FIRST_ROW + stop))
        return pd.DataFrame({columns.USER_ID: users, columns.HISTORY: history, columns.EXCLUSIONS: exclusions})

    def _of(self, start: int, stop: int) -> PastOf:
        """The past of users `start` to `stop - 1`, read for many users at a time."""
        first, block = self._read or (0, None)
        if block is None or not first <= start <= stop <= first + len(block.histories):
            first = start
            block = self._past.of_rows(
                FIRST_ROW + np.arange(start, max(stop, min(start + PASTS_AT_ONCE, self.count())))
            )
            self._read = first, block
        return block.of(slice(start - first, stop - first))


def _written(frames: Iterator[pd.DataFrame], path: Path) -> FileOfUsers:
    """Writes users to a parquet file, a row group a frame."""
    with replacing(path) as temporary:
        with pq.ParquetWriter(temporary, _SHARED) as writer:
            for frame in frames:
                writer.write_table(pa.Table.from_pandas(frame, _SHARED, preserve_index=False))
    return FileOfUsers(path)
