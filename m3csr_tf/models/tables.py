"""Towers that read finished vectors from tables, which models without attention to histories export.

A model that learns a vector for every user and every item, or propagates vectors over a graph, has nothing left to
compute when it serves. Its towers hold the tables, which are filled before vectors are computed
(`Recommender.before_ranking`). The user tower also computes what the table cannot give: the vector of a user without a
row.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW


class TableItemTower(tf.keras.Model):
    """A table of item vectors by row, float32 [items, D].

    Items without a training click also read the unknown row, which holds what the model says of an item of which
    nothing is known. Most models say nothing: the row is zeros, and such an item scores 0 for everybody.

    Args:
      rows: number of rows of the table, including the reserved rows.
      width: the width D of a vector.
      placed: bool [rows], False where an item reads the unknown row.
    """

    def __init__(self, rows: int, width: int, placed: tf.Tensor, name: str = "item_tower") -> None:
        super().__init__(name=name)
        self.vectors = self.add_weight(name="vectors", shape=[rows, width], trainable=False, initializer="zeros")
        self.read_rows = self.add_weight(
            name="read_rows", shape=[rows], dtype=tf.int32, trainable=False, initializer="zeros"
        )
        self.read_rows.assign(tf.where(placed, tf.range(rows), UNKNOWN_ROW))

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns item vectors, float32 [items, D]; of the features only item_row int32 [items] is read."""
        return tf.gather(self.vectors, tf.gather(self.read_rows, features[columns.ITEM_ROW]))


class TableUserTower(tf.keras.Model):
    """A table of user vectors by row, float32 [users, D].

    A user without a row of her own, or with a row that no training click has moved, gets the vector that is computed
    from her history (`of_history`). If her history has no known item, she gets the mean of the placed users' vectors,
    and so is shown what suits most users. The history of a placed user is not read, because her row is what training
    learned from it.

    Args:
      rows: number of rows of the table, including the reserved rows.
      width: the width D of a vector.
      items: the item tower, which must not read a feature that histories lack (popularity_bin).
      placed: bool [rows], False where a user has no training click; None if all known users have one.
      ones: number of entries at the end of every user vector that are 1, because they are multiplied by what an item
        adds to every user's score.
    """

    def __init__(
        self,
        rows: int,
        width: int,
        items: tf.keras.Model,
        placed: tf.Tensor | None = None,
        ones: int = 0,
        name: str = "user_tower",
    ) -> None:
        super().__init__(name=name)
        self.vectors = self.add_weight(name="vectors", shape=[rows, width], trainable=False, initializer="zeros")
        self.length = self.add_weight(name="length", shape=[], trainable=False, initializer="ones")
        self.placed = self.add_weight(
            name="placed", shape=[rows], dtype=tf.bool, trainable=False, initializer=tf.zeros_initializer()
        )
        known = tf.range(rows) >= FIRST_ROW
        self.placed.assign(known if placed is None else known & placed)
        self.items = items
        self._ones = ones

    def put(self, vectors: tf.Tensor) -> None:
        """Takes the vectors of all rows, float32 [rows, D], and gives users who are not placed the mean vector."""
        placed = tf.boolean_mask(vectors, self.placed)
        count = tf.cast(tf.shape(placed)[0], tf.float32)
        mean = tf.math.divide_no_nan(tf.reduce_sum(placed, axis=0), count)
        is_user = (tf.range(vectors.shape[0]) != PADDING_ROW)[:, tf.newaxis]
        self.vectors.assign(tf.where(self.placed[:, tf.newaxis], vectors, tf.where(is_user, mean, 0.0)))
        lengths = tf.norm(placed[:, : vectors.shape[1] - self._ones], axis=1)
        self.length.assign(tf.math.divide_no_nan(tf.reduce_sum(lengths), count))

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns user vectors, float32 [users, D]; it reads user_row, slots and the features of the item tower."""
        rows = features[columns.USER_ROW]
        own = tf.gather(self.vectors, rows)
        # An additional vector of zeros makes a history of width 0, or of no item, an ordinary one.
        item_vectors = tf.pad(self.items(features), [[1, 0], [0, 0]])
        slots = tf.pad(features[columns.SLOTS] + 1, [[0, 0], [0, 1]])
        total = tf.reduce_sum(tf.gather(item_vectors, slots), axis=1)
        from_history, says = self.of_history(total)
        is_new = tf.logical_not(tf.gather(self.placed, rows))[:, tf.newaxis]
        return tf.where(is_new & says, from_history, own)

    def of_history(self, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes user vectors from histories: the mean item, scaled to the mean length of the placed users' vectors.

        Args:
          total: the sum of the item vectors of each history, float32 [users, D].

        Returns:
          User vectors float32 [users, D], and bool [users, 1], whether the history has any information.
        """
        tastes = total[:, : self.vectors.shape[1] - self._ones]
        length = tf.norm(tastes, axis=1, keepdims=True)
        vectors = self.length * tf.math.divide_no_nan(tastes, length)
        return tf.pad(vectors, [[0, 0], [0, self._ones]], constant_values=1.0), length > 0
