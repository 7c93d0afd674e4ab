"""The users of a batch job, who come from a file or from prepared data."""

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
from m3csr_tf.batch.sources import Table
from m3csr_tf.batch.user_histories import PastOf, UserHistories
from m3csr_tf.batch.user_sources import PASTS_AT_ONCE, WithPast, users_source
from m3csr_tf.data.audience import Audience
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.util.files import replacing

WRITTEN_AT_ONCE = 4096
"""Number of users in a row group of a file that is written for other processes."""
_SHARED = pa.schema(
    [
        (columns.USER_ID, pa.string()),
        (columns.HISTORY, pa.list_(pa.string())),
        (columns.EXCLUSIONS, pa.list_(pa.string())),
    ]
)


class Users(Protocol):
    """Users in a fixed order, of whom any part can be read."""

    def digest(self) -> str:
        """Returns a SHA-256 of the users, in hex; equal digests mean equal users in the same order."""
        ...

    def count(self) -> int:
        """Returns the number of users.

        Raises:
          InputError: there are no users, or a row has no user_id, or the same one as an earlier row.
        """
        ...

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yields batches of users as (part, frame), in order.

        Part k holds the users k * part_size to (k + 1) * part_size - 1. No batch holds users of two parts, and the
        batches of a part do not depend on which other parts are read.

        Args:
          parts: numbers of the parts to read; those between them are skipped.
          part_size: number of users of a part.
          batch_size: largest number of users of a batch; it has fewer where their lists have many entries.

        Yields:
          The number of the part, and a frame of user_id (str), history and exclusions (lists of str, empty where they
          are missing).

        Raises:
          InputError: a cell that must be a list is not one, or holds something other than ids.
        """
        ...

    def shared(self, path: Path) -> FileOfUsers:
        """Returns the same users as a file for other processes: the one they come from, or one written to `path`."""
        ...


class FileOfUsers(FileOfRows):
    """Users in a file; a pickled copy reads the file of the same path in the process that unpickles it.

    Args:
      path: a table in any file format that `m3csr_tf.data.parts` knows, or a folder of its parts. It has the column
        user_id, may have history (item ids, oldest first) and exclusions, and no others. In text, a list is ids with
        spaces between them, or a JSON list. Whole numbers are accepted as ids. Without a column of histories all
        histories are empty, unless they are taken from a log (`with_past`).

    Raises:
      InputError: the file is missing, of another type, cannot be read, lacks the column user_id, or has unknown ones.
    """

    def __init__(self, path: Path) -> None:
        source = users_source(Path(path))
        super().__init__(Path(path), source, columns.USER_ID, "user")
        self.has_history = all(columns.HISTORY in names for names in source.names().values())
        """Whether the file has a column of histories."""
        self.is_text = isinstance(source, Table) and source.is_text
        """Whether lists are text, in which several ids with a wrong separator would be taken for one."""
        self._past: UserHistories | None = None

    def __reduce__(self) -> tuple[type[FileOfUsers], tuple[Path]]:
        if self._past is not None:
            raise TypeError("a past cannot be sent; send `shared(path)`")
        return FileOfUsers, (self.path.absolute(),)

    def with_past(self, past: UserHistories) -> FileOfUsers:
        """Returns the same users with the histories of a log, for a file without any; items they clicked are excluded.

        The exclusions in the file are kept as well.
        """
        known = FileOfUsers(self.path)  # Not copy.copy, which would use `__reduce__` and make the path absolute.
        known._past = past
        known._source = WithPast(self._source, past, self.path)
        return known

    def digest(self) -> str:
        """See `Users`; if histories come from a log, the digest covers the log too."""
        file_digest = super().digest()
        if self._past is None:
            return file_digest
        return hashlib.sha256(f"{file_digest} {self._past.digest()}".encode()).hexdigest()

    def read(self, parts: Collection[int], part_size: int, batch_size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """See `Users`; row groups without a wanted user are not read. A frame is indexed by numbers of data rows."""
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
    """The users of prepared data; the exclusions of a user are all items that she clicked.

    Args:
      prepared: the prepared data.
      audience: gives the clicks of the splits that may be known.
    """

    def __init__(self, prepared: Prepared, audience: Audience) -> None:
        self._prepared = prepared
        self._past = UserHistories(prepared, audience)
        self._read: tuple[int, PastOf] | None = None

    def digest(self) -> str:
        """See `Users`; it is the digest of their histories and clicks."""
        return self._past.digest()

    def count(self) -> int:
        """See `Users`; prepared data hold each user once."""
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
        """See `Users`; batches that are read from the file are the same as those that are read here."""
        starts = range(0, self.count(), WRITTEN_AT_ONCE)
        return _written((self.frame(start, min(start + WRITTEN_AT_ONCE, self.count())) for start in starts), path)

    def frame(self, start: int, stop: int) -> pd.DataFrame:
        """Returns the users `start` to `stop - 1` with the columns user_id, history and exclusions."""
        history, exclusions = self._past.lists(self._of(start, stop))
        users = self._prepared.users.ids(np.arange(FIRST_ROW + start, FIRST_ROW + stop))
        return pd.DataFrame({columns.USER_ID: users, columns.HISTORY: history, columns.EXCLUSIONS: exclusions})

    def _of(self, start: int, stop: int) -> PastOf:
        """Returns the past of users `start` to `stop - 1`; the log is read for many users at a time."""
        first, block = self._read or (0, None)
        if block is None or not first <= start <= stop <= first + len(block.histories):
            first = start
            block = self._past.of_rows(
                FIRST_ROW + np.arange(start, max(stop, min(start + PASTS_AT_ONCE, self.count())))
            )
            self._read = first, block
        return block.of(slice(start - first, stop - first))


def _written(frames: Iterator[pd.DataFrame], path: Path) -> FileOfUsers:
    """Writes users to a parquet file, one row group for each frame, and returns the file."""
    with replacing(path) as temporary:
        with pq.ParquetWriter(temporary, _SHARED) as writer:
            for frame in frames:
                writer.write_table(pa.Table.from_pandas(frame, _SHARED, preserve_index=False))
    return FileOfUsers(path)
