"""Multi-head attention of one query a user over the history (equations 3 and 4), with its projections folded.

With a single query q the plain form, softmax((W_Q q)^T (W_K h_i) / sqrt(k)) times W_V h_i, projects every history slot.
It equals softmax((W_K^T W_Q q)^T h_i / sqrt(k)) and W_V (sum_i a_i h_i), which project once a user. The map of content
in h_i (equation 1) is linear as well, and folds the same way: histories are attended without being encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from m3csr_tf.layers.gather import matches, sum_into_lines, weighted_sums
from m3csr_tf.layers.unmapped_items import UnmappedItems

EMPTY_SLOT = 0
"""Index of the "nothing" item in the table of distinct items: what an empty slot points to."""

_MASKED = -1e9
SHORT = 4
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

    def call(
        self,
        query: tf.Tensor,
        items: tf.Tensor | UnmappedItems,
        slots: tf.Tensor,
        short: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The users' interests.

        Args:
          query: float32 [users, query width].
          items: distinct items float32 [items, width], or as they are before they are encoded; line EMPTY_SLOT is
            the "nothing" item.
          slots: int32 [users, slots] lines of `items`, EMPTY_SLOT where there is none.
          short: how many users, from the first, have nothing beyond their first SHORT slots; None: not known.

        Returns:
          float32 [users, width].
        """
        pooled = pooling_by_length(self._queries(query, items), items, slots, short)
        return self._values(pooled, items)

    def attention(self, query: tf.Tensor, items: tf.Tensor | UnmappedItems, slots: tf.Tensor) -> tf.Tensor:
        """Attention weights, float32 [users, heads, slots]; arguments as in `call`."""
        return _weights(self._queries(query, items), _history(items, slots), slots)

    def place_weights(self, query: tf.Tensor, items: tf.Tensor | UnmappedItems, slots: tf.Tensor) -> tf.Tensor:
        """Attention weights of a history's places, averaged over the heads; arguments as in `call`.

        Returns:
          float32 [users, slots], 0 for empty slots; a user's sum is 1, or 0 where no slot is usable.
        """
        weights = tf.reduce_mean(self.attention(query, items, slots), axis=1)
        return tf.where(slots == EMPTY_SLOT, 0.0, weights)

    def _queries(self, query: tf.Tensor, items: tf.Tensor | UnmappedItems) -> tf.Tensor:
        """W_K W_Q^T q / sqrt(k) of each head, float32 [users, heads, width]; or what matches unmapped items alike."""
        queries, keys = (tf.split(kernel, self.heads, axis=1) for kernel in (self.query_kernel, self.key_kernel))
        folded = [tf.matmul(of_query, of_key, transpose_b=True) for of_query, of_key in zip(queries, keys, strict=True)]
        if isinstance(items, UnmappedItems):
            folded = [items.fold_queries(kernel) for kernel in folded]
        kernel = tf.concat(folded, axis=1) * (self.key_dim // self.heads) ** -0.5
        return tf.reshape(tf.matmul(query, kernel), [-1, self.heads, folded[0].shape[1]])

    def _values(self, pooled: tf.Tensor, items: tf.Tensor | UnmappedItems) -> tf.Tensor:
        """W_O^T W_V^T of each head's mean float32 [users, heads, width of what was pooled], summed, [users, width]."""
        values, outputs = tf.split(self.value_kernel, self.heads, axis=1), tf.split(self.output_kernel, self.heads)
        folded = [tf.matmul(of_value, of_output) for of_value, of_output in zip(values, outputs, strict=True)]
        bias: tf.Tensor | float = 0.0
        if isinstance(items, UnmappedItems):
            bias = tf.add_n([items.bias_of(kernel) for kernel in folded])
            folded = [items.fold_values(kernel) for kernel in folded]
        means = tf.reshape(pooled, [-1, self.heads * pooled.shape[2]])
        return tf.matmul(means, tf.concat(folded, axis=0)) + bias

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        return super().get_config() | {
            "width": self.width,
            "heads": self.heads,
            "key_dim": self.key_dim,
            "start": self.start,
        }


def pooling_by_length(
    queries: tf.Tensor, items: tf.Tensor | UnmappedItems, slots: tf.Tensor, short: tf.Tensor | None
) -> tf.Tensor:
    """`attention_pooling`, with the `short` first users on their own, cut to SHORT slots; the rest as there."""
    if short is None:
        return attention_pooling(queries, items, slots)
    sizes = tf.stack([short, tf.shape(queries)[0] - short])
    of_short, of_long = tf.split(queries, sizes)
    slots_of_short, slots_of_long = tf.split(slots, sizes)
    pooled = [
        attention_pooling(of_short, items, slots_of_short[:, :SHORT]),
        attention_pooling(of_long, items, slots_of_long),
    ]
    return tf.concat(pooled, axis=0)


def attention_pooling(queries: tf.Tensor, items: tf.Tensor | UnmappedItems, slots: tf.Tensor) -> tf.Tensor:
    """sum_i softmax_i(q . h_i) h_i over each user's usable slots.

    The gradient is written out because what automatic differentiation builds touches the gathered history, the largest
    tensor of a step, three times as often. Content has none; that of cluster ids is summed into their table at once.

    Args:
      queries: folded queries float32 [users, heads, width].
      items: float32 [items, width].
      slots: int32 [users, slots].

    Returns:
      float32 [users, heads, width].
    """
    history = _history(items, slots)
    weights = _weights(queries, history, slots)
    if not isinstance(items, UnmappedItems):
        trained, lines = [items], slots
    elif items.clusters is None:
        trained, lines = [], slots
    else:
        trained, lines = [items.clusters], tf.gather(items.cluster_ids, slots)

    @tf.custom_gradient
    def pool(queries: tf.Tensor, *trained: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            of_weights = matches(upstream, history)
            of_logits = weights * (of_weights - tf.reduce_sum(weights * of_weights, axis=-1, keepdims=True))
            # A masked slot's weight is zero, or the user has none usable and every slot holds the same item.
            gradients = [weighted_sums(of_logits, history)]
            for table in trained:
                fixed = history.shape[-1] - table.shape[-1]
                # An item enters as key and as value: both outer products in one product.
                coefficients = tf.concat([of_logits, weights], axis=1)
                entered = tf.concat([queries[..., fixed:], upstream[..., fixed:]], axis=1)
                of_history = tf.matmul(coefficients, entered, transpose_a=True)
                gradients.append(sum_into_lines(of_history, lines, tf.shape(table)[0]))
            return gradients

        return weighted_sums(weights, history), gradient

    return pool(queries, *trained)


def _history(items: tf.Tensor | UnmappedItems, slots: tf.Tensor) -> tf.Tensor:
    """What the slots hold, float32 [users, slots, width]."""
    return items.rows(slots) if isinstance(items, UnmappedItems) else tf.gather(items, slots)


def _weights(queries: tf.Tensor, history: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
    logits = matches(queries, history)
    return tf.nn.softmax(tf.where((slots != EMPTY_SLOT)[:, tf.newaxis, :], logits, _MASKED), axis=-1)
