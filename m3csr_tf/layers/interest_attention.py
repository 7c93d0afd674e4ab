"""Multi-head attention of one query a user over the history (equations 3 and 4), with its projections folded.

With a single query q the plain form, softmax((W_Q q)^T (W_K h_i) / sqrt(k)) times W_V h_i, projects every history slot.
It equals softmax((W_K^T W_Q q)^T h_i / sqrt(k)) and W_V (sum_i a_i h_i), which project once a user. Items come as a
table of the batch's distinct ones, so nothing is encoded once a slot either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from m3csr_tf.layers.gather import gather_lines, sum_into_lines

EMPTY_SLOT = 0
"""Index of the "nothing" item in the table of distinct items: what an empty slot points to."""

_MASKED = -1e9
_SHORT = 4
"""Most users of a real log have fewer clicks than this; their other slots are not worth a product."""
_STARTS = {"identity": "identity", "xavier": "glorot_uniform"}


class InterestAttention(tf.keras.layers.Layer):
    """MH(Q, K = V = H) of [Vaswani et al. 2017], without biases, for a single query.

    A user without any usable slot attends to the "nothing" item alone, which training meets whenever the target is
    masked out of a history of one, so new users have a trained vector.

    Args:
      width: width of the items, and of the interest that comes out.
      heads: number of heads; divides `width`.
      key_dim: width of query and key, all heads together; divisible by `heads`.
      start: what W_V and W_O start as: "identity", so that an interest starts as the weighted mean of what was clicked
        and is matched with candidates of the same space from the first step, or "xavier" as in the paper.
    """

    def __init__(self, width: int, heads: int, key_dim: int, start: str = "xavier", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if width % heads or key_dim % heads:
            raise ValueError(
                f"heads must divide width and key_dim, got heads={heads}, width={width}, key_dim={key_dim}"
            )
        self.width = width
        self.heads = heads
        self.key_dim = key_dim
        self.start = start

    def build(self, input_shape: Any) -> None:
        """Creates W_Q [query width, k], W_K [width, k], W_V and W_O [width, width], heads side by side."""
        self.query_kernel = self.add_weight(name="query_kernel", shape=[input_shape[-1], self.key_dim])
        self.key_kernel = self.add_weight(name="key_kernel", shape=[self.width, self.key_dim])
        square = {"shape": [self.width, self.width], "initializer": _STARTS[self.start]}
        self.value_kernel = self.add_weight(name="value_kernel", **square)
        self.output_kernel = self.add_weight(name="output_kernel", **square)
        super().build(input_shape)

    def call(self, query: tf.Tensor, items: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
        """The users' interests.

        Args:
          query: float32 [users, query width].
          items: distinct items float32 [items, width]; line EMPTY_SLOT is the "nothing" item.
          slots: int32 [users, slots] lines of `items`, EMPTY_SLOT where there is none.

        Returns:
          float32 [users, width].
        """
        pooled = pooling_by_length(self._folded_queries(query), items, slots)
        values = [
            tf.matmul(pooled[:, head], kernel)
            for head, kernel in enumerate(tf.split(self.value_kernel, self.heads, axis=1))
        ]
        return tf.matmul(tf.concat(values, axis=1), self.output_kernel)

    def attention(self, query: tf.Tensor, items: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
        """Attention weights, float32 [users, heads, slots]; arguments as in `call`."""
        return _weights(self._folded_queries(query), tf.gather(items, slots), slots)

    def place_weights(self, query: tf.Tensor, items: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
        """Attention weights of a history's places, averaged over the heads; arguments as in `call`.

        Returns:
          float32 [users, slots], 0 for empty slots; a user's sum is 1, or 0 where no slot is usable.
        """
        weights = tf.reduce_mean(self.attention(query, items, slots), axis=1)
        return tf.where(slots == EMPTY_SLOT, 0.0, weights)

    def _folded_queries(self, query: tf.Tensor) -> tf.Tensor:
        """W_K^T W_Q q / sqrt(k), float32 [users, heads, width]."""
        queries = tf.split(tf.matmul(query, self.query_kernel), self.heads, axis=1)
        kernels = tf.split(self.key_kernel, self.heads, axis=1)
        folded = [tf.matmul(one, kernel, transpose_b=True) for one, kernel in zip(queries, kernels, strict=True)]
        return tf.stack(folded, axis=1) * (self.key_dim // self.heads) ** -0.5

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return super().get_config() | {
            "width": self.width,
            "heads": self.heads,
            "key_dim": self.key_dim,
            "start": self.start,
        }


def pooling_by_length(queries: tf.Tensor, items: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
    """`attention_pooling`, with short histories on their own, cut to _SHORT slots; arguments and result as there."""
    is_short = tf.reduce_all(slots[:, _SHORT:] == EMPTY_SLOT, axis=1)
    short, long = tf.where(is_short)[:, 0], tf.where(tf.logical_not(is_short))[:, 0]
    shape = tf.shape(queries)
    lines = tf.reshape(queries, [shape[0], queries.shape[1] * queries.shape[2]])
    pooled = [
        attention_pooling(
            tf.reshape(gather_lines(lines, users), [-1, *queries.shape[1:]]), items, tf.gather(some_slots, users)
        )
        for users, some_slots in ((short, slots[:, :_SHORT]), (long, slots))
    ]
    back = tf.math.invert_permutation(tf.concat([short, long], axis=0))
    return tf.reshape(gather_lines(tf.reshape(tf.concat(pooled, axis=0), tf.shape(lines)), back), shape)


@tf.custom_gradient
def attention_pooling(
    queries: tf.Tensor, items: tf.Tensor, slots: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, None]]]:
    """sum_i softmax_i(q . h_i) h_i over each user's usable slots.

    The gradient is written out because what automatic differentiation builds touches the gathered history, the largest
    tensor of a step, three times as often.

    Args:
      queries: folded queries float32 [users, heads, width].
      items: float32 [items, width].
      slots: int32 [users, slots].

    Returns:
      float32 [users, heads, width].
    """
    history = tf.gather(items, slots)
    weights = _weights(queries, history, slots)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None]:
        of_weights = tf.matmul(upstream, history, transpose_b=True)
        of_logits = weights * (of_weights - tf.reduce_sum(weights * of_weights, axis=-1, keepdims=True))
        # A masked slot's weight is zero, or the user has none usable and every slot holds the same item.
        of_queries = tf.matmul(of_logits, history)
        # h_i enters as key and as value: both outer products in one product.
        coefficients = tf.concat([of_logits, weights], axis=1)
        of_history = tf.matmul(coefficients, tf.concat([queries, upstream], axis=1), transpose_a=True)
        return of_queries, sum_into_lines(of_history, slots, tf.shape(items)[0]), None

    return tf.matmul(weights, history), gradient


def _weights(queries: tf.Tensor, history: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
    logits = tf.matmul(queries, history, transpose_b=True)
    return tf.nn.softmax(tf.where((slots != EMPTY_SLOT)[:, tf.newaxis, :], logits, _MASKED), axis=-1)
