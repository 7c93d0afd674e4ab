"""FREEDOM: freezing and denoising graph structures for multimodal recommendation (Zhou and Shen, MM 2023, section 3).

The embeddings of users and items are propagated over the user-item graph as in LightGCN. Those of items are also
propagated over a frozen graph of similar content, and the result is added. Training prunes the user-item graph anew in
every epoch; ranking uses the whole graph. A second BPR loss requires that the user vectors rank mapped content as well.

Two things differ from the authors' code. First, the item-item graph is computed from scaled content (section
`content`), because that is what the item tower knows of a new video, and it connects items to clicked items alone, so
that a new video finds neighbours with learned embeddings by its content. Second, the mapped content is a linear map of
frozen vectors, whereas the authors train the vectors too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import tensorflow as tf
from scipy import sparse

from m3csr_tf.config import Config, FreedomConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.graph.content_graph import content_graph, normalised
from m3csr_tf.models.bpr_mf import ID_PART
from m3csr_tf.models.click_graph import normalised_click_graph, training_clicks
from m3csr_tf.models.contract import Batch, consecutive
from m3csr_tf.models.embeddings import EmbeddingRecommender, Embeddings
from m3csr_tf.models.item_graph_tower import ClickedNeighbours, ItemGraphTower, carried_to
from m3csr_tf.models.pairwise import AllVectors, placed_users
from m3csr_tf.models.tables import TableUserTower
from m3csr_tf.ops.edge_pruning import EdgePruning
from m3csr_tf.ops.sparse_graph import as_tensor, mean_of_layers, product
from m3csr_tf.sampling.stateless import StatelessRandom
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.util.progress import progress


class FreedomWeights(Embeddings):
    """Embeddings of users and items, and a linear map of each modality.

    Args:
      users, items: numbers of rows, including the reserved rows.
      dim: width of the embeddings.
      widths: modality -> width of its scaled content.
    """

    def __init__(self, users: int, items: int, dim: int, widths: Mapping[str, int]) -> None:
        super().__init__(users, items, dim, "freedom")
        # A bias would add the same to the scores of positives and negatives, and so would have no gradient.
        self.maps = {name: tf.keras.layers.Dense(dim, use_bias=False, name=f"{name}_map") for name in widths}
        for name, width in widths.items():
            self.maps[name].build([None, width])


class FrozenGraphTower(ItemGraphTower):
    """An item tower whose vectors of new items are what they receive from neighbours in the frozen item-item graph.

    Args:
      rows, width, placed: see `TableItemTower`.
      graphs: modality -> its graph of similar content, not normalised, [items, items].
      shares: modality -> its share in the item-item graph.
      content: modality -> scaled content of all items, float32 [items, width].
      neighbours: largest number of neighbours of an item.
    """

    def __init__(
        self,
        rows: int,
        width: int,
        placed: np.ndarray,
        graphs: Mapping[str, sparse.csr_matrix],
        shares: Mapping[str, float],
        content: Mapping[str, np.ndarray],
        neighbours: int,
    ) -> None:
        super().__init__(rows, width, tf.constant(placed))
        clicked = np.flatnonzero(placed)
        self._shares = dict(shares)
        self._nearest: dict[str, ClickedNeighbours] = {}
        self._sums: dict[str, tf.Variable] = {}
        for name, graph in graphs.items():
            nearest = ClickedNeighbours(clicked, content[name].shape[1], neighbours, f"{name}_nearest")
            nearest.content.assign(tf.math.l2_normalize(content[name][clicked], axis=1))
            self._nearest[name] = nearest
            self._sums[name] = self.add_weight(name=f"{name}_sums", shape=[rows], trainable=False)
            self._sums[name].assign(np.asarray(graph.sum(axis=1)).ravel())

    def of_content(self, content: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """See `ItemGraphTower.of_content`."""
        parts = []
        for name, share in self._shares.items():
            rows, cosines = self._nearest[name](content[name])
            connections = tf.cast(cosines > 0, tf.float32)
            parts.append(share * carried_to(rows, connections, self._sums[name], self.carried))
        return tf.add_n(parts)


class Freedom(EmbeddingRecommender):
    """FREEDOM: x_ui = u . (i + h), where u and i are propagated over the clicks, and h over similar content.

    Args:
      config: the run's settings, of model.kind=freedom.
      prepared: the prepared data of the run.

    Raises:
      ConfigError: the log has more clicks than training.window_clicks.
    """

    kind = "freedom"
    title = "FREEDOM"
    places_new_items = True

    def __init__(self, config: Config, prepared: Prepared) -> None:
        super().__init__(config)
        self._settings = settings = config.model_as(FreedomConfig)
        clicks = training_clicks(config, prepared, self.title)
        content = {name: values for name, values in item_features(prepared).items() if name in prepared.content}
        widths = {name: values.shape[1] for name, values in content.items()}
        placed = np.asarray(prepared.train_clicks) > 0
        shares = _shares(settings, list(content))
        graphs = _frozen_graphs({name: content[name] for name in shares}, settings.neighbours, placed)
        users, items = len(prepared.users), len(prepared.items)
        self._users = users
        self._graph = normalised_click_graph(config, prepared, self.title)
        self._pruning = EdgePruning(clicks, settings.edge_dropout)
        self._draws = StatelessRandom(config.run.seed)
        self._epoch_steps = max(1, -(-clicks.nnz // config.training.batch_size))
        self._content = {name: tf.constant(values) for name, values in content.items()}
        self._item_graph = as_tensor(sum(share * normalised(graphs[name]) for name, share in shares.items()))
        self.network = FreedomWeights(users, items, settings.dim, widths)
        self.item_tower = FrozenGraphTower(items, settings.dim, placed, graphs, shares, content, settings.neighbours)
        self.user_tower = TableUserTower(users, settings.dim, self.item_tower, placed_users(prepared))

    @classmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """See `Recommender.from_prepared`."""
        return cls(config, prepared)

    @classmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Returns the number of entries of the embeddings."""
        return (users + items) * config.model_as(FreedomConfig).dim

    @property
    def layout(self) -> dict[str, slice]:
        """The part "id" alone, because content only decides which embeddings an item receives."""
        return consecutive([(ID_PART, self._settings.dim)])

    def all_vectors(self, training: bool = False) -> AllVectors:
        """See `PairwiseRecommender.all_vectors`; it propagates over the whole graph of clicks."""
        del training
        return self._vectors(self._graph)

    def example_vectors(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `PairwiseRecommender.example_vectors`; it propagates over the pruned graph of this epoch."""
        graph = self._graph
        if self._settings.edge_dropout:
            epoch = batch["step"] // self._epoch_steps
            graph = self._pruning.graph(self._draws.uniform([self._pruning.edges], epoch, "edges"))
        vectors = self._vectors(graph)
        items = tf.concat([batch["positive"], batch["negative"]], axis=0)
        return tf.gather(vectors.users, batch["user"]), tf.gather(vectors.items, items)

    def auxiliary_loss(self, batch: Batch, users: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Returns model.modal_loss times the BPR losses of the scores by mapped content, summed over modalities."""
        del items
        if not self._settings.modal_loss:
            return tf.constant(0.0)
        size = tf.shape(batch["positive"])[0]
        total = tf.constant(0.0)
        for name, content in self._content.items():
            mapped = self.network.maps[name](
                tf.gather(content, tf.concat([batch["positive"], batch["negative"]], axis=0))
            )
            total += self.ranking_loss.of_vectors(batch, users, mapped)
        return self._settings.modal_loss / tf.cast(size, tf.float32) * total

    def before_ranking(self) -> None:
        """Fills the tables of the towers, and the vectors that items pass on to new items connected to them."""
        super().before_ranking()
        if self._settings.item_layers:
            self.item_tower.carried.assign(self._over_items(self._settings.item_layers - 1))

    def _vectors(self, graph: tf.SparseTensor) -> AllVectors:
        """Returns u and i + h of all rows."""
        nodes = mean_of_layers(graph, self.network.nodes, self._settings.layers)
        user_vectors, item_vectors = nodes[: self._users], nodes[self._users :]
        if self._settings.item_layers:
            item_vectors += self._over_items(self._settings.item_layers)
        return AllVectors(user_vectors, item_vectors)

    def _over_items(self, layers: int) -> tf.Tensor:
        """Returns the item embeddings after `layers` propagations over the item-item graph."""
        table = tf.convert_to_tensor(self.network.items)
        for _ in range(layers):
            table = product(self._item_graph, table)
        return table


def _shares(settings: FreedomConfig, modalities: list[str]) -> dict[str, float]:
    """Returns the shares of the modalities in the item-item graph, which sum to 1; those of weight 0 are left out."""
    weights = {name: settings.modality_weights.get(name, 1.0) for name in modalities}
    return {name: weight / sum(weights.values()) for name, weight in weights.items() if weight}


def _frozen_graphs(
    content: Mapping[str, np.ndarray], neighbours: int, placed: np.ndarray
) -> dict[str, sparse.csr_matrix]:
    """Returns the graph of similar content of each modality, not normalised."""
    graphs = {}
    for name, vectors in content.items():
        with progress(f"items of similar {name} content, blocks") as stage:
            graphs[name] = content_graph(vectors, neighbours, "ones", placed, stage)
    return graphs
