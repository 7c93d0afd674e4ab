"""An item tower of models with an item-item graph of content: a table, and for new items the graph itself.

Connections lead to clicked items alone, for the embedding of another item has learned nothing. So a new video, whose
nearest clicked items are found by its content as those of every item were, has a place in the graph like any other, and
its vector is what the graph carries to it.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from m3csr_tf.models.content_placed_tower import ContentPlacedTower
from m3csr_tf.ops.nearest import nearest_rows

_TINY = 1e-12
"""In place of sums of 0, where there are no connections either."""


class ItemGraphTower(ContentPlacedTower):
    """Item vectors, where what others carry to an item is found by its content.

    Args:
      rows, width, placed: see `TableItemTower`.

    Attributes:
      carried: what each item gives to those that are connected to it, float32 [rows, width].
    """

    def __init__(self, rows: int, width: int, placed: tf.Tensor) -> None:
        super().__init__(rows, width, placed)
        self.carried = self.add_weight(name="carried", shape=[rows, width], trainable=False, initializer="zeros")


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
        positions, cosines = nearest_rows(tf.math.l2_normalize(content, axis=1), self.content, self._count)
        return tf.gather(self._rows, positions), tf.nn.relu(cosines)


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
