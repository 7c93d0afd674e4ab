"""Attention between the modality views of a user or an item (section 3.2.1 of the paper)."""

from __future__ import annotations

import tensorflow as tf


class CrossModalAttention(tf.keras.layers.Layer):
    """Multi-head self-attention over modalities, its outputs averaged over them.

    Head h of view m weighs the views m' by a = softmax_m'((e^m W_Q)_h . (e^m' W_K)_h / sqrt(d / heads)) and gives
    sum_m' a e^m'; heads lie side by side and W_O [heads * d, d] brings them to width d. What is read is the mean over
    m, which is linear, so that weights are averaged over m before anything of width d is summed.

    Args:
      dim: d.
      heads: number of heads; divides d.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(name="attention")
        self._dim, self._heads = dim, heads
        self.query = self.add_weight(name="query", shape=[dim, dim])
        self.key = self.add_weight(name="key", shape=[dim, dim])
        self.output_kernel = self.add_weight(name="output_kernel", shape=[heads * dim, dim])

    def call(self, views: list[tf.Tensor]) -> tf.Tensor:
        """The mean attended view, float32 [nodes, d], of float32 [nodes, d] a modality."""
        queries = [self._by_head(tf.matmul(view, self.query)) for view in views]
        keys = [self._by_head(tf.matmul(view, self.key)) for view in views]
        scale = (self._dim // self._heads) ** -0.5
        scores = tf.stack(
            [tf.stack([tf.reduce_sum(one * other, axis=2) for other in keys], axis=2) for one in queries], axis=3
        )
        weights = tf.reduce_mean(tf.nn.softmax(scores * scale, axis=2), axis=3)  # [nodes, heads, modalities]
        attended = tf.add_n([weights[:, :, m, tf.newaxis] * view[:, tf.newaxis] for m, view in enumerate(views)])
        return tf.matmul(tf.reshape(attended, [-1, self._heads * self._dim]), self.output_kernel)

    def _by_head(self, projected: tf.Tensor) -> tf.Tensor:
        return tf.reshape(projected, [-1, self._heads, self._dim // self._heads])
