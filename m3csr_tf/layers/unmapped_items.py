"""Items that are attended and scored without being encoded: the map of content (equation 1) is linear, and folds.

With h_i = concat(w^T e_i + b, c_i), a product q . h_i is (w q_1) . e_i + q_1 . b + q_2 . c_i, and a weighted mean of
h_i is that of concat(e_i, c_i), mapped once. A batch has several times as many items as users, content needs no
gradient, and that of cluster ids is summed into their table at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from m3csr_tf.layers.gather import dot_products, gather_lines
from m3csr_tf.layers.modal_encoder import ModalEncoder


@dataclass(frozen=True)
class UnmappedItems:
    """Items of one modality, for the cases in which `encoder(content, cluster_ids)` would be mapped again.

    Attributes:
      encoder: of the modality.
      content: scaled vectors float32 [items, content width], constants to the gradient.
      cluster_ids: int32 [items], 0 where absent.
      clusters: the encoder's table of c, float32 [clusters + 1, width / 2]; None without clusters.
    """

    encoder: ModalEncoder
    content: tf.Tensor
    cluster_ids: tf.Tensor
    clusters: tf.Tensor | None

    @classmethod
    def of(cls, encoder: ModalEncoder, content: tf.Tensor, cluster_ids: tf.Tensor) -> UnmappedItems:
        """Takes what the encoder would take."""
        if not encoder.mapping.built:
            encoder.mapping(content)
        clusters = tf.convert_to_tensor(encoder.cluster_embedding) if encoder.use_clusters else None
        return cls(encoder, content, cluster_ids, clusters)

    def rows(self, lines: tf.Tensor) -> tf.Tensor:
        """concat(e_i, c_i), float32 [..., content width + width / 2], of lines int32 [...]."""
        content = tf.gather(self.content, lines)
        if self.clusters is None:
            return content
        return tf.concat([content, tf.gather(self.clusters, tf.gather(self.cluster_ids, lines))], axis=-1)

    def fold_queries(self, queries: tf.Tensor) -> tf.Tensor:
        """What matches `rows` as the queries float32 [queries, width] match h_i, but for q_1 . b, the same for all."""
        of_content, of_clusters = self._split(queries)
        folded = tf.matmul(of_content, self.encoder.mapping.kernel, transpose_b=True)
        return folded if self.clusters is None else tf.concat([folded, of_clusters], axis=1)

    def fold_values(self, kernel: tf.Tensor) -> tf.Tensor:
        """What maps a mean of `rows`, of weights that sum to 1, as `kernel` float32 [width, outputs] maps that of h_i.

        But for the bias, `bias_of`. Float32 [row width, outputs].
        """
        return tf.transpose(self.fold_queries(tf.transpose(kernel)))

    def bias_of(self, kernel: tf.Tensor) -> tf.Tensor:
        """What b adds to the outputs of a kernel float32 [width, outputs], float32 [outputs]."""
        return tf.linalg.matvec(kernel[: self.encoder.mapping.units], self.encoder.mapping.bias, transpose_a=True)

    def score_pairs(self, queries: tf.Tensor, query: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Dot products of h_i of each example's own candidates with its query.

        Args:
          queries: float32 [queries, width].
          query: int32 [examples], lines of `queries`.
          candidates: int32 [examples, candidates], lines of the items.

        Returns:
          float32 [examples, candidates].
        """
        of_content, of_clusters = self._split(queries)
        folded = tf.matmul(of_content, self.encoder.mapping.kernel, transpose_b=True)
        bias = tf.linalg.matvec(of_content, self.encoder.mapping.bias)
        scores = dot_products(gather_lines(folded, query), tf.gather(self.content, candidates))
        scores += tf.gather(bias, query)[:, tf.newaxis]
        if self.clusters is None:
            return scores
        clusters = gather_lines(self.clusters, tf.gather(self.cluster_ids, candidates))
        return scores + dot_products(gather_lines(of_clusters, query), clusters)

    def _split(self, vectors: tf.Tensor) -> list[tf.Tensor]:
        """The parts of vectors float32 [vectors, width] that meet mapped content and cluster ids."""
        units = self.encoder.mapping.units
        return tf.split(vectors, [units, self.encoder.width - units], axis=1)
