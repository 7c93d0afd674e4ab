"""Gathering lines of a batch's table of distinct items, with a gradient that is summed at once.

TensorFlow hands the gradient of a gather on as indexed slices, concatenates those of all gathers of one tensor and
cuts them up again on the way back; here each is summed into the table's shape directly, a quarter of a step cheaper.
`gather_entries` and `add_entries` are for products with a one-hot vector: single numbers instead of lines.
Embedding variables are gathered with tf.gather: their gradients must stay sparse.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from m3csr_tf.ops.gradients import own_gradient


@own_gradient
def gather_lines(table: tf.Tensor, lines: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """Lines of a table that is small and computed, not a variable.

    Args:
      table: float32 [items, width].
      lines: int32 [...].

    Returns:
      float32 [..., width].
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return sum_into_lines(upstream, lines, tf.shape(table)[0]), None

    return tf.gather(table, lines), gradient


def sum_into_lines(values: tf.Tensor, lines: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Sums values float32 [..., width] into a table float32 [count, width], at `lines` int32 [...].

    Sorting the lines and summing runs takes a half to a third of the time of `tf.math.unsorted_segment_sum`, which
    reads and writes a line of the table for every value.
    """
    flat = tf.reshape(lines, [-1])
    order = tf.argsort(flat)
    return tf.raw_ops.SparseSegmentSumWithNumSegments(
        # What replicas have gathered does not know its width.
        data=values if values.shape.rank == 2 else tf.reshape(values, [-1, values.shape[-1]]),
        indices=order,
        segment_ids=tf.gather(flat, order),
        num_segments=count,
    )


@own_gradient
def gather_entries(
    table: tf.Tensor, lines: tf.Tensor, columns: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None, None]]]:
    """Single numbers of a table that is small and computed.

    Args:
      table: float32 [lines, columns], of a known number of columns.
      lines, columns: int32, of shapes that broadcast to [..., entries]; a column beyond the table is not found out.

    Returns:
      float32 [..., entries].
    """
    places = lines * table.shape[1] + columns

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        added = _added(tf.reshape(upstream, [1, -1]), tf.reshape(places, [1, -1]), tf.size(table))
        return tf.reshape(added, tf.shape(table)), None, None

    return tf.gather(tf.reshape(table, [-1]), places), gradient


def add_entries(values: tf.Tensor, columns: tf.Tensor, count: int) -> tf.Tensor:
    """Adds numbers up by line and column, the transpose of `gather_entries`.

    Args:
      values: float32 [lines, entries].
      columns: int32 [lines, entries], less than `count`.

    Returns:
      float32 [lines, count].
    """
    lines = tf.range(tf.shape(columns)[0])[:, tf.newaxis]

    @own_gradient
    def add(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return _added(values, columns, count), lambda upstream: gather_entries(upstream, lines, columns)

    return add(values)


def _added(values: tf.Tensor, columns: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    # By lines, which one thread each adds up on CPUs: of a flat list threads add parts, in an order that no seed fixes.
    return tf.raw_ops.DenseBincount(input=columns, size=count, weights=values)
