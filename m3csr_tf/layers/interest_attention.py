"""Multi-head attention of each user's single query over her history (equations 3 and 4), with folded projections.

The plain form sums W_V h_i with the weights a = softmax((W_Q q)^T (W_K h_i) / sqrt(k)), and projects every history
slot. With a single query q, the weights equal softmax((W_K^T W_Q q)^T h_i / sqrt(k)), and the result equals
W_V (sum_i a_i h_i). This form projects once for each user. The map of content in h_i (equation 1) is linear too, and
folds into the projections in the same way, so that the items of histories need not be encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from m3csr_tf.ops.slot_vectors import Histories
from m3csr_tf.ops.unmapped_items import UnmappedItems

_MASKED = -1e9
SHORT = 4
"""Number of slots of a short history. Most users of a real log have fewer clicks than this, and products with their
other slots, which are empty, are saved.
"""
_INITIALISERS = {"identity": "identity", "xavier": "glorot_uniform"}


class InterestAttention(tf.keras.layers.Layer):
    """MH(Q, K = V = H) of [Vaswani et al. 2017], without biases, for a single query.

    A user without any usable slot attends to the "nothing" item alone. Training meets this case whenever the target is
    masked out of a history of one item, so that the vectors of new users are trained.

    Args:
      width: width of the items, and of the interest that is returned.
      heads: number of heads, which divides `width`.
      key_dim: width of query and key, all heads together; divisible by `heads`.
      initialiser: how W_V and W_O are initialised. With "identity" an interest is at first the weighted mean of the
        clicked items, and lies in the space of the candidates from the first step; "xavier" is as in the paper.
    """

    def __init__(self, width: int, heads: int, key_dim: int, initialiser: str = "xavier", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if width % heads or key_dim % heads:
            raise ValueError(
                f"heads must divide width and key_dim, got heads={heads}, width={width}, key_dim={key_dim}"
            )
        self.width = width
        self.heads = heads
        self.key_dim = key_dim
        self.initialiser = initialiser

    def build(self, input_shape: Any) -> None:
        """Creates W_Q [query width, k], W_K [width, k], W_V and W_O [width, width], heads side by side."""
        self.query_kernel = self.add_weight(name="query_kernel", shape=[input_shape[-1], self.key_dim])
        self.key_kernel = self.add_weight(name="key_kernel", shape=[self.width, self.key_dim])
        square = {"shape": [self.width, self.width], "initializer": _INITIALISERS[self.initialiser]}
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
        """Computes the users' interests.

        Args:
          query: float32 [users, query width].
          items: distinct items, encoded float32 [items, width] or unmapped. Index NOTHING_INDEX is the "nothing" item.
          slots: int32 [users, slots], indices of `items`; NOTHING_INDEX where a slot is empty.
          short: number of users, counted from the first, whose items are all in their first SHORT slots; None: not
            known.

        Returns:
          float32 [users, width].
        """
        pooled = pooling_by_length(self._queries(query, items), items, slots, short)
        return self._values(pooled, items)

    def attention(self, query: tf.Tensor, items: tf.Tensor | UnmappedItems, slots: tf.Tensor) -> tf.Tensor:
        """Computes the attention weights, float32 [users, heads, slots]; arguments as in `call`."""
        return _weights(self._queries(query, items), _histories(items, slots))

    def place_weights(self, query: tf.Tensor, items: tf.Tensor | UnmappedItems, slots: tf.Tensor) -> tf.Tensor:
        """Computes the attention weights of a history's slots, averaged over the heads; arguments as in `call`.

        Returns:
          float32 [users, slots], 0 for empty slots. The weights of a user sum to 1, or to 0 where no slot is usable.
        """
        histories = _histories(items, slots)
        weights = tf.reduce_mean(_weights(self._queries(query, items), histories), axis=1)
        return tf.where(histories.empty, 0.0, weights)

    def _queries(self, query: tf.Tensor, items: tf.Tensor | UnmappedItems) -> list[tf.Tensor]:
        """Computes the folded queries W_K W_Q^T q / sqrt(k) of each head.

        Returns:
          float32 [users, heads, width of the part] for each part of the items' rows.
        """
        queries = tf.split(self.query_kernel * (self.key_dim // self.heads) ** -0.5, self.heads, axis=1)
        parts = []
        for key_kernel in _fold(items, self.key_kernel):
            keys = tf.split(key_kernel, self.heads, axis=1)
            kernels = [tf.matmul(*head_kernels, transpose_b=True) for head_kernels in zip(queries, keys, strict=True)]
            folded = tf.matmul(query, tf.concat(kernels, axis=1))
            parts.append(tf.reshape(folded, [-1, self.heads, key_kernel.shape[0]]))
        return parts

    def _values(self, pooled: Sequence[tf.Tensor], items: tf.Tensor | UnmappedItems) -> tf.Tensor:
        """Multiplies each head's weighted mean of the history by W_O^T W_V^T, and sums over the heads.

        Args:
          pooled: the parts of the means, float32 [users, heads, width of the part] each.
          items: the items that were pooled.

        Returns:
          Interests float32 [users, width].
        """
        values, outputs = tf.split(self.value_kernel, self.heads, axis=1), tf.split(self.output_kernel, self.heads)
        kernels = [tf.matmul(*head_kernels) for head_kernels in zip(values, outputs, strict=True)]
        folded = zip(*(_fold(items, kernel) for kernel in kernels), strict=True)
        interests = [
            tf.matmul(tf.reshape(means, [-1, self.heads * means.shape[2]]), tf.concat(part_weights, axis=0))
            for means, part_weights in zip(pooled, folded, strict=True)
        ]
        if isinstance(items, UnmappedItems):
            interests.extend(items.bias_of(kernel) for kernel in kernels)
        return sum(interests[1:], start=interests[0])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that rebuild the layer."""
        return super().get_config() | {
            "width": self.width,
            "heads": self.heads,
            "key_dim": self.key_dim,
            "initialiser": self.initialiser,
        }


