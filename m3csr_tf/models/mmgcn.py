"""MMGCN: multi-modal graph convolution network (Wei et al., MM 2019, section 2).

Every modality has a graph of its own over the same clicks. An item enters it with its mapped content, a user with a
vector of what she prefers in this modality; a layer sends both to their neighbours and joins what comes back with what
a node was and with its id. A vector is the sum of the modalities' last layers. As in MMRec's code, what enters is
brought to length 1.

Two things differ from that code. A step's clicks to predict are left out of the graph (training.mask_target), for a
node that hears from the very item it is asked about learns to recognise it and no other. And ids and preferences are
trained, as the paper has it, by training.id_rate; there they stay as they were drawn.
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
    """One layer: h = leaky(mean of W_1 x of the neighbours), leaky(W_3 h + leaky(W_2 x) + id).

    Args:
      width: of x.
      dim: of ids and of the output.
    """

    def __init__(self, width: int, dim: int, name: str) -> None:
        super().__init__(name=name)
        self.sent = tf.keras.layers.Dense(width, use_bias=False, name="sent")
        self.own = tf.keras.layers.Dense(dim, name="own")
        self.joined = tf.keras.layers.Dense(dim, name="joined")
        for layer in (self.sent, self.own, self.joined):
            layer.build([None, width])

    def call(self, x: tf.Tensor, neighbours: tf.Tensor | None, ids: tf.Tensor | None) -> tf.Tensor:
        """The next layer's nodes, float32 [nodes, dim].

        Args:
          x: float32 [nodes, width].
          neighbours: the mean of each node's neighbours in x, float32 [nodes, width]; None: nobody has any.
          ids: float32 [nodes, dim]; None: nodes without.
        """
        own = tf.nn.leaky_relu(self.own(x), _SLOPE)
        if ids is not None:
            own += ids
        # The mean of what neighbours send is what their mean would send.
        received = tf.zeros_like(x) if neighbours is None else tf.nn.leaky_relu(self.sent(neighbours), _SLOPE)
        return tf.nn.leaky_relu(self.joined(received) + own, _SLOPE)


_SLOPE = 0.01
"""Of leaky ReLU below 0, as in MMRec's code."""


class ModalityGraph(tf.keras.layers.Layer):
    """The weights of one modality.

    Args:
      users: rows, reserved ones included.
      width: of the scaled content.
      settings: of the model.
      name: of the modality.
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
        """What items enter with, float32 [items, content_dim], of length 1; zeros where content is absent."""
        there = tf.reduce_any(content != 0, axis=1, keepdims=True)
        return tf.math.l2_normalize(tf.where(there, self.map(content), 0.0), axis=1)


class MMGCNWeights(Embeddings):
    """Ids of users and items, and the weights of each modality.

    Args:
      users, items: rows, reserved ones included.
      settings: of the model.
      widths: modality -> width of its scaled content.
    """

    def __init__(self, users: int, items: int, settings: MMGCNConfig, widths: Mapping[str, int]) -> None:
        super().__init__(users, items, settings.dim, "mmgcn")
        self.modalities = {name: ModalityGraph(users, width, settings, name) for name, width in widths.items()}


class ConvolvedTower(ContentPlacedTower):
    """Item vectors; a new item goes through the layers without neighbours and without an id.

    Args:
      rows, width, placed: see `TableItemTower`.
      network: whose layers it shares.
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
    """x_ui = (sum over modalities of u_m) . (sum over modalities of i_m), the last layers of the modalities' graphs.

    Args:
      config: the run's settings, of model.kind=mmgcn.
      prepared: the data.

    Raises:
      ConfigError: the log is larger than training.window_clicks.
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
        """Entries of the ids and of the users' preferences."""
        settings = config.model_as(MMGCNConfig)
        return (users + items) * settings.dim + len(config.data.modality_names) * users * settings.content_dim

    @property
    def layout(self) -> dict[str, slice]:
        """One part: the modalities are summed before they meet."""
        return consecutive([(PART, self._width)])

    @property
    def _width(self) -> int:
        """Width of the last layer, which without any is what enters."""
        return self._settings.dim if self._settings.layers else self._settings.content_dim

    def all_vectors(self, training: bool = False) -> AllVectors:
        """See `PairwiseRecommender.all_vectors`; with all clicks."""
        del training
        return self._vectors(self._graph)

    def example_vectors(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `PairwiseRecommender.example_vectors`; with training.mask_target, without the clicks to predict."""
        graph = self._masked.without(batch["user"], batch["positive"]) if self._mask_target else self._graph
        vectors = self._vectors(graph)
        items = tf.concat([batch["positive"], batch["negative"]], axis=0)
        return tf.gather(vectors.users, batch["user"]), tf.gather(vectors.items, items)

    def _vectors(self, graph: tf.SparseTensor) -> AllVectors:
        """The sum over modalities of their last layers."""
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
        """Ids and preferences learn by training.id_rate."""
        share = self.config.training.id_rate
        return {table.ref(): share for table in [*self.user_tables(), *self.item_tables()]}

    def squared_weights(self, batch: Batch) -> tf.Tensor:
        """Squares of the ids of each example's user, positive and negative, and of the user's preferences."""
        preferences = [
            tf.reduce_sum(tf.square(tf.gather(modality.preferences, batch["user"])))
            for modality in self.network.modalities.values()
        ]
        return super().squared_weights(batch) + tf.add_n(preferences)

    def user_tables(self) -> list[tf.Variable]:
        """The users' ids and preferences."""
        preferences = [modality.preferences for modality in self.network.modalities.values()]
        return [*super().user_tables(), *preferences]
