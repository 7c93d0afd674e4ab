"""The attention between the modality views of a user or an item (section 3.2.1 of the paper)."""

from __future__ import annotations

import tensorflow as tf


class CrossModalAttention(tf.keras.layers.Layer):
    """Multi-head self-attention over modalities, whose outputs are averaged over the modalities.

    Head h of view m weighs the views m' by a = softmax_m'((e^m W_Q)_h . (e^m' W_K)_h / sqrt(d / heads)), and returns
    sum_m' a e^m'. The heads are concatenated, and W_O [heads * d, d] maps them to width d. The result is the mean over
    m. Because that mean is linear, the weights are averaged over m before anything of width d is summed.

    Args:
      dim: the width d of the views.
      heads: number of heads; it divides d.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(name="attention")
        self._dim, self._heads = dim, heads
        self.query = self.add_weight(name="query", shape=[dim, dim])
        self.key = self.add_weight(name="key", shape=[dim, dim])
        self.output_kernel = self.add_weight(name="output_kernel", shape=[heads * dim, dim])

    def call(self, views: list[tf.Tensor]) -> tf.Tensor:
        """Returns the mean attended view, float32 [nodes, d].

        Args:
          views: one view of each node for every modality, float32 [nodes, d] each.
        """
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
