"""MMGCN: multi-modal graph convolution network (Wei et al., MM 2019, section 2).

Every modality has a graph of its own over the same clicks. An item enters its graph with its mapped content, and a user
with a vector of her preferences in this modality. A layer sends both to their neighbours, and combines what a node
receives with the node's own vector and its id embedding. The vector of a user or item is the sum of the last layers of
all modalities. As in MMRec's code, the vectors that enter are scaled to length 1.

Two things differ from that code. First, the clicks that a step predicts are left out of the graph
(training.mask_target), because a node that receives messages from the very item to be predicted learns to recognise
that item and no other. Second, ids and preferences are trained, as in the paper, by training.id_rate; in MMRec's code
they stay as they were drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import tensorflow as tf

from m3csr_tf.config import Config, MMGCNConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.models.bpr_mf import small
from m3csr_tf.models.click_graph import training_clicks
from m3csr_tf.models.content_placed_tower import ContentPlacedTower
from m3csr_tf.models.contract import Batch, consecutive
from m3csr_tf.models.embeddings import EmbeddingRecommender, Embeddings
from m3csr_tf.models.pairwise import AllVectors, placed_users
from m3csr_tf.models.tables import TableUserTower
from m3csr_tf.ops.masked_clicks import MaskedClicks
from m3csr_tf.ops.sparse_graph import as_tensor, bipartite, propagated
from m3csr_tf.sampling.training_data import item_features

PART = "content"


class Convolution(tf.keras.layers.Layer):
    """One layer, which returns leaky(W_3 h + leaky(W_2 x) + id), where h = leaky(mean of W_1 x over the neighbours).

    Args:
      width: width of x.
      dim: width of the ids and of the output.
    """

    def __init__(self, width: int, dim: int, name: str) -> None:
        super().__init__(name=name)
        self.sent = tf.keras.layers.Dense(width, use_bias=False, name="sent")
        self.own = tf.keras.layers.Dense(dim, name="own")
        self.joined = tf.keras.layers.Dense(dim, name="joined")
        for layer in (self.sent, self.own, self.joined):
            layer.build([None, width])

    def call(self, x: tf.Tensor, neighbours: tf.Tensor | None, ids: tf.Tensor | None) -> tf.Tensor:
        """Returns the nodes of the next layer, float32 [nodes, dim].

        Args:
          x: the nodes, float32 [nodes, width].
          neighbours: the mean of each node's neighbours in x, float32 [nodes, width]; None if no node has neighbours.
          ids: id embeddings of the nodes, float32 [nodes, dim]; None if the nodes have no id.
        """
        own = tf.nn.leaky_relu(self.own(x), _SLOPE)
        if ids is not None:
            own += ids
        # The map is linear, so mapping the mean of the neighbours gives the mean of their mapped vectors.
        received = tf.zeros_like(x) if neighbours is None else tf.nn.leaky_relu(self.sent(neighbours), _SLOPE)
        return tf.nn.leaky_relu(self.joined(received) + own, _SLOPE)


_SLOPE = 0.01
"""Slope of the leaky ReLU below 0, as in MMRec's code."""


class ModalityGraph(tf.keras.layers.Layer):
    """The weights of one modality.

    Args:
      users: number of rows, including the reserved rows.
      width: width of the scaled content.
      settings: the settings of the model.
      name: the name of the modality.
    """

    def __init__(self, users: int, width: int, settings: MMGCNConfig, name: str) -> None:
        super().__init__(name=name)
        entering = settings.content_dim
        self.preferences = self.add_weight(name="preferences", shape=[users, entering], initializer=small(entering))
        self.map = tf.keras.layers.Dense(entering, name="map")
        self.map.build([None, width])
        widths = [entering] + [settings.dim] * settings.layers
        self.convolutions = [
            Convolution(width, settings.dim, f"layer_{position}") for position, width in enumerate(widths[:-1])
        ]

    def items(self, content: tf.Tensor) -> tf.Tensor:
        """Returns the vectors by which items enter, float32 [items, content_dim], of length 1; without content, 0."""
        there = tf.reduce_any(content != 0, axis=1, keepdims=True)
        return tf.math.l2_normalize(tf.where(there, self.map(content), 0.0), axis=1)


class MMGCNWeights(Embeddings):
    """Id embeddings of users and items, and the weights of each modality.

    Args:
      users, items: numbers of rows, including the reserved rows.
      settings: the settings of the model.
      widths: modality -> width of its scaled content.
    """

    def __init__(self, users: int, items: int, settings: MMGCNConfig, widths: Mapping[str, int]) -> None:
        super().__init__(users, items, settings.dim, "mmgcn")
        self.modalities = {name: ModalityGraph(users, width, settings, name) for name, width in widths.items()}


