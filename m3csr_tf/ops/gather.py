"""Gathers rows of a batch's table of distinct items, with a gradient that is summed into the table at once.

TensorFlow represents the gradient of a gather as indexed slices, concatenates those of all gathers of one tensor, and
cuts them up again on the way back. The gathers of this module sum each gradient directly into the shape of the table,
which saves a quarter of the time of a training step. `gather_scalars` and `scatter_scalars` are products with one-hot
vectors: they gather and add single numbers instead of whole rows.

A position in such a table is called an index here, since "row" means a row of the id tables elsewhere. Embedding
variables are gathered with tf.gather, because their gradients must stay sparse.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from m3csr_tf.ops.gradients import own_gradient


@own_gradient
def gather_distinct(
    table: tf.Tensor, indices: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """Gathers vectors of a table that is small and computed, not a variable.

    Args:
      table: float32 [items, width].
      indices: int32 [...], into the table.

    Returns:
      float32 [..., width].
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return scatter_sum(upstream, indices, tf.shape(table)[0]), None

    return tf.gather(table, indices), gradient


def scatter_sum(values: tf.Tensor, indices: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Sums values into a table of zeros by their indices; the transpose of `gather_distinct`.

    The indices are sorted and runs of the same index are summed. This takes a half to a third of the time of
    `tf.math.unsorted_segment_sum`, which reads and writes a vector of the table for every value.

    Args:
      values: float32 [..., width].
      indices: int32 [...], the index to which each value is added.
      count: length of the table.

    Returns:
      float32 [count, width].
    """
    flat = tf.reshape(indices, [-1])
    order = tf.argsort(flat)
    return tf.raw_ops.SparseSegmentSumWithNumSegments(
        # A tensor that was gathered from all replicas has no static width, and is never reshaped.
        data=values if values.shape.rank == 2 else tf.reshape(values, [-1, values.shape[-1]]),
        indices=order,
        segment_ids=tf.gather(flat, order),
        num_segments=count,
    )


@own_gradient
def gather_scalars(
    table: tf.Tensor, indices: tf.Tensor, columns: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None, None]]]:
    """Gathers single numbers of a table that is small and computed, not a variable.

    Args:
      table: float32 [items, columns], with a static number of columns.
      indices, columns: int32, of shapes that broadcast to [..., entries]. A column outside of the table is not
        detected.

    Returns:
      float32 [..., entries].
    """
    positions = indices * table.shape[1] + columns

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        added = _added(tf.reshape(upstream, [1, -1]), tf.reshape(positions, [1, -1]), tf.size(table))
        return tf.reshape(added, tf.shape(table)), None, None

    return tf.gather(tf.reshape(table, [-1]), positions), gradient


def scatter_scalars(values: tf.Tensor, columns: tf.Tensor, count: int) -> tf.Tensor:
    """Sums the numbers of each row of a matrix by their columns; the transpose of `gather_scalars`.

    Args:
      values: float32 [n, entries].
      columns: int32 [n, entries], the column of each number, below `count`.
      count: number of columns of the result.

    Returns:
      float32 [n, count].
    """
    indices = tf.range(tf.shape(columns)[0])[:, tf.newaxis]

    @own_gradient
    def add(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return _added(values, columns, count), lambda upstream: gather_scalars(upstream, indices, columns)

    return add(values)


def _added(values: tf.Tensor, columns: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    # On CPUs one thread sums each row. The parts of a flat list would be summed by several threads, in an order that no
    # seed fixes, and results would differ in the last bit between runs.
    return tf.raw_ops.DenseBincount(input=columns, size=count, weights=values)
