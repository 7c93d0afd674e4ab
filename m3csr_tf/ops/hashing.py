"""Rows of a hashed table: for audiences and catalogues too large for a row an id, ids share a fixed number of rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import tensorflow as tf

from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW

_BLOCK = 1_000_000


def hashed_rows(ids: tf.Tensor, rows: int) -> tf.Tensor:
    """Rows int32 of ids, string of the same shape: the reserved rows, then `rows` that FarmHash spreads the ids over.

    The hash is TensorFlow's own op, the same in training and inside a SavedModel. "" has UNKNOWN_ROW.
    """
    hashed = tf.cast(tf.strings.to_hash_bucket_fast(ids, rows), tf.int32) + FIRST_ROW
    return tf.where(ids == "", UNKNOWN_ROW, hashed)


def table_size(ids: int, hash_rows: int | None) -> int:
    """Rows of an embedding table, the reserved ones included, for an id table of `ids` rows."""
    return ids if hash_rows is None else hash_rows + FIRST_ROW


def hashed_table(known: pa.LargeStringArray, rows: int) -> np.ndarray:
    """For each row of an id table the row of its hashed embedding table, int32 [len(known) + FIRST_ROW].

    Args:
      known: the known ids in row order (`IdTable.strings`).
      rows: as in `hashed_rows`.
    """
    blocks = [
        hashed_rows(tf.constant(known[start : start + _BLOCK].to_pylist(), tf.string), rows).numpy()
        for start in range(0, len(known), _BLOCK)
    ]
    return np.concatenate([np.arange(FIRST_ROW, dtype=np.int32), *blocks])
