"""Batched products of vectors with small matrices, one matrix for each user or example.

The custom gradients read each matrix once.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from m3csr_tf.ops.gradients import own_gradient

_Gradient = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@own_gradient
def dot_products(queries: tf.Tensor, vectors: tf.Tensor) -> tuple[tf.Tensor, _Gradient]:
    """Computes the dot products of each query with vectors of its own.

    Args:
      queries: float32 [queries, width].
      vectors: float32 [queries, n, width].

    Returns:
      float32 [queries, n].
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        query_gradient = _narrow_matmul(upstream[:, tf.newaxis], vectors)[:, 0]
        return query_gradient, upstream[:, :, tf.newaxis] * queries[:, tf.newaxis]

    return tf.reduce_sum(queries[:, tf.newaxis] * vectors, axis=2), gradient


@own_gradient
def matches(queries: tf.Tensor, slot_vectors: tf.Tensor) -> tuple[tf.Tensor, _Gradient]:
    """Computes the dot products of each user's queries with the vectors in her history slots.

    Args:
      queries: float32 [users, heads, width].
      slot_vectors: float32 [users, slots, width].

    Returns:
      float32 [users, heads, slots].
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _narrow_matmul(upstream, slot_vectors), _outer(upstream, queries)

    return _narrow_matmul(queries, slot_vectors, adj_y=True), gradient


@own_gradient
def weighted_sums(weights: tf.Tensor, slot_vectors: tf.Tensor) -> tuple[tf.Tensor, _Gradient]:
    """Computes weighted sums of the vectors in each user's history slots.

    Args:
      weights: float32 [users, heads, slots].
      slot_vectors: float32 [users, slots, width].

    Returns:
      float32 [users, heads, width].
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _narrow_matmul(upstream, slot_vectors, adj_y=True), _outer(weights, upstream)

    return _narrow_matmul(weights, slot_vectors), gradient


def _narrow_matmul(x: tf.Tensor, y: tf.Tensor, adj_y: bool = False) -> tf.Tensor:
    if x.shape[1] == 1:
        # oneDNN, which runs the op of `tf.matmul`, is slow at products of a matrix and a vector; the raw op avoids it.
        return tf.raw_ops.BatchMatMulV3(x=x, y=y, Tout=tf.float32, adj_y=adj_y)
    return tf.matmul(x, y, transpose_b=adj_y)


def _outer(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Sums outer products over the heads.

    Args:
      x: float32 [users, heads, slots].
      y: float32 [users, heads, width].

    Returns:
      float32 [users, slots, width].
    """
    if x.shape[1] == 1:
        return x[:, 0, :, tf.newaxis] * y
    return tf.matmul(x, y, transpose_a=True)
