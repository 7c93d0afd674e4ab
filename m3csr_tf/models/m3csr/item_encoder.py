"""Encodes what both towers know of an item: its id embedding and the representation of each modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import M3CSRConfig
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.layers.id_prediction import IdPrediction
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
        self.id_prediction = (
            IdPrediction(config.id_landmarks, config.id_width, name="id_prediction")
            if config.new_ids == "content"
            else None
        )
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
        everything = tf.range(tf.shape(own)[0])
        return self.with_new_ids(own, self.are_new(features), features, everything)

    def with_new_ids(
        self, ids: tf.Tensor, new: tf.Tensor, features: Mapping[str, tf.Tensor], indices: tf.Tensor
    ) -> tf.Tensor:
        """Replaces some ids by `new_ids`, which are computed for these alone.

        Args:
          ids: float32 [n, d].
          new: bool [n], where an id is replaced.
          features: under the name of each modality, the scaled content of items, float32 [items, width].
          indices: int32 [n], the item of each id.

        Returns:
          float32 [n, d].
        """
        lines = tf.where(new)
        items = tf.gather(indices, lines[:, 0])
        replacements = self.new_ids({name: tf.gather(features[name], items) for name in self.modalities})
        return tf.tensor_scatter_nd_update(ids, lines, replacements)

    def are_new(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns whether training has not seen the id of each item, bool [items]; arguments are those of `ids`.

        If the batch brings ids, those of all zeros count as unseen, except for "nothing", the padding item.
        """
        rows = tf.gather(self.id_rows, features[columns.ITEM_ROW])
        brought = features.get(columns.ID_VECTOR)
        if brought is None:
            return rows == UNKNOWN_ROW
        return (rows == UNKNOWN_ROW) | (tf.reduce_all(brought == 0, axis=1) & (rows != PADDING_ROW))

    def new_ids(self, content: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns what replaces e_i^id of items with unknown ids, float32 [items, d].

        It is the row of unknown ids and, with model.new_ids=content, what their content predicts (`IdPrediction`).

        Args:
          content: under the name of each modality, its scaled content float32 [items, width].
        """
        vectors = [content[name] for name in self.modalities]
        unknown = tf.gather(self.id_embedding, [UNKNOWN_ROW])
        if self.id_prediction is None:
            return tf.repeat(unknown, tf.shape(vectors[0])[0], axis=0)
        return unknown + self.id_prediction(vectors)

    def modal(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns h_i^m under the name of each modality m; see `call`."""
        return {
            name: encoder(features[name], features[columns.CLUSTER_IDS][:, position])
            for position, (name, encoder) in enumerate(self.modal_encoders.items())
        }
