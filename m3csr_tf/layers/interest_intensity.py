"""Multi-modal interest intensity learning: how much a user cares about each modality (equations 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class InterestIntensity(tf.keras.layers.Layer):
    """Softmax over modalities of w_int^T concat(sg(h_u), h_u^m) / tau, where sg stops the gradient.

    Equation 5 has a single w_int. Its term of h_u is then the same for every modality and cancels in the softmax, and
    the interests of all modalities are measured along the same direction. `per_modality` gives each modality a w_int of
    its own.

    Args:
      temperature: tau of equation 6.
      per_modality: use a w_int for each modality instead of one for all.
    """

    def __init__(self, temperature: float, per_modality: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature
        self.per_modality = per_modality

    def build(self, input_shape: Any) -> None:
        """Creates w_int, [1 or modalities, d + h]."""
        behaviour, interests = input_shape
        rows = len(interests) if self.per_modality else 1
        self.kernel = self.add_weight(name="kernel", shape=[rows, behaviour[-1] + interests[0][-1]])
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, Sequence[tf.Tensor]]) -> tf.Tensor:
        """Computes the intensities of users.

        Args:
          inputs: behavioural interests h_u float32 [users, d], and the interests h_u^m float32 [users, h] of each
            modality.

        Returns:
          float32 [users, modalities]; the intensities of a user sum to 1.
        """
        behaviour, interests = inputs
        # h_u and h_u^m are multiplied with their own parts of w_int, so that concat(h_u, h_u^m), which would be the
        # largest tensor here, need not be made.
        behaviour_weights, interest_weights = tf.split(
            self.kernel, [behaviour.shape[-1], interests[0].shape[-1]], axis=1
        )
        each = tf.split(interest_weights, len(interests)) if self.per_modality else [interest_weights] * len(interests)
        factors = [
            tf.matmul(interest, weights, transpose_b=True) for interest, weights in zip(interests, each, strict=True)
        ]
        shared = tf.matmul(tf.stop_gradient(behaviour), behaviour_weights, transpose_b=True)
        return tf.nn.softmax((tf.concat(factors, axis=1) + shared) / self.temperature, axis=1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that rebuild the layer."""
        return super().get_config() | {"temperature": self.temperature, "per_modality": self.per_modality}
