"""Attention over items, and their scores, without encoding the items, since the modal encoder is linear.

By equations 1 and 2, h_i = concat(w^T e_i + b, c_i) = M^T x_i + concat(b, 0). Here x_i is the content e_i concatenated
with a one-hot vector of the cluster id, and M is block-diagonal with the blocks w and the table of cluster embeddings.
A dot product q . h_i is therefore (M q) . x_i + q_1 . b, and a weighted mean of h_i is the encoding of the weighted
mean of x_i. The encoder can therefore be applied to queries and to means, of which a batch has several times fewer than
items. The content needs no gradient, and a product with a one-hot vector only picks a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from m3csr_tf.ops.gather import gather_distinct, gather_scalars
from m3csr_tf.ops.products import dot_products
from m3csr_tf.ops.slot_vectors import GatheredVectors, Histories, OneHotVectors, SlotVectors

FEW_ROWS = 128
"""Largest table of cluster embeddings for which cluster ids are treated as one-hot vectors. From larger tables it costs
less to gather rows (docs/performance.md)."""


class LinearEncoder(Protocol):
    """The attributes of `layers.modal_encoder.ModalEncoder` that are used here; ops may not import layers."""

    mapping: tf.keras.layers.Dense
    use_clusters: bool
    cluster_embedding: tf.Variable
    width: int


@dataclass(frozen=True)
class UnmappedItems:
    """Items of one modality before the modal encoder, for uses that apply another linear map to the encoder's output.

    Attributes:
      encoder: the modality's encoder.
      content: scaled vectors float32 [items, content width], to which no gradient flows; zeros where absent.
      cluster_ids: int32 [items], 0 where absent.
      clusters: the encoder's table of cluster embeddings, float32 [clusters + 1, width / 2]; None without clusters.
    """

    encoder: LinearEncoder
    content: tf.Tensor
    cluster_ids: tf.Tensor
    clusters: tf.Tensor | None

    @classmethod
    def of(cls, encoder: LinearEncoder, content: tf.Tensor, cluster_ids: tf.Tensor) -> UnmappedItems:
        """Makes unmapped items of the arguments that the encoder would be called with."""
        if not encoder.mapping.built:
            encoder.mapping(content)
        clusters = tf.convert_to_tensor(encoder.cluster_embedding) if encoder.use_clusters else None
        return cls(encoder, content, cluster_ids, clusters)

    def histories(self, slots: tf.Tensor) -> Histories:
        """Returns the vectors x_i in the slots of histories, in two parts: content, and clusters if there are any.

        Args:
          slots: int32 [users, slots], indices of the items. A slot whose item lacks the modality counts as empty, and
            has the vector of the "nothing" item.
        """
        cluster_ids = tf.gather(self.cluster_ids, slots)
        parts: list[SlotVectors] = [GatheredVectors.fixed(self.content, slots)]
        if self.clusters is not None and _one_hot(self.clusters):
            parts.append(OneHotVectors(cluster_ids, self.clusters.shape[0]))
        elif self.clusters is not None:
            parts.append(GatheredVectors.trained(self.clusters, cluster_ids))
        return Histories(parts, cluster_ids == 0)

    def fold(self, kernel: tf.Tensor) -> list[tf.Tensor]:
        """Multiplies the encoder into a kernel, so that the result maps x_i as the kernel maps h_i.

        The bias of the encoder is left out; `bias_of` gives what it adds.

        Args:
          kernel: float32 [width, outputs].

        Returns:
          float32 [width of the part, outputs] for each part of x_i.
        """
        content_part, cluster_part = self._split(kernel, axis=0)
        folded = [tf.matmul(self.encoder.mapping.kernel, content_part)]
        if self.clusters is not None:
            folded.append(tf.matmul(self.clusters, cluster_part) if _one_hot(self.clusters) else cluster_part)
        return folded

    def bias_of(self, kernel: tf.Tensor) -> tf.Tensor:
        """Returns what the encoder's bias b adds to the outputs of a kernel [width, outputs], float32 [outputs]."""
        content_part, _ = self._split(kernel, axis=0)
        return tf.linalg.matvec(content_part, self.encoder.mapping.bias, transpose_a=True)

    def score_pairs(self, queries: tf.Tensor, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Computes the dot products of each example's query with h_i of the example's own candidates.

        Args:
          queries: float32 [queries, width].
          query: int32 [examples], the index of the query that each example uses.
          candidates: int32 [examples, candidates], indices of the items.

        Returns:
          float32 [examples, candidates].
        """
        content_part, cluster_part = self._split(queries, axis=1)
        folded = tf.matmul(content_part, self.encoder.mapping.kernel, transpose_b=True)
        bias = tf.linalg.matvec(content_part, self.encoder.mapping.bias)
        scores = dot_products(gather_distinct(folded, query), tf.gather(self.content, candidates))
        scores += tf.gather(bias, query)[:, tf.newaxis]
        if self.clusters is None:
            return scores
        cluster_ids = tf.gather(self.cluster_ids, candidates)
        if _one_hot(self.clusters):
            table_scores = tf.matmul(cluster_part, self.clusters, transpose_b=True)
            return scores + gather_scalars(table_scores, query[:, tf.newaxis], cluster_ids)
        return scores + dot_products(gather_distinct(cluster_part, query), gather_distinct(self.clusters, cluster_ids))

    def _split(self, values: tf.Tensor, axis: int) -> list[tf.Tensor]:
        """Splits an axis of size width into the parts that belong to mapped content and to the cluster embedding."""
        units = self.encoder.mapping.units
        return tf.split(values, [units, self.encoder.width - units], axis=axis)


def _one_hot(clusters: tf.Tensor) -> bool:
    """Returns whether cluster ids are treated as one-hot vectors; otherwise rows of their table are gathered.

    On GPUs they never are, since bincount is not deterministic there.
    """
    return clusters.shape[0] <= FEW_ROWS and not tf.config.list_physical_devices("GPU")
