"""Towers that read finished vectors from tables: what models without attention to histories export.

A model that learns a vector for every user and every item, or propagates them over a graph, has nothing left to compute
when it serves. Its towers hold the tables, which `TableTowers.put` fills before vectors are asked for
(`Recommender.before_ranking`), and answer what the tables cannot: who a user without a row is.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW


class TableItemTower(tf.keras.Model):
    """Item vectors by row, float32 [items, D].

    The unknown row, which items without a training click read too, holds what the model says of an item of which
    nothing is known; most models say nothing, zeros, so that such an item scores 0 for everybody.

    Args:
      rows: of the table, reserved rows included.
      width: D.
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
        """Item vectors, float32 [items, D]; of the features only item_row int32 [items] is read."""
        return tf.gather(self.vectors, tf.gather(self.read_rows, features[columns.ITEM_ROW]))


class TableUserTower(tf.keras.Model):
    """User vectors by row, float32 [users, D].

    A user without a row of her own has the mean vector of the known items in her history, brought to the mean length of
    the known users' vectors; one without such a history has the mean of the known users' vectors, and so is shown what
    suits most. The history of a user with a row is not read: the row is what training has made of it.

    Args:
      rows: of the table, reserved rows included.
      width: D.
      items: the item tower.
    """

    def __init__(self, rows: int, width: int, items: TableItemTower, name: str = "user_tower") -> None:
        super().__init__(name=name)
        self.vectors = self.add_weight(name="vectors", shape=[rows, width], trainable=False, initializer="zeros")
        self.length = self.add_weight(name="length", shape=[], trainable=False, initializer="ones")
        self.items = items

    def put(self, vectors: tf.Tensor) -> None:
        """Takes the vectors of all rows, float32 [rows, D]; those of the reserved rows are made here."""
        known = vectors[FIRST_ROW:]
        if known.shape[0] == 0:
            self.vectors.assign(tf.zeros_like(vectors))
            return
        mean = tf.reduce_mean(known, axis=0, keepdims=True)
        reserved = tf.scatter_nd([[UNKNOWN_ROW]], mean, [FIRST_ROW, vectors.shape[1]])
        self.vectors.assign(tf.concat([reserved, known], axis=0))
        self.length.assign(tf.reduce_mean(tf.norm(known, axis=1)))

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """User vectors, float32 [users, D]; of the features user_row, slots and item_row are read."""
        rows = features[columns.USER_ROW]
        own = tf.gather(self.vectors, rows)
        # One line more, of zeros, so that a history of width 0, or of no item, is an ordinary one.
        of_items = tf.pad(self.items(features), [[1, 0], [0, 0]])
        slots = tf.pad(features[columns.SLOTS] + 1, [[0, 0], [0, 1]])
        total = tf.reduce_sum(tf.gather(of_items, slots), axis=1)
        length = tf.norm(total, axis=1, keepdims=True)
        from_history = self.length * tf.math.divide_no_nan(total, length)
        is_new = (rows == UNKNOWN_ROW)[:, tf.newaxis]
        return tf.where(is_new & (length > 0), from_history, own)
