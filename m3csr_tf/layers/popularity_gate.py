"""The popularity gate: how much weight an item's content has against its id (equation 10)."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


class PopularityGate(tf.keras.layers.Layer):
    """delta = sigmoid(w_pop^T e_i^pop + b_pop), with a trainable e^pop for each popularity bin.

    Args:
      bins: number of popularity bins; bin 0 holds items without a click or view.
      dim: width d of e^pop.
    """

    def __init__(self, bins: int, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = bins
        self.dim = dim
        self.popularity_embedding = self.add_weight(
            name="popularity_embedding", shape=[bins, dim], initializer="glorot_uniform"
        )
        self.score = tf.keras.layers.Dense(1, name="score")

    def call(self, bins: tf.Tensor) -> tf.Tensor:
        """Computes the content weights delta of items.

        Args:
          bins: popularity bins int32 [items].

        Returns:
          float32 [items, 1], in (0, 1).
        """
        return tf.gather(tf.sigmoid(self.score(self.popularity_embedding)), bins)

    def initialise_weights(self, weights: np.ndarray) -> None:
        """Initialises the layer, which must be built, so that it gives these content weights.

        The first entry of each e^pop is set to the logit of its weight. The other entries keep their random initial
        values, and their weights in w_pop begin at 0.

        Args:
          weights: the content weight delta of each bin, float [bins] in (0, 1).
        """
        first = tf.one_hot([0], self.dim)
        logits = np.log(weights / (1 - weights)).astype(np.float32)[:, np.newaxis]
        self.popularity_embedding.assign(first * logits + (1 - first) * self.popularity_embedding)
        self.score.kernel.assign(tf.transpose(first))
        self.score.bias.assign([0.0])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that rebuild the layer."""
        return super().get_config() | {"bins": self.bins, "dim": self.dim}
