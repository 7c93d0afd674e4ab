"""What the replicas of a training step share: candidates to compare with, and which rows they hold.

A step of several replicas is the step of one over the whole batch: a replica's loss is its part of the whole batch's,
so that the sums of losses and gradients over the replicas are those of one. Outside of `tf.distribute` there is one
replica, and everything here hands on what it was given.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def count() -> int:
    """How many replicas share the present step."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def gathered(values: tf.Tensor) -> tf.Tensor:
    """The values of all replicas in the order of their places, [replicas * n, ...]; each gives [n, ...].

    The gradient of a replica's values is the sum over all replicas that were given them.
    """
    return values if count() == 1 else _gathered(values)


@tf.custom_gradient
def _gathered(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    replica = tf.distribute.get_replica_context()

    # That of all_gather would gather sizes once more.
    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        summed = replica.all_reduce(tf.distribute.ReduceOp.SUM, upstream)
        size = tf.shape(values)[0]
        place = replica.replica_id_in_sync_group
        return summed[place * size : (place + 1) * size]

    return replica.all_gather(values, axis=0), gradient


def gathered_own_first(values: tf.Tensor) -> tf.Tensor:
    """As `gathered`, beginning with this replica's own; the others follow by place, the first after the last."""
    if count() == 1:
        return values
    place = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.roll(gathered(values), -place * tf.shape(values)[0], axis=0)


def occurrences(keys: tf.Tensor) -> tf.Tensor:
    """How often each key int32 [n] occurs among the keys of all replicas, int32 [n]; n may differ between them."""
    if count() == 1:
        _, place, times = tf.unique_with_counts(keys)
        return tf.gather(times, place)
    # all_gather asks where its values are, and what comes from the input is nowhere yet.
    every_key = tf.distribute.get_replica_context().all_gather(tf.identity(keys), axis=0)
    _, place = tf.unique(tf.concat([keys, every_key], axis=0))
    own, every = place[: tf.size(keys)], place[tf.size(keys) :]
    return tf.gather(tf.math.bincount(every), own)
