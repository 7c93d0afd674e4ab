"""The layer that predicts ids of new items from their content, by the kernel regression of `graph.id_prediction`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class IdPrediction(tf.keras.layers.Layer):
    """sum_j exp(-|s - z_j|^2) c_j: kernel values of an item's content s and that of landmarks z_j, times coefficients.

    s consists of a part for each modality: its scaled content times factors a, set to a given length. No weight is
    trained: gradient steps made predictions worse than a regression over many items (docs/results.md). Until `assign`
    the prediction is zeros.

    Args:
      landmarks: number of landmarks.
      dim: width d of ids.
    """

    def __init__(self, landmarks: int, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.landmarks = landmarks
        self.dim = dim

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """Creates the weights for content of the given shapes, [items, width] each."""
        widths = [shape[-1] for shape in input_shape]

        def fixed(name: str, shape: list[int], initializer: str) -> tf.Variable:
            return self.add_weight(name=name, shape=shape, initializer=initializer, trainable=False)

        self.axis_scales = [fixed(f"axis_scales_{number}", [width], "ones") for number, width in enumerate(widths)]
        self.sizes = fixed("sizes", [len(widths)], "ones")
        self.landmark_vectors = fixed("landmark_vectors", [self.landmarks, sum(widths)], "zeros")
        self.coefficients = fixed("coefficients", [self.landmarks, self.dim], "zeros")
        super().build(input_shape)

    def call(self, content: Sequence[tf.Tensor]) -> tf.Tensor:
        """Predicts ids of items.

        Args:
          content: scaled vectors of each modality, in order, float32 [items, width]; zeros where absent.

        Returns:
          float32 [items, d].
        """
        parts = []
        for position, (vectors, scales) in enumerate(zip(content, self.axis_scales, strict=True)):
            scaled = vectors * scales
            lengths = tf.norm(scaled, axis=1, keepdims=True)
            parts.append(self.sizes[position] * tf.math.divide_no_nan(scaled, lengths))
        # No distance depends on the origin. Near the vectors their squared lengths, and so rounding errors, are small.
        origin = tf.reduce_mean(self.landmark_vectors, axis=0)
        compared, landmarks = tf.concat(parts, axis=1) - origin, self.landmark_vectors - origin
        distances = (
            tf.reduce_sum(tf.square(compared), axis=1, keepdims=True)
            + tf.reduce_sum(tf.square(landmarks), axis=1)
            - 2 * tf.matmul(compared, landmarks, transpose_b=True)
        )
        return tf.matmul(tf.exp(-tf.maximum(distances, 0.0)), self.coefficients)

    def assign(
        self, axis_scales: Mapping[str, np.ndarray], sizes: np.ndarray, landmarks: np.ndarray, coefficients: np.ndarray
    ) -> None:
        """Sets the weights of the layer, which must be built.

        Args:
          axis_scales: modality -> float32 [width], the factors a, in the order of the content.
          sizes: float [modalities], the lengths of the parts.
          landmarks: float32 [n, sum of widths], the vectors z of at most as many landmarks as the layer has.
          coefficients: float32 [n, d].
        """
        for variable, scales in zip(self.axis_scales, axis_scales.values(), strict=True):
            variable.assign(scales)
        self.sizes.assign(sizes.astype(np.float32))
        missing = [[0, self.landmarks - len(landmarks)], [0, 0]]
        self.landmark_vectors.assign(np.pad(landmarks, missing))
        self.coefficients.assign(np.pad(coefficients, missing))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that rebuild the layer."""
        return super().get_config() | {"landmarks": self.landmarks, "dim": self.dim}
