"""An item tower of models with an item-item graph of content: a table, and for new items the graph itself.

Connections lead to clicked items alone, for the embedding of another item has learned nothing. So a new video, whose
nearest clicked items are found by its content as those of every item were, has a place in the graph like any other, and
its vector is what the graph carries to it.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.ids import UNKNOWN_ROW
from m3csr_tf.models.tables import TableItemTower
from m3csr_tf.ops.nearest import nearest_by_cosine

_TINY = 1e-12
"""In place of sums of 0, where there are no connections either."""


class ItemGraphTower(TableItemTower):
    """Item vectors by row, float32 [items, D]; of items without a training click by content.

    Args:
      rows, width, placed: see `TableItemTower`.
    """

    def __init__(self, rows: int, width: int, placed: tf.Tensor) -> None:
        super().__init__(rows, width, placed)
        self.carried = self.add_weight(name="carried", shape=[rows, width], trainable=False, initializer="zeros")
        """What each item gives to those that are connected to it, set by `Recommender.before_ranking`."""

    @abc.abstractmethod
    def of_content(self, content: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Vectors of new items, float32 [n, D], by scaled content: modality -> float32 [n, width]."""

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Item vectors, float32 [items, D]; of the features item_row int32 [items] and the modalities are read."""
        rows = tf.gather(self.read_rows, features[columns.ITEM_ROW])
        known = tf.gather(self.vectors, rows)
        new = tf.where(rows == UNKNOWN_ROW)
        others = (columns.ITEM_ROW, columns.CLUSTER_IDS, columns.POPULARITY_BIN, columns.USER_ROW, columns.SLOTS)
        content = {name: tf.gather_nd(value, new) for name, value in features.items() if name not in others}
        return tf.tensor_scatter_nd_update(known, new, self.of_content(content))


class ClickedNeighbours(tf.keras.layers.Layer):
    """Connects new items to the nearest clicked items by the content of one modality.

    Args:
      clicked: rows of the clicked items, int [clicked].
      width: of the content.
      count: connections of an item, at most.

    Attributes:
      content: unit vectors of the clicked items, float32 [clicked, width]; zeros where absent.
    """

    def __init__(self, clicked: np.ndarray, width: int, count: int, name: str) -> None:
        super().__init__(name=name)
        self._count = min(count, len(clicked))
        self._rows = self.add_weight(
            name="rows", shape=[len(clicked)], dtype=tf.int32, trainable=False, initializer="zeros"
        )
        self._rows.assign(clicked)
        self.content = self.add_weight(
            name="content", shape=[len(clicked), width], trainable=False, initializer="zeros"
        )

    def call(self, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows int32 [n, count] of the nearest clicked items and their cosines float32 [n, count].

        Args:
          content: float32 [n, width]. Where fewer have a positive cosine, the others have 0.
        """
        places, cosines = nearest_by_cosine(tf.math.l2_normalize(content, axis=1), self.content, self._count)
        return tf.gather(self._rows, places), tf.nn.relu(cosines)


def carried_to(rows: tf.Tensor, connections: tf.Tensor, sums: tf.Tensor, carried: tf.Tensor) -> tf.Tensor:
    """What D^-1/2 S D^-1/2 carries to new items, float32 [n, width].

    Args:
      rows: items that the new ones are connected to, int32 [n, count].
      connections: the entries of S, float32 [n, count].
      sums: of the rows of S, D of all items, float32 [items].
      carried: what each item gives, float32 [items, width].
    """
    own = tf.reduce_sum(connections, axis=1, keepdims=True)
    values = connections * tf.math.rsqrt(tf.maximum(own * tf.gather(sums, rows), _TINY))
    return tf.reduce_sum(values[:, :, tf.newaxis] * tf.gather(carried, rows), axis=1)