def pooling_by_length(
    queries: Sequence[tf.Tensor], items: tf.Tensor | UnmappedItems, slots: tf.Tensor, short: tf.Tensor | None
) -> list[tf.Tensor]:
    """Computes `attention_pooling` separately for users with short and with long histories.

    Args:
      queries, items, slots: as in `attention_pooling`.
      short: number of users, counted from the first, whose slots beyond SHORT are empty and are left out; None: all
        users are pooled together.

    Returns:
      As `attention_pooling`.
    """
    if short is None:
        return attention_pooling(queries, items, slots)
    sizes = tf.stack([short, tf.shape(slots)[0] - short])
    short_queries, long_queries = zip(*(tf.split(part, sizes) for part in queries), strict=True)
    slots_of_short, slots_of_long = tf.split(slots, sizes)
    pooled = zip(
        attention_pooling(short_queries, items, slots_of_short[:, :SHORT]),
        attention_pooling(long_queries, items, slots_of_long),
        strict=True,
    )
    return [tf.concat(part, axis=0) for part in pooled]


def attention_pooling(
    queries: Sequence[tf.Tensor], items: tf.Tensor | UnmappedItems, slots: tf.Tensor
) -> list[tf.Tensor]:
    """Computes sum_i softmax_i(q . h_i) h_i over each user's usable slots.

    Args:
      queries: folded queries float32 [users, heads, width of the part], for each part of the items' rows.
      items: encoded items float32 [items, width], or unmapped items.
      slots: int32 [users, slots], indices of the items.

    Returns:
      The parts of the sums, float32 [users, heads, width of the part] each.
    """
    histories = _histories(items, slots)
    weights = _weights(queries, histories)
    return [part.sums(weights) for part in histories.parts]


def _weights(queries: Sequence[tf.Tensor], histories: Histories) -> tf.Tensor:
    logits = tf.add_n([part.matches(part_queries) for part, part_queries in zip(histories.parts, queries, strict=True)])
    # The mask is added to the logits, because tf.where on them would need another tf.where in the gradient. An empty
    # slot then has no weight beside a usable one. If no slot is usable, all slots hold the same row, so that any
    # weights give the same sum.
    masks = tf.where(histories.empty, _MASKED, 0.0)
    return tf.nn.softmax(logits + masks[:, tf.newaxis], axis=-1)


def _histories(items: tf.Tensor | UnmappedItems, slots: tf.Tensor) -> Histories:
    return items.histories(slots) if isinstance(items, UnmappedItems) else Histories.of(items, slots)


def _fold(items: tf.Tensor | UnmappedItems, kernel: tf.Tensor) -> list[tf.Tensor]:
    """Returns for each part of the items' rows the map that a kernel float32 [width, outputs] is of encoded items."""
    return items.fold(kernel) if isinstance(items, UnmappedItems) else [kernel]