class ConvolvedTower(ContentPlacedTower):
    """An item tower that computes vectors of new items by the layers, without neighbours and without an id.

    Args:
      rows, width, placed: see `TableItemTower`.
      network: the weights whose layers the tower shares.
    """

    def __init__(self, rows: int, width: int, placed: np.ndarray, network: MMGCNWeights) -> None:
        super().__init__(rows, width, tf.constant(placed))
        self._maps = {name: graph.map for name, graph in network.modalities.items()}
        self._layers_of = {name: graph.convolutions for name, graph in network.modalities.items()}
        self._entering = {name: graph.items for name, graph in network.modalities.items()}

    def of_content(self, content: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """See `ContentPlacedTower.of_content`."""
        parts = []
        for name, layers in self._layers_of.items():
            nodes = self._entering[name](content[name])
            for layer in layers:
                nodes = layer(nodes, None, None)
            parts.append(nodes)
        return tf.add_n(parts)


class MMGCN(EmbeddingRecommender):
    """MMGCN: x_ui = (sum_m u_m) . (sum_m i_m), where u_m and i_m are the last layer of modality m's graph.

    Args:
      config: the run's settings, of model.kind=mmgcn.
      prepared: the prepared data of the run.

    Raises:
      ConfigError: the log has more clicks than training.window_clicks.
    """

    kind = "mmgcn"
    title = "MMGCN"
    places_new_items = True

    network: MMGCNWeights

    def __init__(self, config: Config, prepared: Prepared) -> None:
        super().__init__(config)
        self._settings = settings = config.model_as(MMGCNConfig)
        clicks = training_clicks(config, prepared, self.title)
        content = {name: values for name, values in item_features(prepared).items() if name in prepared.content}
        self._mask_target = config.training.mask_target
        self._users, items = len(prepared.users), len(prepared.items)
        self._graph, self._masked = as_tensor(bipartite(clicks)), MaskedClicks(clicks)
        self._content = {name: tf.constant(values) for name, values in content.items()}
        widths = {name: values.shape[1] for name, values in content.items()}
        self.network = MMGCNWeights(self._users, items, settings, widths)
        placed = np.asarray(prepared.train_clicks) > 0
        self.item_tower = ConvolvedTower(items, self._width, placed, self.network)
        self.user_tower = TableUserTower(self._users, self._width, self.item_tower, placed_users(prepared))

    @classmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """See `Recommender.from_prepared`."""
        return cls(config, prepared)

    @classmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Returns the number of entries of the id embeddings and of the users' preferences."""
        settings = config.model_as(MMGCNConfig)
        return (users + items) * settings.dim + len(config.data.modality_names) * users * settings.content_dim

    @property
    def layout(self) -> dict[str, slice]:
        """A single part, because the modalities are summed before users and items are multiplied."""
        return consecutive([(PART, self._width)])

    @property
    def _width(self) -> int:
        """Width of the last layer; without layers, the width of the vectors that enter."""
        return self._settings.dim if self._settings.layers else self._settings.content_dim

    def all_vectors(self, training: bool = False) -> AllVectors:
        """See `PairwiseRecommender.all_vectors`; it propagates over all clicks."""
        del training
        return self._vectors(self._graph)

    def example_vectors(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `PairwiseRecommender.example_vectors`; training.mask_target takes clicks to predict out of the graph."""
        graph = self._masked.without(batch["user"], batch["positive"]) if self._mask_target else self._graph
        vectors = self._vectors(graph)
        items = tf.concat([batch["positive"], batch["negative"]], axis=0)
        return tf.gather(vectors.users, batch["user"]), tf.gather(vectors.items, items)

    def _vectors(self, graph: tf.SparseTensor) -> AllVectors:
        """Returns the sum of the last layers of all modalities."""
        ids, parts = self.network.nodes, []
        degrees = propagated(graph, tf.ones([tf.shape(ids)[0], 1]))
        for name, modality in self.network.modalities.items():
            users = tf.math.l2_normalize(modality.preferences, axis=1)
            nodes = tf.concat([users, modality.items(self._content[name])], axis=0)
            for layer in modality.convolutions:
                nodes = layer(nodes, tf.math.divide_no_nan(propagated(graph, nodes), degrees), ids)
            parts.append(nodes)
        total = tf.add_n(parts)
        return AllVectors(total[: self._users], total[self._users :])

    def learning_rates(self) -> dict[Any, float]:
        """Returns training.id_rate as the factor of id embeddings and preferences."""
        share = self.config.training.id_rate
        return {table.ref(): share for table in [*self.user_tables(), *self.item_tables()]}

    def squared_weights(self, batch: Batch) -> tf.Tensor:
        """Returns the squared ids of each example's user, positive and negatives, and her squared preferences."""
        preferences = [
            tf.reduce_sum(tf.square(tf.gather(modality.preferences, batch["user"])))
            for modality in self.network.modalities.values()
        ]
        return super().squared_weights(batch) + tf.add_n(preferences)

    def user_tables(self) -> list[tf.Variable]:
        """Returns the tables of the users' ids and preferences."""
        preferences = [modality.preferences for modality in self.network.modalities.values()]
        return [*super().user_tables(), *preferences]
