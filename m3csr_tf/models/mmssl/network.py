"""The weights of MMSSL and its forward pass: mapped content, modality views, their attention, and propagation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from m3csr_tf.config import MMSSLConfig
from m3csr_tf.models.embeddings import Embeddings
from m3csr_tf.models.mmssl.attention import CrossModalAttention
from m3csr_tf.models.mmssl.critic import Critic
from m3csr_tf.models.mmssl.graphs import ClickGraph
from m3csr_tf.ops.sparse_graph import mean_of_layers, propagated
from m3csr_tf.sampling.stateless import StatelessRandom


class Views(NamedTuple):
    """The results of the forward pass for all nodes, which are the users, then the items.

    Attributes:
      final: the vectors that rank, float32 [nodes, d].
      content: for each modality, unit vectors of aggregated content, f of section 3.1.1, float32 [nodes, d]; zeros
        where nothing was clicked.
      ids: for each modality, the view e^m, embeddings propagated over the graph of the modality, float32 [nodes, d].
    """

    final: tf.Tensor
    content: list[tf.Tensor]
    ids: list[tf.Tensor]


class MMSSLNetwork(Embeddings):
    """Embeddings of users and items, maps of content, and the weights of attention and critic.

    Args:
      settings: the settings of section model.
      graph: the graph of the training clicks.
      content: modality -> scaled content float32 [items, width], a constant.
      seed: the seed of the run, from which dropout is drawn.
    """

    def __init__(self, settings: MMSSLConfig, graph: ClickGraph, content: Mapping[str, np.ndarray], seed: int) -> None:
        super().__init__(graph.users, graph.items, settings.dim, name="mmssl")
        self._settings, self._graph, self._draws = settings, graph, StatelessRandom(seed)
        self._content = [tf.constant(values, tf.float32) for values in content.values()]
        dim = settings.dim
        self.maps = [
            self.add_weight(name=f"map_{name}", shape=[values.shape[1], dim], initializer="glorot_uniform")
            for name, values in content.items()
        ]
        self.biases = [self.add_weight(name=f"bias_{name}", shape=[dim], initializer="zeros") for name in content]
        self.attention = CrossModalAttention(dim, settings.heads) if settings.attention_weight else None
        self.critic = Critic(graph.items, settings.critic_dim) if settings.adversarial_weight else None

    def views(self, step: tf.Tensor | None = None) -> Views:
        """Runs the forward pass, with the dropout of a training step (int64 scalar) if one is given."""
        settings, graph = self._settings, self._graph
        content = self._of_content(step)
        ids = self.nodes
        views = []
        for one in content:
            users, items = tf.split(one, [graph.users, graph.items])
            relations = graph.relations(users, items, settings.relation_temperature)
            views.append(propagated(graph.weighted(relations), ids))
        start = ids
        if self.attention is not None:
            start += settings.attention_weight * tf.math.l2_normalize(self.attention(views), axis=1)
        final = mean_of_layers(graph.normalised, start, settings.layers)
        final += settings.content_weight * tf.add_n(content)
        return Views(final, content, views)

    def _of_content(self, step: tf.Tensor | None) -> list[tf.Tensor]:
        """Returns the content of users, from the items that they clicked, and of items, from those users, by modality.

        Each is float32 [nodes, d], and its rows are unit vectors.
        """
        mapped = [
            tf.matmul(values, kernel) + bias * tf.cast(_present(values), tf.float32)
            for values, kernel, bias in zip(self._content, self.maps, self.biases, strict=True)
        ]
        joined = tf.concat(mapped, axis=1)
        if step is not None and self._settings.dropout:
            kept = self._draws.uniform(tf.shape(joined), step, "dropout") >= self._settings.dropout
            joined = tf.where(kept, joined / (1 - self._settings.dropout), 0.0)
        both = tf.concat(self._graph.aggregated(joined), axis=0)
        return [tf.math.l2_normalize(one, axis=1) for one in tf.split(both, len(mapped), axis=1)]


def _present(content: tf.Tensor) -> tf.Tensor:
    """Returns whether items have content, bool [items, 1]; items that lack the modality get no bias."""
    return tf.reduce_any(content != 0, axis=1, keepdims=True)
