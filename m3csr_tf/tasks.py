"""Retrieval tasks that score only the pairs they need.

`tfrs.tasks.Retrieval` multiplies every query by every candidate. That is right for in-batch negatives; for one
negative a positive it would use 2B of B x 2B scores, and for negatives that the batch shares it would score every
positive against every query.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_recommenders as tfrs

from m3csr_tf.config import Config
from m3csr_tf.losses import BPRLoss

MASKED_SCORE = tf.float32.min / 100.0
"""What a masked candidate scores, as in `tfrs.tasks.Retrieval`."""


class _ScoredRetrieval(tfrs.tasks.Retrieval):
    """A retrieval task over scores; the base class's loss and metrics options hold."""

    def _loss_of(
        self,
        positive: tf.Tensor,
        negative: tf.Tensor,
        sample_weight: tf.Tensor | None,
        score_mask: tf.Tensor | None,
    ) -> tf.Tensor:
        """The loss of scores float32 [batch, 1] and [batch, negatives]."""
        if self._temperature is not None:
            positive, negative = positive / self._temperature, negative / self._temperature
        if score_mask is not None:
            negative = tf.where(score_mask, negative, MASKED_SCORE)
        scores = tf.concat([positive, negative], axis=1)
        labels = tf.concat([tf.ones_like(positive), tf.zeros_like(negative)], axis=1)
        loss = self._loss(y_true=labels, y_pred=scores, sample_weight=sample_weight)
        updates = [metric.update_state(loss) for metric in self._loss_metrics]
        updates += [metric.update_state(labels, scores, sample_weight=sample_weight) for metric in self._batch_metrics]
        with tf.control_dependencies(updates):
            return tf.identity(loss)


class SampledRetrieval(_ScoredRetrieval):
    """A retrieval task over one positive and sampled negatives an example; the positive is column 0."""

    def call(
        self,
        query_embeddings: tf.Tensor,
        positive_embeddings: tf.Tensor,
        negative_embeddings: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        score_mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The loss of a batch, a scalar.

        Args:
          query_embeddings: float32 [batch, D].
          positive_embeddings: float32 [batch, D].
          negative_embeddings: float32 [negatives, D] that the whole batch shares.
          sample_weight: float32 [batch] or None.
          score_mask: bool [batch, negatives], False where a negative must not count, or None.
        """
        positive = tf.reduce_sum(query_embeddings * positive_embeddings, axis=1, keepdims=True)
        negative = tf.matmul(query_embeddings, negative_embeddings, transpose_b=True)
        return self._loss_of(positive, negative, sample_weight, score_mask)


class PairedRetrieval(_ScoredRetrieval):
    """One negative an example (equation 12 to the letter), on scores: of two pairs an example no vectors are needed."""

    def call(
        self,
        positive_scores: tf.Tensor,
        negative_scores: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        score_mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The loss of a batch, a scalar.

        Args:
          positive_scores, negative_scores: float32 [batch, 1].
          sample_weight: float32 [batch] or None.
          score_mask: bool [batch, 1], False where the negative must not count, or None.
        """
        return self._loss_of(positive_scores, negative_scores, sample_weight, score_mask)


def retrieval_task(config: Config) -> tfrs.tasks.Retrieval:
    """The TFRS task of a configuration: the square one for in-batch negatives, else one that scores what it needs.

    It sums the losses of its examples: what they are a mean over, the replicas' whole batch, it cannot know.
    """
    total = tf.keras.losses.Reduction.SUM
    if config.training.loss == "bpr":
        loss: tf.keras.losses.Loss = BPRLoss(config.training.bpr_weighting, reduction=total)
    else:
        loss = tf.keras.losses.CategoricalCrossentropy(from_logits=True, reduction=total)
    tasks = {"uniform": PairedRetrieval, "shared": SampledRetrieval, "in_batch": tfrs.tasks.Retrieval}
    return tasks[config.negatives.kind](loss=loss)
