"""Maps string ids to rows inside a graph, by a vocabulary file that is an asset of the SavedModel, or by hashing."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import tensorflow as tf

from m3csr_tf.errors import ReleaseError
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW, IdTable
from m3csr_tf.ops.hashing import hashed_rows
from m3csr_tf.util.quoting import quoted

_WRITTEN_AT_ONCE = 100_000


class IdLookup(tf.Module):
    """The graph's copy of an `IdTable`; every id that the table lacks, including "", gets UNKNOWN_ROW.

    Args:
      table: the id table.
      path: the vocabulary file that is written, one id on each line; it must exist until the module is saved.

    Raises:
      ReleaseError: an id holds a line break, which a vocabulary file cannot represent.
    """

    def __init__(self, table: IdTable, path: Path) -> None:
        super().__init__(name="ids")
        broken = table.strings.filter(pc.match_substring_regex(table.strings, "[\n\r]"))
        if len(broken):
            raise ReleaseError(
                f"{path.stem}: id {quoted(broken[0].as_py())} holds a line break, so it cannot be served; rename it"
            )
        with path.open("w", encoding="utf-8", newline="") as file:
            for start in range(0, len(table.strings), _WRITTEN_AT_ONCE):
                file.writelines(f"{one}\n" for one in table.strings[start : start + _WRITTEN_AT_ONCE].to_pylist())
        self._lines = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(path),
                key_dtype=tf.string,
                key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
                value_dtype=tf.int64,
                value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            default_value=UNKNOWN_ROW - FIRST_ROW,
        )

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns the rows of string `ids`, int32 of the same shape."""
        return tf.cast(self._lines.lookup(ids), tf.int32) + FIRST_ROW


class IdHash(tf.Module):
    """Maps ids to the rows of a hashed table, whether or not they are known (`ops.hashing`)."""

    def __init__(self, rows: int) -> None:
        super().__init__(name="ids")
        self._rows = rows

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns the rows of string `ids`, int32 of the same shape."""
        return hashed_rows(ids, self._rows)
