"""An item tower that is a table for clicked items and reads the content of all others."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.ids import UNKNOWN_ROW
from m3csr_tf.models.tables import TableItemTower

_NO_CONTENT = (columns.ITEM_ROW, columns.CLUSTER_IDS, columns.POPULARITY_BIN, columns.USER_ROW, columns.SLOTS)


class ContentPlacedTower(TableItemTower):
    """Item vectors by row, float32 [items, D]; those of items without a training click by their content.

    Args:
      rows, width, placed: see `TableItemTower`.
    """

    @abc.abstractmethod
    def of_content(self, content: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Vectors of new items, float32 [n, D], by scaled content: modality -> float32 [n, width], zeros: absent."""

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Item vectors, float32 [items, D]; of the features item_row int32 [items] and the modalities are read."""
        rows = tf.gather(self.read_rows, features[columns.ITEM_ROW])
        new = tf.where(rows == UNKNOWN_ROW)
        content = {name: tf.gather_nd(value, new) for name, value in features.items() if name not in _NO_CONTENT}
        return tf.tensor_scatter_nd_update(tf.gather(self.vectors, rows), new, self.of_content(content))
