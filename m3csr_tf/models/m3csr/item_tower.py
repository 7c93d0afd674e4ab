"""The item tower: an item's id and content, weighted by the popularity gate (equations 10 and 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import M3CSRConfig
from m3csr_tf.layers.popularity_gate import PopularityGate
from m3csr_tf.models.m3csr.item_encoder import ItemEncoder
from m3csr_tf.models.m3csr.layout import ID_PART


class ItemTower(tf.keras.Model):
    """Item vectors h_i = concat((1 - delta) e_i^id, delta h_i^v, delta h_i^t, ..., a, b) (equation 11, and popularity).

    A modality that an item lacks contributes zeros. Without the gate (the ablation "w/o Gate") no part is weighted.

    With model.popularity_bias two entries are added that say how popular the item is for every user: its content
    popularity a, the sum of delta v_m . e_i^m over the modalities, and b, a number for each popularity bin. They are
    not in the paper. They let the other parts learn tastes alone, distinguish new items for users of whom nothing is
    known, and make the balance between new items and others visible and adjustable (`exposure`).

    Args:
      config: the model's settings.
      encoder: the item encoder, which is shared with the user tower.
      bins: number of popularity bins.
    """

    def __init__(self, config: M3CSRConfig, encoder: ItemEncoder, bins: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.gate = PopularityGate(bins, config.dim, name="gate") if config.gate else None
        self.popularity_bias = (
            self.add_weight(name="popularity_bias", shape=[bins], initializer="zeros")
            if config.popularity_bias
            else None
        )
        # This is a list, because a modality may have the name of an attribute that Keras reserves.
        self.content_popularity_kernels = [
            tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name=f"content_popularity_{name}")
            for name in (encoder.modalities if config.popularity_bias else ())
        ]

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns item vectors, float32 [items, D].

        Args:
          features: the features of `ItemEncoder.call`, and popularity_bin int32 [items].
        """
        present = features[columns.CLUSTER_IDS] > 0
        encoded, bins = self.encoder(features), features[columns.POPULARITY_BIN]
        return self.combine(encoded, self.content_popularity(features), present, bins, self.gated_bins(features))

    def gated_bins(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the popularity bins that the gate reads, int32 [items]: 0 for an item whose id training has not seen.

        However often such a video has been viewed, its id carries no information yet. Arguments are those of `call`.
        """
        return tf.where(self.encoder.are_new(features), 0, features[columns.POPULARITY_BIN])

    def content_popularity(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the popularity v_m . e_i^m that is estimated from the scaled content of each modality m.

        Args:
          features: under the name of each modality, its scaled content float32 [items, width].

        Returns:
          float32 [items, modalities]; [items, 0] without model.popularity_bias.
        """
        names = self.encoder.modalities
        if not self.content_popularity_kernels:
            return tf.zeros_like(features[names[0]][:, :0])
        by_modality = [
            kernel(features[name]) for name, kernel in zip(names, self.content_popularity_kernels, strict=True)
        ]
        return tf.concat(by_modality, axis=1)

    def combine(
        self,
        encoded: Mapping[str, tf.Tensor],
        content_popularity: tf.Tensor,
        present: tf.Tensor,
        bins: tf.Tensor,
        gated: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the item vectors of items that are already encoded.

        Args:
          encoded: the output of the encoder for these items.
          content_popularity: the output of `content_popularity` for these items.
          present: bool [items, modalities], False where an item lacks the modality.
          bins: popularity bins int32 [items].
          gated: the popularity bins that the gate reads (`gated_bins`), int32 [items].

        Returns:
          float32 [items, D].
        """
        id_weight, content_weight = self.weights_of(present, gated)
        parts = [id_weight * encoded[ID_PART]]
        for position, name in enumerate(self.encoder.modalities):
            parts.append(content_weight[:, position, tf.newaxis] * encoded[name])
        if self.popularity_bias is not None:
            parts.append(tf.reduce_sum(content_weight * content_popularity, axis=1, keepdims=True))
            parts.append(tf.gather(self.popularity_bias, bins)[:, tf.newaxis])
        return tf.concat(parts, axis=1)

    def combine_scores(
        self,
        parts: Sequence[tf.Tensor],
        content_popularity: tf.Tensor,
        history_weight: tf.Tensor,
        present: tf.Tensor,
        bins: tf.Tensor,
        gated: tf.Tensor,
    ) -> tf.Tensor:
        """Computes scores of pairs from the scores of their parts, equal to dot products with what `combine` returns.

        Args:
          parts: the dot products of the user's parts with e_i^id and with each h_i^m, float32 [...] each.
          content_popularity: the output of `content_popularity` for the items, float32 [..., modalities].
          history_weight: the entry of the user vectors by which content popularity is multiplied, float32 [...], or a
            shape that broadcasts to it.
          present, bins, gated: see `combine`; bool [..., modalities] and int32 [...].

        Returns:
          float32 [...].
        """
        id_weight, content_weight = self.weights_of(present, gated)
        score = id_weight[..., 0] * parts[0]
        for position, part in enumerate(parts[1:]):
            score += content_weight[..., position] * part
        if self.popularity_bias is None:
            return score
        return (
            score
            + history_weight * tf.reduce_sum(content_weight * content_popularity, axis=-1)
            + tf.gather(self.popularity_bias, bins)
        )

    def weights_of(self, present: tf.Tensor, bins: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the weights of an item's id and modalities in equation 11, float32 [..., 1] and [..., modalities].

        Args:
          present: bool [..., modalities], False where an item lacks the modality.
          bins: the popularity bins that the gate reads, int32 [...].
        """
        has = tf.cast(present, tf.float32)
        if self.gate is None:
            return tf.ones_like(has[..., :1]), has
        delta = self.gate(bins)
        return 1.0 - delta, has * delta
