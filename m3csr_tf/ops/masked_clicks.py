"""The graph of clicks, from which the clicks that a training step predicts can be removed."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy import sparse


class MaskedClicks:
    """The adjacency matrix of clicks, from which some clicks may be removed.

    Args:
      clicks: binary matrix [users, items] with sorted indices.
    """

    def __init__(self, clicks: sparse.csr_matrix) -> None:
        self._users, self._items = clicks.shape
        users, items = sparse.coo_matrix(clicks).coords
        users, items = users.astype(np.int64), items.astype(np.int64)
        self._keys = tf.constant(users * self._items + items)
        # The rows of users hold the clicks in their order; the rows of items hold them by item and then by user.
        by_item = np.lexsort((users, items))
        self._by_item = tf.constant(by_item, tf.int32)
        rows = np.concatenate([users, self._users + items[by_item]])
        others = np.concatenate([self._users + items, users[by_item]])
        self._indices = tf.constant(np.stack([rows, others], axis=1))

    def without(self, users: tf.Tensor, items: tf.Tensor) -> tf.SparseTensor:
        """Returns the adjacency matrix with 0 for the clicks that are left out and 1 for all others.

        Args:
          users, items: the clicks to leave out, int32 [n] each; a pair that is not a click changes nothing.

        Returns:
          float32 [users + items, users + items], users first, with its indices in row-major order.
        """
        wanted = tf.cast(users, tf.int64) * self._items + tf.cast(items, tf.int64)
        positions = tf.minimum(tf.searchsorted(self._keys, wanted), tf.size(self._keys) - 1)
        found = tf.boolean_mask(positions, tf.gather(self._keys, positions) == wanted)
        kept = tf.tensor_scatter_nd_update(
            tf.ones(tf.shape(self._keys)), found[:, tf.newaxis], tf.zeros(tf.shape(found))
        )
        size = self._users + self._items
        return tf.SparseTensor(self._indices, tf.concat([kept, tf.gather(kept, self._by_item)], axis=0), [size, size])
