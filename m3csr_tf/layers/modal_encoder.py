"""The modal encoder: mapped content concatenated with a trainable cluster embedding (equations 1 and 2)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class ModalEncoder(tf.keras.layers.Layer):
    """h_i^m = concat(w_m^T e_i^m + b_m, c_i^m): the representation of items in one modality (equation 2).

    Without clusters (the ablation "w/o Cluster") the content is mapped to the whole width, so that item and user
    vectors keep their widths.

    Args:
      width: width h of the representation; each of the two parts has half of it.
      clusters: number of clusters. The embedding table has one more row, row 0, for items without a cluster.
      use_clusters: whether clusters are used; if not, the content alone is mapped.
    """

    def __init__(self, width: int, clusters: int, use_clusters: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.clusters = clusters
        self.use_clusters = use_clusters
        self.mapping = tf.keras.layers.Dense(width // 2 if use_clusters else width, name="mapping")
        if use_clusters:
            self.cluster_embedding = self.add_weight(
                name="cluster_embedding", shape=[clusters + 1, width // 2], initializer="glorot_uniform"
            )

    def call(self, content: tf.Tensor, cluster_ids: tf.Tensor) -> tf.Tensor:
        """Encodes items.

        Args:
          content: scaled vectors float32 [items, content width]; zeros where absent.
          cluster_ids: int32 [items], 0 where absent.

        Returns:
          float32 [items, width].
        """
        mapped = self.mapping(content)
        if not self.use_clusters:
            return mapped
        return tf.concat([mapped, tf.gather(self.cluster_embedding, cluster_ids)], axis=1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that rebuild the layer."""
        return super().get_config() | {
            "width": self.width,
            "clusters": self.clusters,
            "use_clusters": self.use_clusters,
        }
