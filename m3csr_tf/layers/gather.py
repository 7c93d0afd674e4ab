"""Gathering lines of a batch's table of distinct items, with a gradient that is summed at once.

TensorFlow hands the gradient of a gather on as indexed slices, concatenates those of all gathers of one tensor and
cuts them up again on the way back; here each is summed into the table's shape directly, a quarter of a step cheaper.
Embedding variables are gathered with tf.gather: their gradients must stay sparse.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


@tf.custom_gradient
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
    """Sums values float32 [..., width] into a table float32 [count, width], at `lines` int32 [...]."""
    flat = tf.reshape(values, [-1, values.shape[-1]])
    return tf.math.unsorted_segment_sum(flat, tf.reshape(lines, [-1]), count)
