"""The vectors in the slots of users' histories, which attention multiplies with queries and sums by weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from m3csr_tf.ops.gather import gather_distinct, gather_scalars, scatter_scalars
from m3csr_tf.ops.products import matches, weighted_sums

NOTHING_INDEX = 0
"""Index of the "nothing" item in the table of a batch's distinct items. Empty slots refer to it."""


class SlotVectors(Protocol):
    """Vectors in the slots of users' histories, or one part (a range of columns) of these vectors."""

    def matches(self, queries: tf.Tensor) -> tf.Tensor:
        """Computes dot products with the vectors of each user.

        Args:
          queries: float32 [users, heads, width].

        Returns:
          float32 [users, heads, slots].
        """
        ...

    def sums(self, weights: tf.Tensor) -> tf.Tensor:
        """Computes weighted sums of the vectors of each user.

        Args:
          weights: float32 [users, heads, slots].

        Returns:
          float32 [users, heads, width].
        """
        ...


@dataclass(frozen=True)
class GatheredVectors:
    """Dense vectors, gathered from a table.

    Attributes:
      slot_vectors: float32 [users, slots, width].
    """

    slot_vectors: tf.Tensor

    @classmethod
    def fixed(cls, table: tf.Tensor, indices: tf.Tensor) -> GatheredVectors:
        """Gathers by indices int32 [users, slots] from a table float32 [items, width], to which no gradient flows."""
        return cls(tf.gather(tf.stop_gradient(table), indices))

    @classmethod
    def trained(cls, table: tf.Tensor, indices: tf.Tensor) -> GatheredVectors:
        """Gathers by indices int32 [users, slots] from a table float32 [items, width], to which the gradient flows."""
        return cls(gather_distinct(table, indices))

    def matches(self, queries: tf.Tensor) -> tf.Tensor:
        """As `SlotVectors.matches`."""
        return matches(queries, self.slot_vectors)

    def sums(self, weights: tf.Tensor) -> tf.Tensor:
        """As `SlotVectors.sums`."""
        return weighted_sums(weights, self.slot_vectors)


@dataclass(frozen=True)
class OneHotVectors:
    """One-hot vectors. A dot product picks one number for each slot, and a weighted sum adds weights by column.

    Attributes:
      columns: int32 [users, slots], the column of the 1.
      width: width of the vectors.
    """

    columns: tf.Tensor
    width: int

    def matches(self, queries: tf.Tensor) -> tf.Tensor:
        """As `SlotVectors.matches`."""
        users, heads = tf.shape(queries)[0], queries.shape[1]
        indices = tf.reshape(tf.range(users * heads), [-1, heads, 1])
        return gather_scalars(tf.reshape(queries, [-1, self.width]), indices, self.columns[:, tf.newaxis])

    def sums(self, weights: tf.Tensor) -> tf.Tensor:
        """As `SlotVectors.sums`."""
        heads = weights.shape[1]
        columns = self.columns if heads == 1 else tf.repeat(self.columns, heads, axis=0)
        by_column = scatter_scalars(tf.reshape(weights, tf.shape(columns)), columns, self.width)
        return tf.reshape(by_column, [-1, heads, self.width])


@dataclass(frozen=True)
class Histories:
    """The vectors in the slots of users' histories, in parts.

    Attributes:
      parts: the parts (ranges of columns) of the vectors. Each is multiplied with a query of its own, and they are
        never concatenated.
      empty: bool [users, slots], True for slots that do not count, because they hold no item, or an item without this
        modality.
    """

    parts: list[SlotVectors]
    empty: tf.Tensor

    @classmethod
    def of(cls, table: tf.Tensor, slots: tf.Tensor) -> Histories:
        """Makes histories of trained vectors float32 [items, width]; slots int32 [users, slots] are indices of them."""
        return cls([GatheredVectors.trained(table, slots)], slots == NOTHING_INDEX)
