"""The data of a training in memory: features of all items, and clicks and histories of users."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.features.histories import click_matrix, histories
from m3csr_tf.graph.cross_fitting import CrossIds
from m3csr_tf.graph.item_graph import ItemGraph
from m3csr_tf.sampling.click_weights import ClickWeights
from m3csr_tf.sampling.windows import ShardedClicks
from m3csr_tf.util.progress import PERCENT, progress

_SAMPLE_CLICKS = 5_000_000
"""Clicks of the sample of a log that is read in shards. They suffice for what is estimated before training: the item
graph, singular vectors, and maps of content."""


def item_features(prepared: Prepared) -> dict[str, np.ndarray]:
    """Collects the features of every item row in the form that the towers take (`ItemTower.call`).

    Returns:
      Feature name -> array [len(items), ...]. The padding and unknown rows have no content, no cluster, and popularity
      bin 0.
    """
    features: dict[str, np.ndarray] = {
        columns.ITEM_ROW: np.arange(len(prepared.items), dtype=np.int32),
        columns.CLUSTER_IDS: prepared.cluster_ids,
        columns.POPULARITY_BIN: prepared.bins,
    }
    for name, raw in prepared.content.items():
        features[name] = prepared.scaler.transform(name, raw)
    return features


@dataclass(frozen=True)
class TrainingData:
    """What training, validation and the closed-form initial weights read.

    Attributes:
      clicks: binary [users, items] training clicks, indexed by rows of the id tables. With `shards` they are those of a
        sample of users, numbered anew, from which initial weights are estimated.
      histories: int32 [users, slots] of the users of `clicks`, padded with PADDING_ROW.
      features: as `item_features` returns them, arrays or tensors.
      trained: bool [items], the items with a training click.
      item_graph: the item graph, where random walks give positives or ids are initialised from it; otherwise None,
        since it takes long on large logs.
      shards: the clicks on the disk, if there are more than `training.window_clicks`; otherwise None.
      cross_ids: cross-fitted item ids, each estimated without the clicks of one part of the users; None where all
        examples read the model's id table.
      weights: the weights of `clicks` in the draw of positives, float64 [users, items] with entries in the same places;
        None: all are drawn alike.
    """

    clicks: csr_matrix
    histories: np.ndarray
    features: dict[str, np.ndarray]
    trained: np.ndarray
    item_graph: ItemGraph | None
    shards: ShardedClicks | None = None
    cross_ids: CrossIds | None = None
    weights: csr_matrix | None = None

    @classmethod
    def of(cls, prepared: Prepared, config: Config, needs_item_graph: bool = False) -> TrainingData:
        """Reads the training data from a prepared folder.

        Args:
          prepared: the folder.
          config: the run's settings.
          needs_item_graph: make it also where no positives are drawn from it (`Recommender.needs_item_graph`).
        """
        with progress("reading the training clicks"):
            clicks, slots, shards, weights = _clicks_and_histories(prepared, config)
            features = item_features(prepared)
        item_graph = None
        if needs_item_graph or config.training.walk_positives > 0:
            with progress(f"item graph, by random walks over the clicks, {PERCENT}") as stage:
                item_graph = ItemGraph.of(clicks, prepared.content, config.item_graph, stage)
        return cls(
            clicks=clicks,
            histories=slots,
            features=features,
            trained=prepared.train_clicks > 0,
            item_graph=item_graph,
            shards=shards,
            weights=weights,
        )

    def some_users(self, clicks: int, seed: int) -> TrainingData:
        """Returns the training data of a seeded sample of users, numbered anew.

        Args:
          clicks: the most training clicks that the sample has. If all users have no more, they are returned unchanged.
          seed: seed of the sample.
        """
        if self.clicks.nnz <= clicks:
            return self
        order = np.random.default_rng(seed).permutation(self.clicks.shape[0])
        within = np.cumsum(np.diff(self.clicks.indptr)[order]) <= clicks
        users = np.sort(order[within])
        weights = None if self.weights is None else self.weights[users]
        return dataclasses.replace(
            self, clicks=self.clicks[users], histories=self.histories[users], shards=None, weights=weights
        )

    def weighed_clicks(self) -> csr_matrix:
        """Returns the clicks with their weights in the draw of positives, float64 [users, items], of mean 1.

        Where all are drawn alike, they are `clicks`. Weights of other pairs than those of `clicks` are left out.
        """
        if self.weights is None:
            return self.clicks
        return self.clicks.multiply(self.weights / self.weights.data.mean()).tocsr()

    def on_device(self) -> TrainingData:
        """Returns the same with features as tensors, so that constants made of them share their memory."""
        features = {name: tf.constant(values) for name, values in self.features.items()}
        return dataclasses.replace(self, features=features)


def _clicks_and_histories(
    prepared: Prepared, config: Config
) -> tuple[csr_matrix, np.ndarray, ShardedClicks | None, csr_matrix | None]:
    """Reads clicks, histories, shards and weights, which are attributes of `TrainingData`."""
    if prepared.train_clicks.sum() > config.training.window_clicks:
        shards = ShardedClicks.of(prepared, config)
        some = shards.read_users(_sample(shards.clicks))
        return some.clicks, some.histories, shards, some.weights
    train = prepared.split(columns.TRAIN)
    clicks = click_matrix(train, len(prepared.users), len(prepared.items))
    slots = histories(train, len(prepared.users), config.history.trained, config.split.seed)
    rule = ClickWeights.of(prepared, config.training)
    if rule is None:
        return clicks, slots, None, None
    weighted = train.assign(**{columns.WEIGHT: rule.of_clicks(train)})
    return clicks, slots, None, click_matrix(weighted, len(prepared.users), len(prepared.items), columns.WEIGHT)


def _sample(clicks: np.ndarray) -> tuple[int, ...]:
    """Returns the numbers of the first shards with up to _SAMPLE_CLICKS clicks, at least one shard.

    Users are assigned to shards at random, so that the first shards are a random sample of users.
    """
    enough = int(np.searchsorted(np.cumsum(clicks), _SAMPLE_CLICKS)) + 1
    return tuple(range(min(enough, len(clicks))))
