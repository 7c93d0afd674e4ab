"""The user-item graph of MMSSL, and its versions with the edge weights of each modality (section 3.1.1 of the paper).

A modality relates a user to an item by a = exp(cos(f_u, f_i) / temperature), where f is the content of a user or item,
aggregated over her or its clicks. The graph of the modality holds that relation on the clicks, symmetrically
normalised: an edge has the weight a_ui / sqrt(a_u a_i), where a_u and a_i are the sums over the edges of the user and
of the item.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy import sparse

from m3csr_tf.ops.sparse_graph import as_tensor, bipartite, product, symmetric_normalised


class ClickGraph:
    """The graph of training clicks, whose nodes are the users, then the items.

    Args:
      clicks: binary matrix [users, items].

    Attributes:
      users, items: numbers of users and items.
      normalised: SparseTensor [users + items, users + items], D^-1/2 A D^-1/2.
    """

    def __init__(self, clicks: sparse.csr_matrix) -> None:
        by_user = sparse.csr_array(clicks, dtype=np.float32)
        by_user.sort_indices()
        self.users, self.items = by_user.shape
        adjacency = bipartite(by_user)
        self.normalised = as_tensor(symmetric_normalised(adjacency))
        self._to_users = as_tensor(_over_root(by_user))
        self._to_items = as_tensor(_over_root(by_user.T))
        owners = np.repeat(np.arange(self.users), np.diff(by_user.indptr))
        by_item = np.lexsort([owners, by_user.indices])
        self._user_of = tf.constant(owners, tf.int32)
        self._item_of = tf.constant(by_user.indices, tf.int32)
        self._by_item = tf.constant(by_item, tf.int32)
        self._starts = tf.constant(by_user.indptr, tf.int64)
        nodes = self.users + by_user.indices
        rows = np.concatenate([owners, nodes[by_item]])
        columns = np.concatenate([nodes, owners[by_item]])
        self._edges = tf.constant(np.stack([rows, columns], axis=1), tf.int64)

    def aggregated(self, item_vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Aggregates content over clicks (equation 1), dividing each sum by the root of the number of its summands.

        A user gets the sum over the items that she clicked, and an item then the sum over the users who clicked it.

        Args:
          item_vectors: float32 [items, width].

        Returns:
          Vectors of users, float32 [users, width], and of items, [items, width].
        """
        users = product(self._to_users, item_vectors)
        return users, product(self._to_items, users)

    def relations(self, users: tf.Tensor, items: tf.Tensor, temperature: float) -> tf.Tensor:
        """Returns exp(cos / temperature) of each click's user and item, float32 [clicks], a constant to the gradient.

        Args:
          users, items: unit vectors float32 [users, width] and [items, width], or zeros, whose cosine is 0.
          temperature: the temperature of the relation.
        """
        user_vectors, item_vectors = tf.stop_gradient(users), tf.stop_gradient(items)
        ends = tf.gather(user_vectors, self._user_of) * tf.gather(item_vectors, self._item_of)
        return tf.exp(tf.reduce_sum(ends, axis=1) / temperature)

    def weighted(self, relations: tf.Tensor) -> tf.SparseTensor:
        """Returns the normalised graph [nodes, nodes] whose edges have the weights `relations`, float32 [clicks]."""
        of_user = tf.math.unsorted_segment_sum(relations, self._user_of, self.users)
        of_item = tf.math.unsorted_segment_sum(relations, self._item_of, self.items)
        scale = tf.gather(of_user, self._user_of) * tf.gather(of_item, self._item_of)
        weights = relations * tf.math.rsqrt(scale)
        nodes = self.users + self.items
        return tf.SparseTensor(
            self._edges, tf.concat([weights, tf.gather(weights, self._by_item)], axis=0), [nodes, nodes]
        )

    def observed(self, users: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Returns who clicked what, float32 [n, columns] of 0 and 1.

        Args:
          users: rows int32 [n].
          items: distinct rows int32 [columns].
        """
        column_of = tf.tensor_scatter_nd_update(
            tf.fill([self.items], -1), items[:, tf.newaxis], tf.range(tf.size(items))
        )
        clicks = tf.ragged.range(tf.gather(self._starts, users), tf.gather(self._starts, users + 1))
        columns = tf.gather(column_of, tf.gather(self._item_of, clicks.flat_values))
        owners = tf.cast(clicks.value_rowids(), tf.int32)
        positions = tf.boolean_mask(tf.stack([owners, columns], axis=1), columns >= 0)
        return tf.scatter_nd(positions, tf.ones([tf.shape(positions)[0]]), [tf.size(users), tf.size(items)])


def _over_root(clicks: sparse.csr_array) -> sparse.csr_array:
    """Returns D^-1/2 A, where D has the row sums on its diagonal; rows without an entry stay empty."""
    degrees = np.asarray(clicks.sum(axis=1)).ravel()
    scale = np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    return sparse.csr_array(sparse.diags_array(scale) @ clicks)
