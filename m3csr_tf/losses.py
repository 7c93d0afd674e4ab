"""The pairwise loss on a TFRS score matrix (equation 12) and the orthogonality loss (equation 8)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import tensorflow as tf

LOWEST_USABLE_SCORE = -1e30
"""A score below it marks a candidate that must not count (TFRS masks with the lowest float32 / 100)."""


class BPRLoss(tf.keras.losses.Loss):
    """Mean over examples of -log sigmoid(s_positive - s_negative) (equation 12).

    With several negatives an example's terms are averaged: evenly, or by the softmax of the negatives' scores, which
    gives the hard ones their due. The weights are constants to the gradient.

    Args:
      weighting: "uniform" or "softmax".
      reduction: of the examples' losses, as Keras has it; a mean, unless replicas share a batch.
    """

    def __init__(
        self,
        weighting: str = "uniform",
        reduction: str = tf.keras.losses.Reduction.SUM_OVER_BATCH_SIZE,
        name: str = "bpr",
    ) -> None:
        # TFRS hands over whole matrices, so an example's mean is taken here and Keras only reduces examples.
        super().__init__(reduction=reduction, name=name)
        if weighting not in {"uniform", "softmax"}:
            raise ValueError(f"weighting must be uniform or softmax, got {weighting!r}")
        self.weighting = weighting

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Loss of each example, float32 [examples].

        Args:
          y_true: one-hot float32 [examples, candidates], 1 at the positive.
          y_pred: scores float32 [examples, candidates]; below LOWEST_USABLE_SCORE: masked.
        """
        positive = tf.reduce_sum(tf.where(y_true > 0, y_pred, 0.0), axis=1, keepdims=True)
        usable = tf.logical_and(y_true <= 0, y_pred > LOWEST_USABLE_SCORE)
        terms = tf.nn.softplus(tf.where(usable, y_pred - positive, 0.0))
        if self.weighting == "softmax":
            weights = tf.stop_gradient(tf.nn.softmax(tf.where(usable, y_pred, LOWEST_USABLE_SCORE), axis=1))
        else:
            counted = tf.cast(usable, tf.float32)
            weights = tf.math.divide_no_nan(counted, tf.reduce_sum(counted, axis=1, keepdims=True))
        return tf.reduce_sum(tf.where(usable, weights * terms, 0.0), axis=1)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the loss."""
        return {"weighting": self.weighting, "reduction": self.reduction, "name": self.name}


def orthogonality_loss(weighted_interests: Sequence[tf.Tensor]) -> tf.Tensor:
    """Squared dot products of every pair of a user's weighted interests (equation 8), float32 [users].

    Args:
      weighted_interests: one float32 [users, h] a modality; one modality alone costs nothing.
    """
    total = tf.zeros(tf.shape(weighted_interests[0])[:1])
    for first, second in combinations(weighted_interests, 2):
        total += tf.square(tf.reduce_sum(first * second, axis=1))
    return total
