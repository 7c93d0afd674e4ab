"""An item tower that reads clicked items from a table and computes the vectors of all others from their content."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.ids import UNKNOWN_ROW
from m3csr_tf.models.tables import TableItemTower

_NO_CONTENT = (columns.ITEM_ROW, columns.CLUSTER_IDS, columns.POPULARITY_BIN, columns.USER_ROW, columns.SLOTS)


class ContentPlacedTower(TableItemTower):
    """An item tower with a table of item vectors, which computes those of items without a training click from content.

    Args:
      rows, width, placed: see `TableItemTower`.
    """

    @abc.abstractmethod
    def of_content(self, content: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Computes the vectors of new items from their content.

        Args:
          content: modality -> scaled content float32 [n, width], zeros where it is absent.

        Returns:
          float32 [n, D].
        """

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns item vectors, float32 [items, D]; it reads item_row, int32 [items], and the modalities."""
        rows = tf.gather(self.read_rows, features[columns.ITEM_ROW])
        new = tf.where(rows == UNKNOWN_ROW)
        content = {name: tf.gather_nd(value, new) for name, value in features.items() if name not in _NO_CONTENT}
        return tf.tensor_scatter_nd_update(tf.gather(self.vectors, rows), new, self.of_content(content))
