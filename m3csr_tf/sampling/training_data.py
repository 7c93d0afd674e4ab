"""What a run is trained on: item features, and the clicks of users held in memory."""

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
from m3csr_tf.graph.item_graph import Affinities
from m3csr_tf.sampling.windows import ShardedClicks
from m3csr_tf.util.progress import PERCENT, progress

_SAMPLE_CLICKS = 5_000_000
"""Enough for what is estimated from clicks before training: affinities, singular vectors, maps of content."""


def item_features(prepared: Prepared) -> dict[str, np.ndarray]:
    """Features of every item row, as the towers take them (`ItemTower.call`), each [len(items), ...].

    The padding and unknown rows have no content, no cluster and popularity bin 0.
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
    """What training, validation and closed-form starts look up all the time.

    Attributes:
      clicks: binary user x item matrix of training clicks, rows of the id tables; of a log with `shards`, a sample of
        users, renumbered, from which the starts are estimated.
      histories: int32 [users, slots] of the users of `clicks`, padded with PADDING_ROW.
      features: as `item_features`, arrays or tensors.
      trained: bool [items], the items with a training click.
      affinities: of the items, where walks give positives or may start ids; else None, since they take long on large
        logs.
      shards: the clicks on the disk, where they are more than `training.window_clicks`; else None.
      cross_ids: ids that have not seen the clicks of a part of the users; None where all examples see the table's.
    """

    clicks: csr_matrix
    histories: np.ndarray
    features: dict[str, np.ndarray]
    trained: np.ndarray
    affinities: Affinities | None
    shards: ShardedClicks | None = None
    cross_ids: CrossIds | None = None

    @classmethod
    def of(cls, prepared: Prepared, config: Config, item_graph: bool = False) -> TrainingData:
        """Takes the training data from a prepared folder.

        Args:
          prepared: the folder.
          config: the run's settings.
          item_graph: make the affinities even where no walk gives positives (`Recommender.needs_item_graph`).
        """
        with progress("reading the training clicks"):
            clicks, slots, shards = _clicks_and_histories(prepared, config)
            features = item_features(prepared)
        affinities = None
        if item_graph or config.training.walk_positives > 0:
            with progress(f"affinities of items, by random walks over the clicks, {PERCENT}") as told:
                affinities = Affinities.of(clicks, prepared.content, config.affinities, told)
        return cls(
            clicks=clicks,
            histories=slots,
            features=features,
            trained=prepared.train_clicks > 0,
            affinities=affinities,
            shards=shards,
        )

    def some_users(self, clicks: int, seed: int) -> TrainingData:
        """The same of a seeded draw of users, renumbered, who have `clicks` training clicks at most.

        All users, as they are numbered, where they have no more.
        """
        if self.clicks.nnz <= clicks:
            return self
        order = np.random.default_rng(seed).permutation(self.clicks.shape[0])
        within = np.cumsum(np.diff(self.clicks.indptr)[order]) <= clicks
        users = np.sort(order[within])
        return dataclasses.replace(self, clicks=self.clicks[users], histories=self.histories[users], shards=None)

    def on_device(self) -> TrainingData:
        """The same with features as tensors: whoever makes constants of them makes no copies."""
        features = {name: tf.constant(values) for name, values in self.features.items()}
        return dataclasses.replace(self, features=features)


def _clicks_and_histories(prepared: Prepared, config: Config) -> tuple[csr_matrix, np.ndarray, ShardedClicks | None]:
    """Clicks, histories and shards, as the attributes of `TrainingData`."""
    if prepared.train_clicks.sum() > config.training.window_clicks:
        shards = ShardedClicks.of(prepared, config)
        clicks, slots, _ = shards.clicks_of(_sample(shards.clicks))
        return clicks, slots, shards
    train = prepared.split(columns.TRAIN)
    clicks = click_matrix(train, len(prepared.users), len(prepared.items))
    slots = histories(train, len(prepared.users), config.history.trained, config.split.seed)
    return clicks, slots, None


def _sample(clicks: np.ndarray) -> tuple[int, ...]:
    """The first shards, up to _SAMPLE_CLICKS clicks, one at least: users are spread over shards at random."""
    enough = int(np.searchsorted(np.cumsum(clicks), _SAMPLE_CLICKS)) + 1
    return tuple(range(min(enough, len(clicks))))
