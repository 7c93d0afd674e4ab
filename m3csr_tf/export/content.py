"""Scales content and finds nearest cluster centres inside a graph, as `features.content` and `features.clusters` do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from m3csr_tf.features.clusters import Clusters
from m3csr_tf.features.content import ContentScaler


class Content(NamedTuple):
    """Content in the form that the towers take.

    Attributes:
      scaled: modality -> float32 [items, width], zeros where an item lacks it.
      cluster_ids: int32 [items, modalities], from 1; 0 where an item lacks the modality.
    """

    scaled: dict[str, tf.Tensor]
    cluster_ids: tf.Tensor


class ContentTransform(tf.Module):
    """Transforms raw content vectors to scaled ones and cluster ids, so that serving cannot differ from training.

    Args:
      scaler: the scaler that was fitted on the training items.
      clusters: the centres of the scaled content.
    """

    def __init__(self, scaler: ContentScaler, clusters: Clusters) -> None:
        super().__init__(name="content")
        self._modalities = tuple(clusters.centres)
        self._joint = clusters.kind == "joint"
        self._l2 = scaler.l2
        self._shift = {name: tf.constant(scaler.shift[name]) for name in self._modalities}
        self._scale = {name: tf.constant(scaler.scale[name]) for name in self._modalities}
        self._projection = {name: tf.constant(matrix) for name, matrix in scaler.projection.items()}
        self._centres = {name: tf.constant(clusters.centres[name]) for name in self._modalities}

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> Content:
        """Transforms the content of items.

        Args:
          raw: modality -> float32 [items, width]; a row with a NaN means that the item lacks the modality.
        """
        scaled, present, distances = {}, {}, {}
        for name in self._modalities:
            present[name] = tf.logical_not(tf.reduce_any(tf.math.is_nan(raw[name]), axis=1))
            vectors = (raw[name] - self._shift[name]) * self._scale[name]
            vectors = tf.where(present[name][:, tf.newaxis], vectors, 0.0)
            if name in self._projection:
                vectors = tf.matmul(vectors, self._projection[name])
            if self._l2:
                vectors = tf.math.divide_no_nan(vectors, tf.norm(vectors, axis=1, keepdims=True))
            scaled[name] = vectors
            centres = self._centres[name]
            distances[name] = tf.reduce_sum(centres**2, axis=1) - 2.0 * tf.matmul(vectors, centres, transpose_b=True)
        if self._joint:
            distances = dict.fromkeys(self._modalities, tf.add_n(list(distances.values())))
        nearest = [
            tf.where(present[name], tf.argmin(distances[name], axis=1, output_type=tf.int32) + 1, 0)
            for name in self._modalities
        ]
        return Content(scaled, tf.stack(nearest, axis=1))
