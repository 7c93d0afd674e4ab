"""Items that are attended and scored without being encoded: the encoder is linear (equations 1 and 2), and folds.

h_i = concat(w^T e_i + b, c_i) = M^T x_i + concat(b, 0), where x_i is the content e_i beside a one-hot vector of the
cluster id, and M has w and the table of c on its diagonal. A product q . h_i is (M q) . x_i + q_1 . b, and a weighted
mean of h_i is that of x_i, mapped once. A batch has several times as many items as users; content needs no gradient,
and a product with a one-hot vector is one number picked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from m3csr_tf.ops.gather import gather_entries, gather_lines
from m3csr_tf.ops.products import dot_products
from m3csr_tf.ops.slot_rows import GatheredRows, Histories, OneHotRows, SlotRows

FEW_ROWS = 128
"""With more rows than this in a table of c, gathering them costs less than products with it (docs/performance.md)."""


class LinearEncoder(Protocol):
    """What is used of `layers.modal_encoder.ModalEncoder`."""

    mapping: tf.keras.layers.Dense
    use_clusters: bool
    cluster_embedding: tf.Variable
    width: int


@dataclass(frozen=True)
class UnmappedItems:
    """Items of one modality, for the cases in which `encoder(content, cluster_ids)` would be mapped again.

    Attributes:
      encoder: of the modality.
      content: scaled vectors float32 [items, content width], constants to the gradient; zeros where absent.
      cluster_ids: int32 [items], 0 where absent.
      clusters: the encoder's table of c, float32 [clusters + 1, width / 2]; None without clusters.
    """

    encoder: LinearEncoder
    content: tf.Tensor
    cluster_ids: tf.Tensor
    clusters: tf.Tensor | None

    @classmethod
    def of(cls, encoder: LinearEncoder, content: tf.Tensor, cluster_ids: tf.Tensor) -> UnmappedItems:
        """Takes what the encoder would take."""
        if not encoder.mapping.built:
            encoder.mapping(content)
        clusters = tf.convert_to_tensor(encoder.cluster_embedding) if encoder.use_clusters else None
        return cls(encoder, content, cluster_ids, clusters)

    def histories(self, slots: tf.Tensor) -> Histories:
        """The parts of x_i, content and clusters if any, in slots int32 [users, slots].

        A slot whose item lacks the modality is empty, and its row is that of the "nothing" item.
        """
        cluster_ids = tf.gather(self.cluster_ids, slots)
        parts: list[SlotRows] = [GatheredRows.fixed(self.content, slots)]
        if self.clusters is not None and _one_hot(self.clusters):
            parts.append(OneHotRows(cluster_ids, self.clusters.shape[0]))
        elif self.clusters is not None:
            parts.append(GatheredRows.trained(self.clusters, cluster_ids))
        return Histories(parts, cluster_ids == 0)

    def fold(self, kernel: tf.Tensor) -> list[tf.Tensor]:
        """What maps the parts of x_i as a kernel float32 [width, outputs] maps h_i, but for the bias (`bias_of`).

        Returns:
          float32 [part's width, outputs] for each part.
        """
        of_content, of_clusters = self._split(kernel, axis=0)
        folded = [tf.matmul(self.encoder.mapping.kernel, of_content)]
        if self.clusters is not None:
            folded.append(tf.matmul(self.clusters, of_clusters) if _one_hot(self.clusters) else of_clusters)
        return folded

    def bias_of(self, kernel: tf.Tensor) -> tf.Tensor:
        """What b adds to the outputs of a kernel float32 [width, outputs], float32 [outputs]."""
        of_content, _ = self._split(kernel, axis=0)
        return tf.linalg.matvec(of_content, self.encoder.mapping.bias, transpose_a=True)

    def score_pairs(self, queries: tf.Tensor, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Dot products of h_i of each example's own candidates with its query.

        Args:
          queries: float32 [queries, width].
          query: int32 [examples], lines of `queries`.
          candidates: int32 [examples, candidates], lines of the items.

        Returns:
          float32 [examples, candidates].
        """
        of_content, of_clusters = self._split(queries, axis=1)
        folded = tf.matmul(of_content, self.encoder.mapping.kernel, transpose_b=True)
        bias = tf.linalg.matvec(of_content, self.encoder.mapping.bias)
        scores = dot_products(gather_lines(folded, query), tf.gather(self.content, candidates))
        scores += tf.gather(bias, query)[:, tf.newaxis]
        if self.clusters is None:
            return scores
        cluster_ids = tf.gather(self.cluster_ids, candidates)
        if _one_hot(self.clusters):
            of_table = tf.matmul(of_clusters, self.clusters, transpose_b=True)
            return scores + gather_entries(of_table, query[:, tf.newaxis], cluster_ids)
        return scores + dot_products(gather_lines(of_clusters, query), gather_lines(self.clusters, cluster_ids))

    def _split(self, values: tf.Tensor, axis: int) -> list[tf.Tensor]:
        """The parts of an axis of size width that meet mapped content and cluster ids."""
        units = self.encoder.mapping.units
        return tf.split(values, [units, self.encoder.width - units], axis=axis)


def _one_hot(clusters: tf.Tensor) -> bool:
    """Whether cluster ids are one-hot, not rows of their table. Not on GPUs: bincount is not deterministic there."""
    return clusters.shape[0] <= FEW_ROWS and not tf.config.list_physical_devices("GPU")
