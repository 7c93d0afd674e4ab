"""What the slots of histories hold: rows that attention matches with queries and sums up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from m3csr_tf.ops.gather import add_entries, gather_entries, gather_lines
from m3csr_tf.ops.products import matches, weighted_sums

EMPTY_SLOT = 0
"""Index of the "nothing" item in the table of distinct items: what an empty slot points to."""


class SlotRows(Protocol):
    """Rows in the slots of users' histories, or one part of them."""

    def matches(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products float32 [users, heads, slots] of queries [users, heads, width]."""
        ...

    def sums(self, weights: tf.Tensor) -> tf.Tensor:
        """Sums float32 [users, heads, width] by weights [users, heads, slots]."""
        ...


@dataclass(frozen=True)
class GatheredRows:
    """Rows that were gathered.

    Attributes:
      rows: float32 [users, slots, width].
    """

    rows: tf.Tensor

    @classmethod
    def fixed(cls, table: tf.Tensor, lines: tf.Tensor) -> GatheredRows:
        """Lines int32 [users, slots] of a table float32 [items, width] that is constant to the gradient."""
        return cls(tf.gather(tf.stop_gradient(table), lines))

    @classmethod
    def trained(cls, table: tf.Tensor, lines: tf.Tensor) -> GatheredRows:
        """Lines int32 [users, slots] of a table float32 [items, width]."""
        return cls(gather_lines(table, lines))

    def matches(self, queries: tf.Tensor) -> tf.Tensor:
        """As `SlotRows.matches`."""
        return matches(queries, self.rows)

    def sums(self, weights: tf.Tensor) -> tf.Tensor:
        """As `SlotRows.sums`."""
        return weighted_sums(weights, self.rows)


@dataclass(frozen=True)
class OneHotRows:
    """Rows with a single 1: products pick one number a slot, and sums add numbers up.

    Attributes:
      columns: int32 [users, slots], where the 1 is.
      width: of the rows.
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
    """Histories of users.

    Attributes:
      parts: of the rows in the slots, each with a query of its own; they are never put beside each other.
      empty: bool [users, slots], slots that do not count: of no item, or of one without this modality.
    """

    parts: list[SlotRows]
    empty: tf.Tensor

    @classmethod
    def of(cls, table: tf.Tensor, slots: tf.Tensor) -> Histories:
        """Of items float32 [items, width] that are trained, at slots int32 [users, slots]."""
        return cls([GatheredRows.trained(table, slots)], slots == EMPTY_SLOT)
