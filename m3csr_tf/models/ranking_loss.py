"""The ranking loss of a batch (equation 12) for each `negatives.kind`, which all models share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from m3csr_tf.config import Config
from m3csr_tf.ops import replicas
from m3csr_tf.tasks import retrieval_task


class RankingLoss:
    """The sum of the losses of a batch's examples, computed by the run's retrieval task (`tasks.retrieval_task`).

    Where replicas share a batch, an example's negatives come from all replicas.

    Args:
      config: the run's settings.
    """

    def __init__(self, config: Config) -> None:
        self._kind = config.negatives.kind
        self._task = retrieval_task(config)

    def of_vectors(self, batch: Mapping[str, Any], users: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns the loss of vectors whose dot products are the scores, a scalar.

        Args:
          batch: "positive" [batch]; "allowed" bool [batch, negatives], False where a negative must not count; and with
            in-batch negatives "positive_probability", float32 [positives of all replicas].
          users: the user vectors of the examples, float32 [batch, D].
          candidates: the item vectors, float32 [batch + negatives, D], those of the examples' positives first.
        """
        size = tf.shape(users)[0]
        positives, negatives = tf.split(candidates, [size, tf.shape(candidates)[0] - size])
        if self._kind == "uniform":
            scores = (tf.reduce_sum(users * one, axis=1, keepdims=True) for one in (positives, negatives))
            return self.of_pairs(batch, *scores)
        if self._kind == "shared":
            return self._task(users, positives, replicas.gathered(negatives), score_mask=batch["allowed"])
        everyones = replicas.gathered_own_first(positives)
        return self._in_batch(users, everyones, batch["positive_probability"], batch["allowed"])

    def of_pairs(self, batch: Mapping[str, Any], positive_scores: tf.Tensor, negative_scores: tf.Tensor) -> tf.Tensor:
        """Returns the loss of scores, float32 [batch, 1] each, of examples with a negative of their own, a scalar."""
        return self._task(positive_scores, negative_scores, score_mask=batch["allowed"])

    @tf.function  # The square task needs AutoGraph, which the training loop switches off.
    def _in_batch(
        self, users: tf.Tensor, candidates: tf.Tensor, probability: tf.Tensor, allowed: tf.Tensor
    ) -> tf.Tensor:
        return self._task(
            users,
            candidates,
            candidate_sampling_probability=probability,
            score_mask=allowed,
            compute_metrics=False,
        )
