"""Degree-sensitive pruning of a user-item graph (Zhou and Shen, MM 2023, section 3), with stateless randomness."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy import sparse


class EdgePruning:
    """A random share of the edges of a click graph, in which edges of popular items and heavy users are rarer.

    Edges are drawn without replacement. The probability of the edge between a user with n_u clicks and an item with n_i
    clicks is proportional to 1 / sqrt(n_u n_i). The edges with the largest log p + Gumbel noise are such a draw
    (Gumbel-top-k; Kool, van Hoof and Welling, ICML 2019).

    Args:
      clicks: binary [users, items].
      left_out: share of the edges that are pruned, at least 0 and below 1. At least one edge is kept.
    """

    def __init__(self, clicks: sparse.csr_matrix, left_out: float) -> None:
        edges = sparse.coo_matrix(clicks)
        self._users, self._items = clicks.shape
        self._ends = tf.constant(np.stack([edges.row, edges.col], axis=1), tf.int32)
        by_user, by_item = np.bincount(edges.row), np.bincount(edges.col)
        self._log_chance = tf.constant(-0.5 * np.log(by_user[edges.row] * by_item[edges.col]), tf.float32)
        self._kept = max(1, int(edges.nnz * (1 - left_out)))

    def kept(self, uniform: tf.Tensor) -> tf.Tensor:
        """Draws the edges that are kept.

        Args:
          uniform: random numbers float32 [edges] in [0, 1).

        Returns:
          Users and items of the edges, int32 [kept, 2], in the order of all edges.
        """
        tiny = 1e-20
        noise = -tf.math.log(-tf.math.log(uniform + tiny) + tiny)
        _, positions = tf.math.top_k(self._log_chance + noise, self._kept, sorted=False)
        # The positions are sorted, so that sums over the edges are always taken in the same order.
        return tf.gather(self._ends, tf.sort(positions))

    def graph(self, uniform: tf.Tensor) -> tf.SparseTensor:
        """Draws a pruned graph and normalises its adjacency matrix A to D^-1/2 A D^-1/2.

        Args:
          uniform: as in `kept`.

        Returns:
          float32 [users + items, users + items], users first, with its indices in row-major order.
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
        """Number of edges of the whole graph."""
        return int(self._ends.shape[0])
