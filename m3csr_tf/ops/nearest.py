"""Nearest rows of a table by cosine, as TensorFlow ops, for a block of queries at a time."""

from __future__ import annotations

import tensorflow as tf

_BLOCK = 1024
"""Number of queries that are compared with the table at once, so that the matrix of all cosines is never in memory."""


def nearest_rows(queries: tf.Tensor, table: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds for each query the rows of a table with the largest dot products, which are cosines if all have length 1.

    Args:
      queries: float32 [n, width].
      table: float32 [rows, width].
      count: number of rows for each query, at most `rows`.

    Returns:
      Row indices int32 [n, count] in descending order of dot product, and the dot products float32 [n, count].
    """
    size = tf.shape(queries)[0]

    def block(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        products = tf.matmul(queries[start : start + _BLOCK], table, transpose_b=True)
        values, positions = tf.math.top_k(products, count)
        short = _BLOCK - tf.shape(values)[0]
        padded = [tf.pad(some, [[0, short], [0, 0]]) for some in (positions, values)]
        return tuple(tf.ensure_shape(some, [_BLOCK, count]) for some in padded)

    # All blocks have the same shape, so that an empty batch of queries needs no case of its own.
    found = tuple(tf.TensorSpec([_BLOCK, count], dtype) for dtype in (tf.int32, tf.float32))
    positions, values = tf.map_fn(block, tf.range(0, size, _BLOCK), fn_output_signature=found, parallel_iterations=1)
    return tf.reshape(positions, [-1, count])[:size], tf.reshape(values, [-1, count])[:size]
