"""Shards: the training clicks of consecutive ranges of users, each written as one row group of train.parquet.

The file is sorted by user row and item row, so the users of a shard are a range of rows, and no user is in two shards.
When the file is closed, the list of its shards is written into its own metadata.
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
    """The description of a shard, which holds all training clicks of a range of users.

    Attributes:
      first_user, last_user: the range of user rows in the id table; `last_user` is exclusive.
      clicks: number of clicks in the shard.
      active_users: number of users of the range with at least one click.
    """

    first_user: int
    last_user: int
    clicks: int
    active_users: int


class ShardWriter:
    """A context manager that writes clicks into a parquet file, one row group for each shard.

    Args:
      path: the path of the file.
      clicks: approximate number of clicks of a shard; all clicks of a user stay in one shard.
    """

    def __init__(self, path: Path, clicks: int) -> None:
        self._path = path
        self._clicks = clicks
        self._shards: list[Shard] = []
        self._writer: pq.ParquetWriter | None = None

    def write(self, frame: pd.DataFrame) -> None:
        """Appends clicks that are sorted by user row, all of them of users after those that were written before."""
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
    """Returns the shards of a file that `ShardWriter` has written.

    Raises:
      InputError: the file is broken or lacks its list of shards.
    """
    with reading(path, "run pipelines/prepare.py again", InputError), pq.ParquetFile(path) as file:
        return [Shard(*shard) for shard in parse_json(file.metadata.metadata[_KEY])]


def _cuts(users: np.ndarray, clicks: int) -> Iterator[tuple[int, int]]:
    """Yields ranges of about `clicks` rows each, such that all rows of a user are in one range."""
    start = 0
    while start < len(users):
        last = users[min(start + clicks, len(users)) - 1]
        stop = int(np.searchsorted(users, last, side="right"))
        yield start, stop
        start = stop
