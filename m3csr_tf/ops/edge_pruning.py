"""Degree-sensitive pruning of a user-item graph (Zhou and Shen, MM 2023, section 3.2), drawn without any state."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy import sparse


class EdgePruning:
    """Keeps a share of the edges of a graph of clicks, those of popular items and busy users more rarely.

    An edge between a user of n_u clicks and an item of n_i is drawn, without replacement, with a chance in proportion
    to 1 / sqrt(n_u n_i) (equation 6): the edges of the largest log p + Gumbel noise are such a draw (Gumbel-top-k;
    Kool, van Hoof and Welling, ICML 2019).

    Args:
      clicks: binary [users, items].
      left_out: share of the edges that are pruned, from 0 to below 1; one edge at least is kept.
    """

    def __init__(self, clicks: sparse.csr_matrix, left_out: float) -> None:
        edges = sparse.coo_matrix(clicks)
        self._users, self._items = clicks.shape
        self._ends = tf.constant(np.stack([edges.row, edges.col], axis=1), tf.int32)
        by_user, by_item = np.bincount(edges.row), np.bincount(edges.col)
        self._log_chance = tf.constant(-0.5 * np.log(by_user[edges.row] * by_item[edges.col]), tf.float32)
        self._kept = max(1, int(edges.nnz * (1 - left_out)))

    def kept(self, uniform: tf.Tensor) -> tf.Tensor:
        """Users and items of the edges that are kept, int32 [kept, 2].

        Args:
          uniform: numbers float32 [edges] in [0, 1) that decide.
        """
        tiny = 1e-20
        noise = -tf.math.log(-tf.math.log(uniform + tiny) + tiny)
        _, places = tf.math.top_k(self._log_chance + noise, self._kept, sorted=False)
        # In the order of the edges, so that sums over them are always taken in one order.
        return tf.gather(self._ends, tf.sort(places))

    def graph(self, uniform: tf.Tensor) -> tf.SparseTensor:
        """D^-1/2 A D^-1/2 of the kept edges, float32 [users + items, users + items], users first, indices in order.

        Args:
          uniform: see `kept`.
        """
        ends = self.kept(uniform)
        nodes = ends + tf.constant([0, self._users])
        degrees = tf.math.bincount(
            tf.reshape(nodes, [-1]), minlength=self._users + self._items, maxlength=self._users + self._items
        )
        scale = tf.math.rsqrt(tf.maximum(tf.cast(degrees, tf.float32), 1))
        weights = tf.reduce_prod(tf.gather(scale, nodes), axis=1)
        there = tf.cast(tf.concat([nodes, nodes[:, ::-1]], axis=0), tf.int64)
        size = self._users + self._items
        return tf.sparse.reorder(tf.SparseTensor(there, tf.concat([weights, weights], axis=0), [size, size]))

    @property
    def edges(self) -> int:
        """Edges of the whole graph."""
        return int(self._ends.shape[0])
