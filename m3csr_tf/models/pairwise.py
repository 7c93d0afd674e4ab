"""What the models share that learn from pairs of a user and an item: collation, loss, and the tables that are served.

Each of them learns vectors of users and items whose dot products rank. BPR (Rendle et al. 2009) compares a user's
positive with a negative. A subclass computes the vectors; the run's ranking loss (`ranking_loss`) compares them here. A
`PairwiseRecommender` gathers the vectors of a batch, and puts all vectors into tables before they are ranked. A
`ComparingRecommender` that is not a `PairwiseRecommender` computes them from content, in its towers.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.audience import users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.models.contract import Batch, Collate, PreviousRun, Recommender, vector_width
from m3csr_tf.models.matching import rows_before
from m3csr_tf.models.ranking_loss import RankingLoss
from m3csr_tf.models.tables import TableItemTower, TableUserTower
from m3csr_tf.ops import replicas
from m3csr_tf.sampling.example_sampler import Examples
from m3csr_tf.sampling.training_data import TrainingData


class AllVectors(NamedTuple):
    """The vectors of all users and items, by row, float32 [users, D] and [items, D]."""

    users: tf.Tensor
    items: tf.Tensor


class ComparingRecommender(Recommender):
    """A recommender that learns by comparing the positive of an example with its negatives.

    Attributes:
      ranking_loss: the ranking loss that the run's settings ask for.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.ranking_loss = RankingLoss(config)

    @abc.abstractmethod
    def example_vectors(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the user vectors of a batch's examples, float32 [batch, D], and the item vectors of its candidates.

        The candidates are the positives of the examples, then the negatives.
        """

    def squared_weights(self, batch: Batch) -> tf.Tensor:
        """Returns |theta|^2 of the batch, a scalar that `training.beta` multiplies; it is a sum over the examples."""
        del batch
        return tf.constant(0.0)

    def auxiliary_loss(self, batch: Batch, users: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Returns what a model adds to the ranking loss, a scalar that is a mean over the batch's examples.

        Args:
          batch: a batch that `collator` made.
          users, items: the vectors of the batch that `example_vectors` returned.
        """
        del batch, users, items
        return tf.constant(0.0)

    def compute_loss(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        """Returns the mean ranking loss, plus the auxiliary loss and training.beta * |theta|^2 / batch size."""
        del training
        users, items = self.example_vectors(inputs)
        batch = tf.cast(tf.shape(inputs["positive"])[0], tf.float32)
        loss = self.ranking_loss.of_vectors(inputs, users, items) / batch
        loss += self.auxiliary_loss(inputs, users, items)
        if self.config.training.beta:
            loss += self.config.training.beta / batch * self.squared_weights(inputs)
        return loss / replicas.count()

    def continue_from(self, before: PreviousRun, data: TrainingData, prepared: Prepared) -> None:
        """Copies rows of tables by ids (`user_tables`, `item_tables`), and copies all other weights unchanged.

        A user or item that the run did not know keeps the row that was drawn.
        """
        del data
        user_tables = {table.ref() for table in self.user_tables()}
        item_tables = {table.ref() for table in self.item_tables()}
        for variable, old in zip(self.trainable_variables, before.model.trainable_variables, strict=True):
            if variable.ref() in user_tables:
                variable.assign(_matched(variable, old, rows_before(prepared.users, before.prepared.users)))
            elif variable.ref() in item_tables:
                variable.assign(_matched(variable, old, rows_before(prepared.items, before.prepared.items)))
            else:
                variable.assign(old)

    def user_tables(self) -> list[tf.Variable]:
        """Returns the trainable tables that have a row for each user."""
        return []

    def item_tables(self) -> list[tf.Variable]:
        """Returns the trainable tables that have a row for each item."""
        return []


class PairwiseRecommender(ComparingRecommender):
    """A recommender with all weights in one layer, whose towers are tables unless a subclass replaces them.

    A subclass creates `network`, a Keras layer that holds all trainable weights, and calls `_make_towers`.

    Attributes:
      network: the trainable weights.
    """

    network: tf.keras.layers.Layer

    @abc.abstractmethod
    def all_vectors(self, training: bool = False) -> AllVectors:
        """Computes the vectors of all users and items from the present weights.

        Args:
          training: whether to apply what is random in training (dropout).
        """

    def batch_vectors(self, users: tf.Tensor, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the vectors of some rows, float32 [users, D] and [items, D], for training.

        A graph model has to compute all vectors for that. A model whose vectors do not depend on each other overrides
        this.
        """
        everything = self.all_vectors(training=True)
        return tf.gather(everything.users, users), tf.gather(everything.items, items)

    def example_vectors(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `ComparingRecommender.example_vectors`."""
        return self.batch_vectors(batch["user"], tf.concat([batch["positive"], batch["negative"]], axis=0))

    def collator(self, data: TrainingData, replicas: int = 1) -> Collate:
        """Returns a collator whose batches hold rows alone.

        Their keys are "user", "positive" int32 [batch], "negative" int32 [negatives], "allowed", "step" and, for
        in-batch negatives, "positive_probability".
        """
        del data, replicas
        return collated

    def before_ranking(self) -> None:
        """Fills the tables of the towers."""
        self._put(self.all_vectors())

    def _put(self, vectors: AllVectors) -> None:
        """Fills the tables of the towers with the vectors of all rows."""
        self.user_tower.put(vectors.users)
        self.item_tower.vectors.assign(_without_reserved(vectors.items))

    def checkpointed(self) -> Mapping[str, tf.Module]:
        """Returns the towers with their tables, and the trainable weights, from which a later run may continue."""
        return {"user_tower": self.user_tower, "item_tower": self.item_tower, "network": self.network}

    def _make_towers(self, prepared: Prepared, items_without_clicks: bool = False, ones: int = 0) -> None:
        """Creates towers of tables, which rank for a user without a training click as they do for a new user.

        Args:
          prepared: the prepared data of the run.
          items_without_clicks: whether `all_vectors` places items without a training click by their content; otherwise
            they read the unknown row.
          ones: see `TableUserTower`.
        """
        width = vector_width(self.layout)
        placed = placed_items(prepared) | items_without_clicks
        self.item_tower = TableItemTower(len(prepared.items), width, placed)
        self.user_tower = TableUserTower(len(prepared.users), width, self.item_tower, placed_users(prepared), ones)


def placed_items(prepared: Prepared) -> tf.Tensor:
    """Returns which items have a training click, bool [items]."""
    return tf.constant(np.asarray(prepared.train_clicks) > 0)


def placed_users(prepared: Prepared) -> tf.Tensor:
    """Returns which users have a training click, bool [users]."""
    return tf.constant(np.isin(np.arange(len(prepared.users)), users_with(prepared, columns.TRAIN)))


def collated(examples: Examples) -> Batch:
    """Returns the rows of examples as a batch."""
    batch: Batch = {
        "user": examples.user_rows,
        "positive": examples.positives,
        "negative": examples.negatives,
        "allowed": examples.allowed,
        "step": examples.step,
    }
    if examples.positive_probability is not None:
        batch["positive_probability"] = examples.positive_probability
    return batch


def _without_reserved(vectors: tf.Tensor) -> tf.Tensor:
    """Returns the same vectors with zeros in the reserved rows."""
    return tf.concat([tf.zeros_like(vectors[:FIRST_ROW]), vectors[FIRST_ROW:]], axis=0)


def _matched(drawn: tf.Variable, old: tf.Variable, rows: np.ndarray) -> np.ndarray:
    """Returns the old rows, matched by `rows` int32 [rows]; where an id was not known, the row that was drawn."""
    known = rows >= FIRST_ROW
    known[:FIRST_ROW] = True
    shape = [-1] + [1] * (len(drawn.shape) - 1)
    return np.where(known.reshape(shape), old.numpy()[rows], drawn.numpy())
