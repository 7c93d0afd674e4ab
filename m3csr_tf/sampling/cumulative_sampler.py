"""Weighted sampling by cumulative sums, and the probability with which each item is drawn as a positive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix

from m3csr_tf.ids import PADDING_ROW


@dataclass(frozen=True)
class CumulativeSampler:
    """Samples a column from the distribution of a row of a sparse matrix, by inversion of its cumulative sums.

    Attributes:
      columns: int32 [entries], the column of each entry; the entries of a row follow each other.
      ends: int64 [rows + 1], the boundaries of the rows: row r has the entries ends[r] to ends[r + 1] (exclusive).
      sums: float64 [entries + 1], cumulative sums of the weights of all entries, beginning with 0.
    """

    columns: tf.Tensor
    ends: tf.Tensor
    sums: tf.Tensor

    @classmethod
    def of_rows(cls, weights: csr_matrix) -> CumulativeSampler:
        """Makes a sampler that draws a column of a row in proportion to the row's entries.

        Args:
          weights: non-negative [rows, columns].
        """
        columns = weights.indices if weights.nnz else np.array([PADDING_ROW])
        sums = np.zeros(len(columns) + 1)
        np.cumsum(weights.data, dtype=np.float64, out=sums[1 : weights.nnz + 1])
        return cls(tf.constant(columns, tf.int32), tf.constant(weights.indptr, tf.int64), tf.constant(sums))

    def draw(self, rows: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Draws one column for each of `rows`.

        Args:
          rows: integers of any shape.
          uniform: random numbers in [0, 1), of the same shape.

        Returns:
          Columns int32 of the same shape; PADDING_ROW for a row without entries.
        """
        starts, ends = tf.gather(self.ends, rows), tf.gather(self.ends, rows + 1)
        below, above = tf.gather(self.sums, starts), tf.gather(self.sums, ends)
        wanted = below + tf.cast(uniform, tf.float64) * (above - below)
        position = tf.searchsorted(self.sums, wanted, side="right", out_type=tf.int64) - 1
        position = tf.clip_by_value(position, starts, tf.maximum(ends - 1, starts))
        column = tf.gather(self.columns, tf.minimum(position, tf.size(self.columns, out_type=tf.int64) - 1))
        return tf.where(starts == ends, PADDING_ROW, column)


def positive_probabilities(clicks: Iterable[csr_matrix], positives: str) -> np.ndarray:
    """Computes the probability with which each item is drawn as a positive.

    The logQ correction of in-batch negatives [Yi et al. 2019] needs the probabilities of the very sampler that draws
    the positives.

    Args:
      clicks: matrices [users, items] of training clicks, each of some of the users; an entry is the weight of the
        click, or 1.
      positives: how positives are drawn: "per_interaction" (by weight from all clicks), or "per_user" (a user
        uniformly, then one of her clicks by weight).

    Returns:
      float32 [items], summing to 1.
    """
    totals = np.zeros(1)
    for some in clicks:
        weights = some.data.astype(np.float64)
        if positives == "per_user":
            of_users = np.repeat(np.arange(some.shape[0]), np.diff(some.indptr))
            weights /= np.bincount(of_users, weights, minlength=some.shape[0])[of_users]
        totals = totals + np.bincount(some.indices, weights=weights, minlength=some.shape[1])
    return (totals / totals.sum()).astype(np.float32)
