"""The nearest of a table's rows by cosine, a block of queries at a time, as TensorFlow ops."""

from __future__ import annotations

import tensorflow as tf

_BLOCK = 1024
"""Queries compared with the table at once: no matrix of all cosines is ever held."""


def nearest_by_cosine(queries: tf.Tensor, table: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The rows of a table of the largest dot product with each query; of unit rows, that is their cosine.

    Args:
      queries: float32 [n, width].
      table: float32 [rows, width].
      count: how many are wanted, at most `rows`.

    Returns:
      Places in the table int32 [n, count], the nearest first, and their products float32 [n, count].
    """
    size = tf.shape(queries)[0]

    def block(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        products = tf.matmul(queries[start : start + _BLOCK], table, transpose_b=True)
        values, places = tf.math.top_k(products, count)
        short = _BLOCK - tf.shape(values)[0]
        padded = [tf.pad(some, [[0, short], [0, 0]]) for some in (places, values)]
        return tuple(tf.ensure_shape(some, [_BLOCK, count]) for some in padded)

    # Of whole shapes, so that no query is an ordinary case.
    found = tuple(tf.TensorSpec([_BLOCK, count], dtype) for dtype in (tf.int32, tf.float32))
    places, values = tf.map_fn(block, tf.range(0, size, _BLOCK), fn_output_signature=found, parallel_iterations=1)
    return tf.reshape(places, [-1, count])[:size], tf.reshape(values, [-1, count])[:size]
