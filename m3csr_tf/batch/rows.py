"""Reads the rows of a file of users or items, any parts of them, in batches that fit in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from m3csr_tf.batch.checks import checked_ids, duplicate_hashes, repeated
from m3csr_tf.batch.sources import Chunk, RowSource
from m3csr_tf.errors import InputError
from m3csr_tf.util.files import sha256
from m3csr_tf.util.quoting import quoted

T = TypeVar("T")

CHECKED_AT_ONCE = 65_536
"""Number of ids that are checked at once."""
SUSPECTS_AT_ONCE = 1000
"""Number of hashes shared by several ids whose ids are compared at once."""
ENTRIES_OF_BATCH = 2_000_000
"""Approximate largest number of list entries of a batch, unless a single row has more. Batches of users with long
histories have fewer users, so that they fit in memory."""


def batches_of_parts(
    parts: Collection[int], part_size: int, batch_size: int, count: int
) -> Iterator[tuple[int, int, int]]:
    """Yields (part, first row, row after the last) of each batch, in order, for rows of which any can be read.

    Args:
      parts: part k holds the rows k * part_size to (k + 1) * part_size - 1; no batch holds rows of two parts.
      part_size: rows of a part.
      batch_size: most rows of a batch.
      count: number of all rows.
    """
    for part in sorted(parts):
        end = min((part + 1) * part_size, count)
        for start in range(part * part_size, end, batch_size):
            yield part, start, min(start + batch_size, end)


class FileOfRows:
    """A file, or a folder of files, with an id in each row.

    Args:
      path: the path of the file or folder.
      source: reads it.
      id_column: the name of the column of ids.
      what: the word for a row in messages, "user" or "item".
    """

    def __init__(self, path: Path, source: RowSource, id_column: str, what: str) -> None:
        self.path = path
        self._source = source
        self._id_column = id_column
        self._what = what

    def digest(self) -> str:
        """Returns a SHA-256, in hex, of the file, or of the names and contents of all files of the folder."""
        files = self._source.files()
        if files == [self.path]:
            return sha256(self.path)
        names = [f"{file.relative_to(self.path).as_posix()} {sha256(file)}\n" for file in files]
        return hashlib.sha256("".join(names).encode()).hexdigest()

    def count(self) -> int:
        """Counts the rows; it reads the ids alone, and holds 8 bytes for each row to find duplicates.

        Raises:
          InputError: there are no rows, or a row has no id, or the same id as an earlier row.
        """
        hashes = [pd.util.hash_array(ids, categorize=False) for _, ids in self._ids()]
        if not any(map(len, hashes)):
            raise InputError(f"{self.path}: no {self._what}s; expected a row for each {self._what}")
        suspects = duplicate_hashes(hashes)
        for start in range(0, len(suspects), SUSPECTS_AT_ONCE):
            found = repeated(self._ids(), suspects[start : start + SUSPECTS_AT_ONCE])
            if found:
                raise InputError(
                    f"{self.path}: {self._id_column} in data row {found.again} is {quoted(found.id)}, "
                    f"which data row {found.first} has too"
                )
        return sum(map(len, hashes))

    def batches(
        self,
        parts: Collection[int],
        part_size: int,
        batch_size: int,
        names: Sequence[str],
        cut: Callable[[Chunk, int, int], T],
    ) -> Iterator[tuple[int, list[T]]]:
        """Yields the batches of some parts in order; row groups of parquet that hold none of their rows are not read.

        Args:
          parts, part_size, batch_size: as in `Users.read`.
          names: names of the columns to read.
          cut: maps (chunk, first, last + 1) to these rows of the chunk, in the form that the caller wants.

        Yields:
          The number of the first row of a batch, and its rows in pieces.
        """
        wanted = [range(part * part_size, (part + 1) * part_size) for part in sorted(parts)]
        pieces = self._pieces(wanted, part_size, batch_size, names, cut)
        for start, pieces_of_batch in groupby(pieces, key=itemgetter(0)):
            yield start, [piece for _, piece in pieces_of_batch]

    def _ids(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields all ids in blocks, as pairs of the number of rows before and an object array of str."""
        for chunk in self._source.chunks([self._id_column], None, CHECKED_AT_ONCE):
            rows = chunk.start + 1 + np.arange(chunk.length)
            values = chunk.frame(0, chunk.length)[self._id_column].to_numpy(dtype=object)
            yield chunk.start, checked_ids(values, rows, self._id_column, str(self.path))

    def _pieces(
        self,
        wanted: list[range],
        part_size: int,
        batch_size: int,
        names: Sequence[str],
        cut: Callable[[Chunk, int, int], T],
    ) -> Iterator[tuple[int, T]]:
        """Yields what the chunks hold of each batch, as pairs of the number of the batch's first row and a piece."""
        wanted_parts = {rows.start // part_size for rows in wanted}
        batch = batch_entries = 0
        for chunk in self._source.chunks(names, wanted, batch_size):
            row, end = chunk.start, chunk.start + chunk.length
            entries = chunk.entries()
            while row < end:
                part, position = row // part_size, row % part_size // batch_size
                first = part * part_size + position * batch_size
                stop = min(end, (part + 1) * part_size, first + batch_size)
                if part not in wanted_parts:
                    row = stop
                    continue
                if row == first:
                    batch, batch_entries = row, 0
                sums = batch_entries + np.cumsum(entries[row - chunk.start : stop - chunk.start])
                count = fitting(sums, alone=row == batch)
                if count:
                    yield batch, cut(chunk, row - chunk.start, row - chunk.start + count)
                    row, batch_entries = row + count, int(sums[count - 1])
                if row < stop:
                    batch, batch_entries = row, 0


def fitting(entries: np.ndarray, alone: bool) -> int:
    """Returns how many rows a batch can take, given the running sums of entries; at least one if the batch is empty."""
    return max(int(alone), int(np.searchsorted(entries, ENTRIES_OF_BATCH, side="right")))
