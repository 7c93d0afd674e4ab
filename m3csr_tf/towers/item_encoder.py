"""What both towers know of an item: its id embedding and each modality's representation, encoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import ModelConfig
from m3csr_tf.layers.modal_encoder import ModalEncoder
from m3csr_tf.towers.hashing import table_size
from m3csr_tf.towers.layout import ID_PART, modal_width


class ItemEncoder(tf.keras.layers.Layer):
    """The id table and one modal encoder a modality, shared by the towers (section 4.3).

    Args:
      config: the model's settings.
      items: items that can be encoded, padding and unknown included.
      clusters: number of clusters of each modality, in order.

    Attributes:
      id_rows: int32 [items], the row of the id table that an item row reads, not trained: its own at first, or with
        model.item_hash_rows the one that its id hashes to, which whoever knows the ids sets. An item that training
        cannot place reads the unknown row, as a new video does, rather than what its own started from.
    """

    def __init__(self, config: ModelConfig, items: int, clusters: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.modalities: Sequence[str] = tuple(clusters)
        self.id_embedding = self.add_weight(
            name="id_embedding",
            shape=[table_size(items, config.item_hash_rows), config.dim],
            initializer="glorot_uniform",
        )
        self.id_rows = self.add_weight(
            name="id_rows", shape=[items], dtype=tf.int32, trainable=False, initializer="zeros"
        )
        if config.item_hash_rows is None:
            self.id_rows.assign(tf.range(items))
        self.modal_encoders = {
            name: ModalEncoder(modal_width(config), count, config.clusters, name=f"encoder_{name}")
            for name, count in clusters.items()
        }

    def call(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Encodes items, each once.

        Args:
          features: item_row int32 [items], cluster_ids int32 [items, modalities] (0: absent), and under each
            modality's name its scaled content float32 [items, width] (zeros: absent).

        Returns:
          "id": e_i^id float32 [items, d], and under each modality's name h_i^m float32 [items, h].
        """
        return {ID_PART: self.ids(features[columns.ITEM_ROW]), **self.modal(features)}

    def ids(self, rows: tf.Tensor) -> tf.Tensor:
        """e_i^id float32 [items, d] of item rows int32 [items]."""
        return tf.gather(self.id_embedding, tf.gather(self.id_rows, rows))

    def modal(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The modalities of `call` alone."""
        return {
            name: encoder(features[name], features[columns.CLUSTER_IDS][:, position])
            for position, (name, encoder) in enumerate(self.modal_encoders.items())
        }
