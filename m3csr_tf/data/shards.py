"""Shards: the training clicks in parts of whole users, each a row group of train.parquet.

The file is sorted by user and item row, so the users of a shard are a range of rows. What a shard holds is written into
the file's own metadata when it is closed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.errors import InputError
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.stored import reading

_KEY = b"shards"


class Shard(NamedTuple):
    """All training clicks of some users.

    Attributes:
      first_user, last_user: the range of their rows of the id table, the last one exclusive.
      clicks: how many they have.
      active_users: how many users of the range have one.
    """

    first_user: int
    last_user: int
    clicks: int
    active_users: int


class ShardWriter:
    """Writes clicks into a parquet file, a shard a row group; a context manager.

    Args:
      path: the file.
      clicks: of a shard, about; a user's clicks stay together.
    """

    def __init__(self, path: Path, clicks: int) -> None:
        self._path = path
        self._clicks = clicks
        self._shards: list[Shard] = []
        self._writer: pq.ParquetWriter | None = None

    def write(self, frame: pd.DataFrame) -> None:
        """Appends clicks, sorted by user row, of users that come after all those written before."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema)
        users = frame[columns.USER_ROW].to_numpy()
        for start, stop in _cuts(users, self._clicks):
            some = users[start:stop]
            self._writer.write_table(table.slice(start, stop - start), row_group_size=stop - start)
            active = 1 + int(np.count_nonzero(np.diff(some)))
            self._shards.append(Shard(int(some[0]), int(some[-1]) + 1, stop - start, active))

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.add_key_value_metadata({_KEY: json.dumps(self._shards).encode()})
            self._writer.close()


def shards_of(path: Path) -> list[Shard]:
    """The shards of a file that `ShardWriter` wrote.

    Raises:
      InputError: it is broken.
    """
    with reading(path, "run pipelines/prepare.py again", InputError), pq.ParquetFile(path) as file:
        return [Shard(*shard) for shard in parse_json(file.metadata.metadata[_KEY])]


def _cuts(users: np.ndarray, clicks: int) -> Iterator[tuple[int, int]]:
    """Ranges of about `clicks` lines each that part no user's lines."""
    start = 0
    while start < len(users):
        last = users[min(start + clicks, len(users)) - 1]
        stop = int(np.searchsorted(users, last, side="right"))
        yield start, stop
        start = stop
