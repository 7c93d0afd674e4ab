"""LATTICE: mining latent structures for multimedia recommendation (Zhang et al., MM 2021, section 3).

Each modality has two graphs of similar items: an original graph of its content, and a learned graph of its content
under a learned map. The two are mixed, and the results of the modalities are mixed by learned weights. The embeddings
of items are propagated over this mixed graph; what an item receives is scaled to length 1 and added to its vector in a
LightGCN on the clicks.

The nearest items under the learned map are searched at the first step of every epoch, as in MMRec's code. Only that
step trains the maps; its learned graph, normalised, is kept for the other steps. The weights of the modalities learn
from the original graphs at every step. Two things differ from that code: the graphs are computed from scaled content
(section `content`), and they connect items to clicked items alone, so that a new video finds neighbours with learned
embeddings by its content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
import tensorflow as tf
from scipy import sparse

from m3csr_tf.config import Config, LatticeConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError
from m3csr_tf.graph.content_graph import content_graph, normalised
from m3csr_tf.models.bpr_mf import ID_PART
from m3csr_tf.models.click_graph import normalised_click_graph, training_clicks
from m3csr_tf.models.contract import Batch, Collate, consecutive
from m3csr_tf.models.embeddings import EmbeddingRecommender, Embeddings
from m3csr_tf.models.item_graph_tower import ClickedNeighbours, ItemGraphTower, carried_to
from m3csr_tf.models.pairwise import AllVectors, placed_users
from m3csr_tf.models.tables import TableUserTower
from m3csr_tf.ops.nearest import nearest_rows
from m3csr_tf.ops.sparse_graph import as_tensor, mean_of_layers, product
from m3csr_tf.sampling.training_data import TrainingData, item_features
from m3csr_tf.util.progress import progress


class LearnedGraph(NamedTuple):
    """The learned graph: the nearest items under the learned maps, with the columns of all modalities side by side.

    Attributes:
      columns: rows of the neighbours of each item, int32 [items, modalities * neighbours].
      values: the entries of D^-1/2 S D^-1/2 at these columns, float32 in the same shape.
      sums: the row sums of S (the diagonal of D), float32 [items].
      mapped: for each modality, unit vectors of mapped content, float32 [items, feature_dim]; zeros where content is
        absent.
    """

    columns: tf.Tensor
    values: tf.Tensor
    sums: tf.Tensor
    mapped: list[tf.Tensor]


class LatticeWeights(Embeddings):
    """Embeddings, a linear map for each modality, the weights of the modalities, and the learned graph of this epoch.

    Args:
      users, items: numbers of rows, including the reserved rows.
      settings: the settings of the model.
      widths: modality -> width of its scaled content.
      connections: number of connections of an item in the learned graph.
    """

    def __init__(
        self, users: int, items: int, settings: LatticeConfig, widths: Mapping[str, int], connections: int
    ) -> None:
        super().__init__(users, items, settings.dim, "lattice")
        self.maps = {name: tf.keras.layers.Dense(settings.feature_dim, name=f"{name}_map") for name in widths}
        for name, width in widths.items():
            self.maps[name].build([None, width])
        self.modalities = self.add_weight(name="modalities", shape=[len(widths)], initializer="zeros")
        shape = [items, connections]
        self.columns = self.add_weight(
            name="columns", shape=shape, dtype=tf.int32, trainable=False, initializer="zeros"
        )
        self.values = self.add_weight(name="values", shape=shape, trainable=False, initializer="zeros")


class MixedGraphTower(ItemGraphTower):
    """An item tower whose vectors of new items are what they receive over the mixed item-item graph, of length 1.

    Args:
      rows, placed: see `TableItemTower`.
      settings: the settings of the model.
      graphs: modality -> its original graph, not normalised, [items, items].
      content: modality -> scaled content of all items, float32 [items, width].
    """

    def __init__(
        self,
        rows: int,
        placed: np.ndarray,
        settings: LatticeConfig,
        graphs: Mapping[str, sparse.csr_matrix],
        content: Mapping[str, np.ndarray],
    ) -> None:
        super().__init__(rows, settings.dim, tf.constant(placed))
        self._kept, self._clicked = settings.kept, np.flatnonzero(placed)
        self._original: dict[str, ClickedNeighbours] = {}
        self._learned: dict[str, ClickedNeighbours] = {}
        self._sums: dict[str, tf.Variable] = {}
        self._kernels: dict[str, tf.Variable] = {}
        self._biases: dict[str, tf.Variable] = {}
        dim, count = settings.feature_dim, settings.neighbours
        for name, graph in graphs.items():
            own = content[name]
            self._original[name] = ClickedNeighbours(self._clicked, own.shape[1], count, f"{name}_nearest")
            self._original[name].content.assign(tf.math.l2_normalize(own[self._clicked], axis=1))
            self._learned[name] = ClickedNeighbours(self._clicked, dim, count, f"{name}_mapped_nearest")
            self._sums[name] = self._table(f"{name}_sums", [rows])
            self._sums[name].assign(np.asarray(graph.sum(axis=1)).ravel())
            self._kernels[name] = self._table(f"{name}_kernel", [own.shape[1], dim])
            self._biases[name] = self._table(f"{name}_bias", [dim])
        self._shares = self._table("shares", [len(graphs)])
        self._learned_sums = self._table("learned_sums", [rows])

    def put(self, network: LatticeWeights, learned: LearnedGraph, shares: tf.Tensor, carried: tf.Tensor) -> None:
        """Copies what follows from the present weights: maps, learned graph, shares and the vectors passed on."""
        for (name, layer), mapped in zip(network.maps.items(), learned.mapped, strict=True):
            self._kernels[name].assign(layer.kernel)
            self._biases[name].assign(layer.bias)
            self._learned[name].content.assign(tf.gather(mapped, self._clicked))
        self._learned_sums.assign(learned.sums)
        self._shares.assign(shares)
        self.carried.assign(carried)

    def of_content(self, content: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """See `ItemGraphTower.of_content`."""
        original, columns, connections = [], [], []
        for position, (name, nearest) in enumerate(self._original.items()):
            share = self._shares[position]
            rows, cosines = nearest(content[name])
            original.append(share * carried_to(rows, cosines, self._sums[name], self.carried))
            mapped = unit_mapped(content[name], self._kernels[name], self._biases[name])
            rows, cosines = self._learned[name](mapped)
            columns.append(rows)
            connections.append(share * cosines)
        learned = carried_to(
            tf.concat(columns, axis=1), tf.concat(connections, axis=1), self._learned_sums, self.carried
        )
        return tf.math.l2_normalize(self._kept * tf.add_n(original) + (1 - self._kept) * learned, axis=1)

    def _table(self, name: str, shape: list[int]) -> tf.Variable:
        return self.add_weight(name=name, shape=shape, trainable=False, initializer="zeros")


class Lattice(EmbeddingRecommender):
    """LATTICE: x_ui = u . (i + h / |h|), where u and i are propagated over clicks, and h over the mixed graph.

    Args:
      config: the run's settings, of model.kind=lattice.
      prepared: the prepared data of the run.

    Raises:
      ConfigError: the log has more clicks than training.window_clicks.
    """

    kind = "lattice"
    title = "LATTICE"
    places_new_items = True

    def __init__(self, config: Config, prepared: Prepared) -> None:
        super().__init__(config)
        self._settings = settings = config.model_as(LatticeConfig)
        clicks = training_clicks(config, prepared, self.title)
        content = {name: values for name, values in item_features(prepared).items() if name in prepared.content}
        placed = np.asarray(prepared.train_clicks) > 0
        self._users, items = len(prepared.users), len(prepared.items)
        self._graph = normalised_click_graph(config, prepared, self.title)
        self._epoch_steps = max(1, -(-clicks.nnz // config.training.batch_size))
        graphs = _graphs(content, settings.neighbours, placed)
        self._original = [as_tensor(normalised(graph)) for graph in graphs.values()]
        self._content = {name: tf.constant(values) for name, values in content.items()}
        self._clicked = tf.constant(np.flatnonzero(placed), tf.int32)
        self._neighbours = min(settings.neighbours, int(placed.sum()))
        widths = {name: values.shape[1] for name, values in content.items()}
        self.network = LatticeWeights(self._users, items, settings, widths, len(content) * self._neighbours)
        self.item_tower = MixedGraphTower(items, placed, settings, graphs, content)
        self.user_tower = TableUserTower(self._users, settings.dim, self.item_tower, placed_users(prepared))

    @classmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """See `Recommender.from_prepared`."""
        return cls(config, prepared)

    @classmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Returns the number of entries of the embeddings."""
        return (users + items) * config.model_as(LatticeConfig).dim

    def collator(self, data: TrainingData, replicas: int = 1) -> Collate:
        """See `PairwiseRecommender.collator`.

        Raises:
          ConfigError: several replicas would share a batch, each with a learned graph of its own.
        """
        if replicas > 1:
            raise ConfigError(
                f"model.kind=lattice keeps its learned graph from step to step and is trained by one replica, got "
                f"{replicas}; pass run.strategy=single or train another kind"
            )
        return super().collator(data, replicas)

    @property
    def layout(self) -> dict[str, slice]:
        """The part "id" alone, because content only decides which embeddings an item receives."""
        return consecutive([(ID_PART, self._settings.dim)])

    def all_vectors(self, training: bool = False) -> AllVectors:
        """See `PairwiseRecommender.all_vectors`; the learned graph is that of the present weights."""
        del training
        learned = self._searched()
        return self._vectors(self._alike(learned.columns, learned.values))

    def example_vectors(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `PairwiseRecommender.example_vectors`; the learned graph is that of this epoch."""
        kept = self.network
        # Each branch computes `alike` as a whole, so that no gradients of the graph's entries are computed where none
        # are needed.
        alike = tf.cond(
            batch["step"] % self._epoch_steps == 0,
            lambda: self._alike(*self._searched_and_kept()),
            lambda: self._alike(tf.convert_to_tensor(kept.columns), tf.convert_to_tensor(kept.values)),
        )
        vectors = self._vectors(alike)
        items = tf.concat([batch["positive"], batch["negative"]], axis=0)
        return tf.gather(vectors.users, batch["user"]), tf.gather(vectors.items, items)

    def before_ranking(self) -> None:
        """Fills the tables of the towers, and what the item tower needs to place new items."""
        learned = self._searched()
        vectors = self._vectors(self._alike(learned.columns, learned.values))
        carried = self._over_items(learned.columns, learned.values, max(0, self._settings.item_layers - 1))
        self.item_tower.put(self.network, learned, self._shares(), carried)
        self._put(vectors)

    def _shares(self) -> tf.Tensor:
        """Returns the shares of the modalities in the mixed graph, float32 [modalities], which sum to 1."""
        return tf.nn.softmax(self.network.modalities)

    def _searched(self) -> LearnedGraph:
        """Returns the learned graph of the present weights; gradients flow to its values, not through the search."""
        columns, connections, units = [], [], []
        for share, (name, content) in zip(tf.unstack(self._shares()), self._content.items(), strict=True):
            layer = self.network.maps[name]
            unit = unit_mapped(content, layer.kernel, layer.bias)
            fixed = tf.stop_gradient(unit)
            positions, _ = nearest_rows(fixed, tf.gather(fixed, self._clicked), self._neighbours)
            rows = tf.gather(self._clicked, positions)
            cosines = tf.reduce_sum(unit[:, tf.newaxis] * tf.gather(unit, rows), axis=2)
            columns.append(rows)
            connections.append(share * tf.nn.relu(cosines))
            units.append(unit)
        joined, entries = tf.concat(columns, axis=1), tf.concat(connections, axis=1)
        order = tf.argsort(joined, axis=1, stable=True)  # Sparse products need the indices of a row in order.
        joined, entries = (tf.gather(each, order, batch_dims=1) for each in (joined, entries))
        sums = tf.reduce_sum(entries, axis=1)
        scale = tf.where(sums > 0, tf.math.rsqrt(tf.where(sums > 0, sums, 1.0)), 0.0)
        return LearnedGraph(joined, entries * scale[:, tf.newaxis] * tf.gather(scale, joined), sums, units)

    def _searched_and_kept(self) -> tuple[tf.Tensor, tf.Tensor]:
        learned = self._searched()
        with tf.control_dependencies(
            [self.network.columns.assign(learned.columns), self.network.values.assign(learned.values)]
        ):
            return tf.identity(learned.columns), tf.identity(learned.values)

    def _vectors(self, alike: tf.Tensor) -> AllVectors:
        """Returns u and i + h / |h| of all rows.

        Args:
          alike: h / |h| of all items, float32 [items, dim].
        """
        nodes = mean_of_layers(self._graph, self.network.nodes, self._settings.layers)
        return AllVectors(nodes[: self._users], nodes[self._users :] + alike)

    def _alike(self, columns: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Returns h / |h| of all items over a learned graph; zeros where model.item_layers is 0."""
        if not self._settings.item_layers:
            return tf.zeros_like(self.network.items)
        return tf.math.l2_normalize(self._over_items(columns, values, self._settings.item_layers), axis=1)

    def _over_items(self, columns: tf.Tensor, values: tf.Tensor, layers: int) -> tf.Tensor:
        """Returns the item embeddings after `layers` propagations over the mixed graph."""
        table = tf.convert_to_tensor(self.network.items)
        items, count = columns.shape
        rows = tf.repeat(tf.range(items, dtype=tf.int64), count)
        there = tf.stack([rows, tf.cast(tf.reshape(columns, [-1]), tf.int64)], axis=1)
        learned = tf.SparseTensor(there, tf.reshape(values, [-1]), [items, items])
        shares, kept = tf.unstack(self._shares()), self._settings.kept
        for _ in range(layers):
            carried = [share * product(graph, table) for share, graph in zip(shares, self._original, strict=True)]
            table = kept * tf.add_n(carried) + (1 - kept) * product(learned, table)
        return table


def unit_mapped(content: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns linearly mapped content of length 1, float32 [items, feature_dim]; zeros where content is absent."""
    there = tf.reduce_any(content != 0, axis=1, keepdims=True)
    return tf.math.l2_normalize(tf.where(there, tf.matmul(content, kernel) + bias, 0.0), axis=1)


def _graphs(content: Mapping[str, np.ndarray], neighbours: int, placed: np.ndarray) -> dict[str, sparse.csr_matrix]:
    """Returns the original graph of each modality's content, weighted by cosines and not normalised."""
    graphs = {}
    for name, vectors in content.items():
        with progress(f"items of similar {name} content, blocks") as stage:
            graphs[name] = content_graph(vectors, neighbours, "cosines", placed, stage)
    return graphs
