"""LightGCN: embeddings propagated over the graph of clicks, and nothing else (He et al., LightGCN, SIGIR 2020)."""

from __future__ import annotations

from typing import Self

import tensorflow as tf

from m3csr_tf.config import Config, LightGCNConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.models.click_graph import normalised_click_graph
from m3csr_tf.models.contract import Batch, consecutive
from m3csr_tf.models.pairwise import AllVectors, PairwiseRecommender
from m3csr_tf.ops.sparse_graph import mean_of_layers

ID_PART = "id"


class EmbeddingTables(tf.keras.layers.Layer):
    """E^0 of the paper: the embeddings of users and items, all that is trained.

    Args:
      users, items: numbers of rows, including the reserved rows.
      dim: width of the embeddings.
    """

    def __init__(self, users: int, items: int, dim: int) -> None:
        super().__init__(name="embeddings")
        # The authors' code uses this standard deviation.
        drawn = tf.keras.initializers.RandomNormal
        self.users = self.add_weight(name="users", shape=[users, dim], initializer=drawn(stddev=0.1))
        self.items = self.add_weight(name="items", shape=[items, dim], initializer=drawn(stddev=0.1))


class LightGCN(PairwiseRecommender):
    """LightGCN: x_ui = e_u . e_i, where E is the mean of E^0 and its products with D^-1/2 A D^-1/2 (equations 3, 4, 8).

    A holds the training clicks, between users and items. BPR compares the propagated embeddings; the penalty
    `training.beta` applies to the rows of E^0 of the batch (equation 15). Users and items without a training click have
    no neighbours; such an item has the vector of the unknown row.

    Args:
      config: the run's settings, of model.kind=lightgcn.
      prepared: the prepared data of the run.

    Raises:
      ConfigError: the log has more clicks than `training.window_clicks`.
    """

    kind = "lightgcn"
    title = "LightGCN"

    def __init__(self, config: Config, prepared: Prepared) -> None:
        super().__init__(config)
        self._settings = config.model_as(LightGCNConfig)
        self._graph = normalised_click_graph(config, prepared, self.title)
        self.network = EmbeddingTables(len(prepared.users), len(prepared.items), self._settings.dim)
        self._make_towers(prepared)

    @classmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """See `Recommender.from_prepared`."""
        return cls(config, prepared)

    @classmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Returns the number of entries of E^0."""
        return (users + items) * config.model_as(LightGCNConfig).dim

    @property
    def layout(self) -> dict[str, slice]:
        """The part "id" alone."""
        return consecutive([(ID_PART, self._settings.dim)])

    def all_vectors(self, training: bool = False) -> AllVectors:
        """See `PairwiseRecommender.all_vectors`."""
        del training
        tables = self.network
        table = tf.concat([tables.users, tables.items], axis=0)
        users, items = tf.split(
            mean_of_layers(self._graph, table, self._settings.layers), [tables.users.shape[0], tables.items.shape[0]]
        )
        return AllVectors(users, items)

    def squared_weights(self, batch: Batch) -> tf.Tensor:
        """Returns the squared rows of E^0 of each example (user, positive and negatives), summed over the batch."""
        items = tf.concat([batch["positive"], batch["negative"]], axis=0)
        rows = tf.gather(self.network.users, batch["user"]), tf.gather(self.network.items, items)
        return tf.add_n([tf.reduce_sum(tf.square(one)) for one in rows])

    def user_tables(self) -> list[tf.Variable]:
        """Returns the table of the users' rows of E^0."""
        return [self.network.users]

    def item_tables(self) -> list[tf.Variable]:
        """Returns the table of the items' rows of E^0."""
        return [self.network.items]
