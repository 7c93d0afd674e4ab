"""Random numbers that are a function of the run's seed, the training step and their purpose alone."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

PURPOSES = (
    "interaction",
    "pool",
    "user",
    "positive_as_new",
    "negative_as_new",
    "walk",
    "slot",
    "where",
    "popular",
    "dropout",
    "noise",
    "edges",
    "columns",
    "between",
)
"""What numbers may be drawn for; each purpose has a stream of its own. Append, so that trainings stay reproducible."""
_STREAMS = 10
"""Streams of one seed that trainings have always had; later purposes lie beyond those of all seeds."""
_BEYOND = 1 << 40


class StatelessDraws:
    """Draws of a training step; those of step k are the same whether or not the steps before it were taken.

    Args:
      seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def uniform(self, shape: Any, step: tf.Tensor, purpose: str) -> tf.Tensor:
        """Numbers float32 in [0, 1) of a shape.

        Args:
          shape: of the numbers.
          step: int64 scalar.
          purpose: one of PURPOSES.
        """
        return tf.random.stateless_uniform(shape, self.seed(step, purpose))

    def seed(self, step: tf.Tensor, purpose: str) -> tf.Tensor:
        """The seed of a purpose at a step, int64 [2]."""
        stream = PURPOSES.index(purpose)
        number = self._seed * _STREAMS + stream
        if stream >= _STREAMS:
            number += _BEYOND
        return tf.stack([tf.constant(number, tf.int64), step])


class ReplicaShare:
    """The part of a batch that one of several replicas takes.

    Args:
      replicas: how many share a batch.
    """

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas

    def of(self, values: tf.Tensor, place: int | tf.Tensor) -> tf.Tensor:
        """What the replica of a place, int64 scalar from 0, takes of the values of all [all, ...]."""
        if self.replicas == 1:
            return values
        size = tf.shape(values, tf.int64)[0] // self.replicas
        return values[place * size : (place + 1) * size]

    def own_first(self, values: tf.Tensor, place: int | tf.Tensor) -> tf.Tensor:
        """The values of all replicas [all], turned so that they begin with a replica's own."""
        if self.replicas == 1:
            return values
        size = tf.size(values, tf.int64) // self.replicas
        return tf.roll(values, -place * size, axis=0)
