"""Random draws of a training stream: from weighted rows, and how often each item is drawn as a positive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix

from m3csr_tf.ids import PADDING_ROW


@dataclass(frozen=True)
class Draws:
    """Draws of a column from the distribution of a row.

    Attributes:
      columns: int32 [entries].
      ends: int64 [rows], one past the last entry of each row.
      sums: float64 [entries + 1], running sums over all entries, from 0.
    """

    columns: tf.Tensor
    ends: tf.Tensor
    sums: tf.Tensor

    @classmethod
    def of_rows(cls, weights: csr_matrix) -> Draws:
        """Draws a row's columns in proportion to its entries."""
        columns = weights.indices if weights.nnz else np.array([PADDING_ROW])
        sums = np.zeros(len(columns) + 1)
        np.cumsum(weights.data, dtype=np.float64, out=sums[1 : weights.nnz + 1])
        return cls(tf.constant(columns, tf.int32), tf.constant(weights.indptr, tf.int64), tf.constant(sums))

    def draw(self, rows: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Columns int32 of the shape of `rows`, by numbers in [0, 1); PADDING_ROW of an empty row."""
        starts, ends = tf.gather(self.ends, rows), tf.gather(self.ends, rows + 1)
        below, above = tf.gather(self.sums, starts), tf.gather(self.sums, ends)
        wanted = below + tf.cast(uniform, tf.float64) * (above - below)
        place = tf.searchsorted(self.sums, wanted, side="right", out_type=tf.int64) - 1
        place = tf.clip_by_value(place, starts, tf.maximum(ends - 1, starts))
        column = tf.gather(self.columns, tf.minimum(place, tf.size(self.columns, out_type=tf.int64) - 1))
        return tf.where(starts == ends, PADDING_ROW, column)


def positive_probabilities(clicks: Iterable[csr_matrix], positives: str) -> np.ndarray:
    """How often the stream draws each item as a positive, float32 [items], summing to 1.

    The logQ correction of in-batch negatives [Yi et al. 2019] needs the probabilities of the very sampler that draws.

    Args:
      clicks: binary user x item matrices of training clicks, some users each.
      positives: "per_interaction" or "per_user" (users uniformly, then one click each).
    """
    totals = np.zeros(1)
    for some in clicks:
        lengths = np.diff(some.indptr)
        weights = np.repeat(1.0 / np.maximum(lengths, 1), lengths) if positives == "per_user" else np.ones(some.nnz)
        totals = totals + np.bincount(some.indices, weights=weights, minlength=some.shape[1])
    return (totals / totals.sum()).astype(np.float32)
