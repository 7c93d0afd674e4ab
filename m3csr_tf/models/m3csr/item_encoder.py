"""What both towers know of an item: its id embedding and each modality's representation, encoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import M3CSRConfig
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.layers.modal_encoder import ModalEncoder
from m3csr_tf.models.m3csr.layout import ID_PART, modal_width
from m3csr_tf.ops.hashing import table_size


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

    def __init__(self, config: M3CSRConfig, items: int, clusters: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.modalities: Sequence[str] = tuple(clusters)
        self.id_embedding = self.add_weight(
            name="id_embedding",
            shape=[table_size(items, config.item_hash_rows), config.id_width],
            initializer="glorot_uniform",
        )
        self.id_rows = self.add_weight(
            name="id_rows", shape=[items], dtype=tf.int32, trainable=False, initializer="zeros"
        )
        if config.item_hash_rows is None:
            self.id_rows.assign(tf.range(items))
        # A list, since a modality may be called like an attribute that Keras keeps for itself.
        self.id_maps = [
            tf.keras.layers.Dense(config.id_width, use_bias=False, kernel_initializer="zeros", name=f"id_of_{name}")
            for name in (clusters if config.new_ids == "content" else ())
        ]
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
        return {ID_PART: self.ids(features), **self.modal(features)}

    def ids(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """e_i^id float32 [items, d]; of items whose id training has not seen, `new_ids`. Arguments as in `call`.

        Where features have id_vector float32 [items, d], those are the ids of items that the table would know:
        batches of training ask for ids that have not seen their clicks (`graph.cross_fitting`).
        """
        own = features.get(columns.ID_VECTOR)
        if own is None:
            own = tf.gather(self.id_embedding, tf.gather(self.id_rows, features[columns.ITEM_ROW]))
        return tf.where(self.are_new(features)[:, tf.newaxis], self.new_ids(features), own)

    def are_new(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Whether training has not seen the ids of items, bool [items]. Arguments as in `ids`.

        Of ids that a batch brings it has not seen those that are all zeros, but for "nothing", the padding item.
        """
        rows = tf.gather(self.id_rows, features[columns.ITEM_ROW])
        brought = features.get(columns.ID_VECTOR)
        if brought is None:
            return rows == UNKNOWN_ROW
        return (rows == UNKNOWN_ROW) | (tf.reduce_all(brought == 0, axis=1) & (rows != PADDING_ROW))

    def new_ids(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What stands for e_i^id of items as if their ids were unknown, float32 [items, d]. Arguments as in `call`.

        The row of unknown ids, and with model.new_ids=content the sum over the modalities of a linear map of their
        scaled content. Gantner et al. 2010 and CB2CF (Barkan et al. 2019) map content to the factors of new items
        alike; here training goes on with the map, on candidates of id dropout.
        """
        unknown = tf.gather(self.id_embedding, [UNKNOWN_ROW])
        mapped = [layer(features[name]) for name, layer in zip(self.modalities, self.id_maps, strict=False)]
        if not mapped:
            return tf.repeat(unknown, tf.shape(features[columns.ITEM_ROW])[0], axis=0)
        return unknown + tf.add_n(mapped)

    def modal(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The modalities of `call` alone."""
        return {
            name: encoder(features[name], features[columns.CLUSTER_IDS][:, position])
            for position, (name, encoder) in enumerate(self.modal_encoders.items())
        }
