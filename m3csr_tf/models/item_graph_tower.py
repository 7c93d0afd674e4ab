"""An item tower for models with an item-item graph of content: known items are in a table, new ones join the graph.

Items are connected to clicked items alone, because the embedding of any other item has learned nothing. A new video
finds its nearest clicked items by its content, as every other item did. So it has a place in the graph like any other
item, and its vector is what it receives from its neighbours.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from m3csr_tf.models.content_placed_tower import ContentPlacedTower
from m3csr_tf.ops.nearest import nearest_rows

_TINY = 1e-12
"""Lower bound of a product of row sums that is divided by; it is reached only where there are no connections."""


class ItemGraphTower(ContentPlacedTower):
    """An item tower whose vectors of new items are computed from what their neighbours by content pass on to them.

    Args:
      rows, width, placed: see `TableItemTower`.

    Attributes:
      carried: the vector that each item passes on to those connected to it, float32 [rows, width].
    """

    def __init__(self, rows: int, width: int, placed: tf.Tensor) -> None:
        super().__init__(rows, width, placed)
        self.carried = self.add_weight(name="carried", shape=[rows, width], trainable=False, initializer="zeros")


class ClickedNeighbours(tf.keras.layers.Layer):
    """The connections of new items to the nearest clicked items by the content of one modality.

    Args:
      clicked: rows of the clicked items, int [clicked].
      width: width of the content.
      count: largest number of connections of an item.

    Attributes:
      content: unit vectors of the clicked items, float32 [clicked, width]; zeros where content is absent.
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
        """Returns the rows int32 [n, count] of the nearest clicked items, and their cosines float32 [n, count].

        If fewer than `count` items have a positive cosine, the others have a cosine of 0.

        Args:
          content: float32 [n, width].
        """
        positions, cosines = nearest_rows(tf.math.l2_normalize(content, axis=1), self.content, self._count)
        return tf.gather(self._rows, positions), tf.nn.relu(cosines)


def carried_to(rows: tf.Tensor, connections: tf.Tensor, sums: tf.Tensor, carried: tf.Tensor) -> tf.Tensor:
    """Propagates vectors to new items by D^-1/2 S D^-1/2, and returns what they receive, float32 [n, width].

    Args:
      rows: the items that the new ones are connected to, int32 [n, count].
      connections: the entries of S for them, float32 [n, count].
      sums: the row sums of S (the diagonal of D) of all items, float32 [items].
      carried: the vector that each item passes on, float32 [items, width].
    """
    own = tf.reduce_sum(connections, axis=1, keepdims=True)
    values = connections * tf.math.rsqrt(tf.maximum(own * tf.gather(sums, rows), _TINY))
    return tf.reduce_sum(values[:, :, tf.newaxis] * tf.gather(carried, rows), axis=1)
