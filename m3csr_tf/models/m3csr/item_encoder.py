"""Encodes what both towers know of an item: its id embedding and the representation of each modality."""

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
    """The id table, and one modal encoder for each modality, which the towers share (section 4.3).

    Args:
      config: the model's settings.
      items: number of items that can be encoded, including padding and unknown.
      clusters: number of clusters of each modality, in order.

    Attributes:
      id_rows: int32 [items], the row of the id table that each item row reads; it is not trained. At first an item
        reads its own row. With model.item_hash_rows it reads the row that its id hashes to; the caller, who knows the
        ids, sets these. An item that training cannot place reads the unknown row, as a new video does, and not its own
        untrained row.
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
        # This is a list, because a modality may have the name of an attribute that Keras reserves.
        self.id_maps = [
            tf.keras.layers.Dense(config.id_width, use_bias=False, kernel_initializer="zeros", name=f"id_of_{name}")
            for name in (clusters if config.new_ids == "content" else ())
        ]
        self.modal_encoders = {
            name: ModalEncoder(modal_width(config), count, config.clusters, name=f"encoder_{name}")
            for name, count in clusters.items()
        }

    def call(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Encodes items.

        Args:
          features: item_row int32 [items], cluster_ids int32 [items, modalities] (0 where absent), and under the name
            of each modality its scaled content float32 [items, width] (zeros where absent).

        Returns:
          "id" -> e_i^id float32 [items, d], and the name of each modality -> h_i^m float32 [items, h].
        """
        return {ID_PART: self.ids(features), **self.modal(features)}

    def ids(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns e_i^id, float32 [items, d]; items whose id training has not seen have `new_ids` instead.

        Arguments are those of `call`. If the features have id_vector, float32 [items, d], it replaces the ids of the
        table: batches of training bring ids that were computed without the clicks of their users
        (`graph.cross_fitting`).
        """
        own = features.get(columns.ID_VECTOR)
        if own is None:
            own = tf.gather(self.id_embedding, tf.gather(self.id_rows, features[columns.ITEM_ROW]))
        return tf.where(self.are_new(features)[:, tf.newaxis], self.new_ids(features), own)

    def are_new(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns whether training has not seen the id of each item, bool [items]; arguments are those of `ids`.

        If the batch brings ids, those of all zeros count as unseen, except for "nothing", the padding item.
        """
        rows = tf.gather(self.id_rows, features[columns.ITEM_ROW])
        brought = features.get(columns.ID_VECTOR)
        if brought is None:
            return rows == UNKNOWN_ROW
        return (rows == UNKNOWN_ROW) | (tf.reduce_all(brought == 0, axis=1) & (rows != PADDING_ROW))

    def new_ids(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns what replaces e_i^id of items with unknown ids, float32 [items, d]; arguments are those of `call`.

        It is the row of unknown ids and, with model.new_ids=content, the sum over modalities of a linear map of their
        scaled content. Gantner et al. 2010 and CB2CF (Barkan et al. 2019) also map content to the factors of new items;
        here the map is trained further, on the candidates of id dropout.
        """
        unknown = tf.gather(self.id_embedding, [UNKNOWN_ROW])
        mapped = [layer(features[name]) for name, layer in zip(self.modalities, self.id_maps, strict=False)]
        if not mapped:
            return tf.repeat(unknown, tf.shape(features[columns.ITEM_ROW])[0], axis=0)
        return unknown + tf.add_n(mapped)

    def modal(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns h_i^m under the name of each modality m; see `call`."""
        return {
            name: encoder(features[name], features[columns.CLUSTER_IDS][:, position])
            for position, (name, encoder) in enumerate(self.modal_encoders.items())
        }
