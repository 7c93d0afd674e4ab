"""Communication between the replicas of a training step: their candidates, and how often a row occurs among them.

A step of several replicas computes what one replica would compute on the whole batch. The loss of a replica is its
share of the loss of the whole batch, so that losses and gradients summed over the replicas are those of a single one.
Outside of `tf.distribute` there is one replica, and gathers return their arguments.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def count() -> int:
    """Returns the number of replicas that share the current step."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def gathered(values: tf.Tensor) -> tf.Tensor:
    """Gathers the values of all replicas.

    The gradient of a replica's values is the sum of the gradients from all replicas.

    Args:
      values: [n, ...], the values of this replica.

    Returns:
      [replicas * n, ...], in the order of the replicas.
    """
    return values if count() == 1 else _gathered(values)


@tf.custom_gradient
def _gathered(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    context = tf.distribute.get_replica_context()

    # The gradient of all_gather itself would gather the sizes once more.
    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, upstream)
        size = tf.shape(values)[0]
        replica_id = context.replica_id_in_sync_group
        return summed[replica_id * size : (replica_id + 1) * size]

    return context.all_gather(values, axis=0), gradient


def gathered_own_first(values: tf.Tensor) -> tf.Tensor:
    """Gathers the values of all replicas as `gathered`, rotated so that those of this replica come first."""
    if count() == 1:
        return values
    replica_id = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.roll(gathered(values), -replica_id * tf.shape(values)[0], axis=0)


def occurrences(keys: tf.Tensor) -> tf.Tensor:
    """Counts how often each key of this replica occurs among the keys of all replicas.

    Args:
      keys: int32 [n], where n may differ between replicas.

    Returns:
      int32 [n].
    """
    if count() == 1:
        _, unique_index, times = tf.unique_with_counts(keys)
        return tf.gather(times, unique_index)
    # all_gather needs a tensor that is placed on a device, which a tensor of the input pipeline is only after an
    # identity.
    every_key = tf.distribute.get_replica_context().all_gather(tf.identity(keys), axis=0)
    _, unique_index = tf.unique(tf.concat([keys, every_key], axis=0))
    own, every = unique_index[: tf.size(keys)], unique_index[tf.size(keys) :]
    return tf.gather(tf.math.bincount(every), own)
