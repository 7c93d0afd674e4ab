"""Stateless random numbers: a function of the run's seed, the training step and their purpose, and of nothing else."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

PURPOSES = (
    "interaction",
    "pool",
    "user",
    "positive_id_dropped",
    "negative_id_dropped",
    "walk",
    "slot",
    "where",
    "popular",
    "dropout",
    "noise",
    "edges",
    "columns",
    "between",
    "weight",
)
"""The purposes of random numbers, each with a stream of its own. New ones are appended at the end, since the position
of a purpose is part of its seed and trainings must stay reproducible."""
_STREAMS = 10
"""Number of streams that the seeds of consecutive runs are apart. Purposes beyond that many have seeds above _BEYOND,
where they cannot meet the streams of another run."""
_BEYOND = 1 << 40


class StatelessRandom:
    """Random numbers of a training step. Those of step k are the same whether or not earlier steps were taken.

    Args:
      seed: seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def uniform(self, shape: Any, step: tf.Tensor, purpose: str) -> tf.Tensor:
        """Draws uniform numbers in [0, 1), float32.

        Args:
          shape: shape of the result.
          step: int64 scalar.
          purpose: one of PURPOSES.
        """
        return tf.random.stateless_uniform(shape, self.seed(step, purpose))

    def seed(self, step: tf.Tensor, purpose: str) -> tf.Tensor:
        """Returns the seed of a purpose at a step, int64 [2], for TensorFlow's stateless ops."""
        stream = PURPOSES.index(purpose)
        number = self._seed * _STREAMS + stream
        if stream >= _STREAMS:
            number += _BEYOND
        return tf.stack([tf.constant(number, tf.int64), step])


class ReplicaShare:
    """Divides a batch among replicas.

    Args:
      replicas: number of replicas that share a batch.
    """

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas

    def of(self, values: tf.Tensor, replica: int | tf.Tensor) -> tf.Tensor:
        """Returns one replica's part of the values of the whole batch.

        Args:
          values: [batch, ...], where batch is a multiple of the number of replicas.
          replica: int64 scalar, the index of the replica, from 0.
        """
        if self.replicas == 1:
            return values
        size = tf.shape(values, tf.int64)[0] // self.replicas
        return values[replica * size : (replica + 1) * size]

    def own_first(self, values: tf.Tensor, replica: int | tf.Tensor) -> tf.Tensor:
        """Rotates the values of the whole batch so that one replica's own come first.

        Args:
          values: [batch].
          replica: int64 scalar, the index of the replica, from 0.
        """
        if self.replicas == 1:
            return values
        size = tf.size(values, tf.int64) // self.replicas
        return tf.roll(values, -replica * size, axis=0)
