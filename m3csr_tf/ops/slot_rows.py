"""The rows in the slots of users' histories, which attention multiplies with queries and sums by weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from m3csr_tf.ops.gather import add_entries, gather_entries, gather_lines
from m3csr_tf.ops.products import matches, weighted_sums

EMPTY_SLOT = 0
"""Line of the "nothing" item in the table of a batch's distinct items. Empty slots refer to it."""


class SlotRows(Protocol):
    """Rows in the slots of users' histories, or one part (a range of columns) of these rows."""

    def matches(self, queries: tf.Tensor) -> tf.Tensor:
        """Computes dot products with the rows of each user.

        Args:
          queries: float32 [users, heads, width].

        Returns:
          float32 [users, heads, slots].
        """
        ...

    def sums(self, weights: tf.Tensor) -> tf.Tensor:
        """Computes weighted sums of the rows of each user.

        Args:
          weights: float32 [users, heads, slots].

        Returns:
          float32 [users, heads, width].
        """
        ...


@dataclass(frozen=True)
class GatheredRows:
    """Dense rows, gathered from a table.

    Attributes:
      rows: float32 [users, slots, width].
    """

    rows: tf.Tensor

    @classmethod
    def fixed(cls, table: tf.Tensor, lines: tf.Tensor) -> GatheredRows:
        """Gathers lines int32 [users, slots] of a table float32 [items, width], to which no gradient flows."""
        return cls(tf.gather(tf.stop_gradient(table), lines))

    @classmethod
    def trained(cls, table: tf.Tensor, lines: tf.Tensor) -> GatheredRows:
        """Gathers lines int32 [users, slots] of a table float32 [items, width], to which the gradient flows."""
        return cls(gather_lines(table, lines))

    def matches(self, queries: tf.Tensor) -> tf.Tensor:
        """As `SlotRows.matches`."""
        return matches(queries, self.rows)

    def sums(self, weights: tf.Tensor) -> tf.Tensor:
        """As `SlotRows.sums`."""
        return weighted_sums(weights, self.rows)


@dataclass(frozen=True)
class OneHotRows:
    """One-hot rows. A dot product picks one number for each slot, and a weighted sum adds weights by column.

    Attributes:
      columns: int32 [users, slots], the column of the 1.
      width: width of the rows.
    """

    columns: tf.Tensor
    width: int

    def matches(self, queries: tf.Tensor) -> tf.Tensor:
        """As `SlotRows.matches`."""
        users, heads = tf.shape(queries)[0], queries.shape[1]
        lines = tf.reshape(tf.range(users * heads), [-1, heads, 1])
        return gather_entries(tf.reshape(queries, [-1, self.width]), lines, self.columns[:, tf.newaxis])

    def sums(self, weights: tf.Tensor) -> tf.Tensor:
        """As `SlotRows.sums`."""
        heads = weights.shape[1]
        columns = self.columns if heads == 1 else tf.repeat(self.columns, heads, axis=0)
        by_column = add_entries(tf.reshape(weights, tf.shape(columns)), columns, self.width)
        return tf.reshape(by_column, [-1, heads, self.width])


@dataclass(frozen=True)
class Histories:
    """The rows in the slots of users' histories, in parts.

    Attributes:
      parts: the parts (ranges of columns) of the rows. Each is multiplied with a query of its own, and they are never
        concatenated.
      empty: bool [users, slots], True for slots that do not count, because they hold no item, or an item without this
        modality.
    """

    parts: list[SlotRows]
    empty: tf.Tensor

    @classmethod
    def of(cls, table: tf.Tensor, slots: tf.Tensor) -> Histories:
        """Makes histories of trained vectors float32 [items, width]; slots int32 [users, slots] are their lines."""
        return cls([GatheredRows.trained(table, slots)], slots == EMPTY_SLOT)
