"""Hashed embedding tables, in which ids share a fixed number of rows.

They are for audiences and catalogues that are too large for a row for each id.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import tensorflow as tf

from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW

_BLOCK = 1_000_000


def hashed_rows(ids: tf.Tensor, hash_rows: int) -> tf.Tensor:
    """Computes the rows of ids in a hashed table.

    The hash is FarmHash, a TensorFlow op, which is the same in training and inside a SavedModel.

    Args:
      ids: string of any shape; "" gets UNKNOWN_ROW.
      hash_rows: number of rows that the ids share. The reserved rows come before them.

    Returns:
      int32 of the same shape.
    """
    hashed = tf.cast(tf.strings.to_hash_bucket_fast(ids, hash_rows), tf.int32) + FIRST_ROW
    return tf.where(ids == "", UNKNOWN_ROW, hashed)


def table_size(ids: int, hash_rows: int | None) -> int:
    """Returns the number of rows of an embedding table, the reserved rows included.

    Args:
      ids: number of rows of the id table, the reserved rows included.
      hash_rows: number of rows that the ids share; None: a row for each id.
    """
    return ids if hash_rows is None else hash_rows + FIRST_ROW


def hashed_table(known: pa.LargeStringArray, hash_rows: int) -> np.ndarray:
    """Computes for each row of an id table the row of the hashed embedding table.

    Args:
      known: the known ids in row order (`IdTable.strings`).
      hash_rows: as in `hashed_rows`.

    Returns:
      int32 [len(known) + FIRST_ROW]; the reserved rows come first and keep their places.
    """
    blocks = [
        hashed_rows(tf.constant(known[start : start + _BLOCK].to_pylist(), tf.string), hash_rows).numpy()
        for start in range(0, len(known), _BLOCK)
    ]
    return np.concatenate([np.arange(FIRST_ROW, dtype=np.int32), *blocks])
