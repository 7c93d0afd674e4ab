"""Makes M3CSR's batches: what its towers take of the examples of a training step.

A batch holds each thing once. `items` holds the distinct items of its histories and candidates, and the padding item at
index 0. `query_*` holds the distinct pairs of a user and a masked history. The examples point into both.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.layers.interest_attention import SHORT
from m3csr_tf.sampling.example_sampler import Examples
from m3csr_tf.sampling.stateless import ReplicaShare, StatelessRandom
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.sampling.windows import Window

_DROPOUT_LINES = 1021
"""Number of different draws of history dropout at a step; it is large compared with the few users of a batch who have
long histories.
"""

Batch = dict[str, Any]


class Collator:
    """The collator of M3CSR: it makes the batches of `M3CSR.compute_loss` as graph code of the input pipeline.

    The data may bring cross-fitted ids (`TrainingData.cross_ids`): item ids that were computed without the clicks of
    one part of the users. Then the examples of a window read the ids with the number of the window. An id of zeros
    counts as that of a new item (`ItemEncoder.are_new`).

    Args:
      data: the features of every item row, and perhaps cross-fitted ids.
      config: the settings of history, id dropout and seed.
      replicas: number of replicas that share a batch.
    """

    def __init__(self, data: TrainingData, config: Config, replicas: int = 1) -> None:
        self._config = config
        self._draws, self._share = StatelessRandom(config.run.seed), ReplicaShare(replicas)
        self._ids = None if data.cross_ids is None else tf.constant(data.cross_ids.ids)
        self._features = {name: tf.constant(values) for name, values in data.features.items()}

    def __call__(self, examples: Examples) -> Batch:
        """Makes one replica's batch.

        Sizes `batch` and `count` are those of the replica's part; the candidates are those of all replicas.

        Returns:
          items: features of the batch's distinct items [items, ...], with the padding item at index 0.
          query_user: int32 [queries]; query_slots: int32 [queries, slots], indices of `items`, 0 where a slot is empty.
          short_queries: int32, number of queries, counted from the first, that have no more than SHORT slots.
          query, positive, positive_id_dropped: for each example, [batch] each, the index of its query, the index of its
            positive in `items`, and whether id dropout takes the positive's id.
          negative, negative_id_dropped: the same for negatives, [batch] if every example has its own (uniform), [count]
            if they are shared.
          allowed, positive_probability: as in `Examples`; the latter only for in-batch negatives.
        """
        window, step, replica = examples.window, examples.step, examples.replica
        positives, negatives = examples.positives, examples.negatives
        query_users, slot_rows, query, short = self._queries(window, examples.users, positives, step, replica)
        mentioned = tf.concat([[PADDING_ROW], tf.reshape(slot_rows, [-1]), positives, negatives], axis=0)
        rows, indices = tf.unique(mentioned)
        in_history = tf.size(slot_rows)
        slots, positive, negative = tf.split(indices[1:], [in_history, tf.size(positives), tf.size(negatives)])
        batch: Batch = {
            "items": self._items(window, rows),
            "query_user": query_users,
            "query_slots": tf.reshape(slots, tf.shape(slot_rows)),
            "short_queries": short,
            "query": query,
            "positive": positive,
            "positive_id_dropped": self._id_dropout(positives, step, "positive", replica),
            "allowed": examples.allowed,
        }
        if examples.positive_probability is not None:
            return batch | {"positive_probability": examples.positive_probability}
        return batch | {
            "negative": negative,
            "negative_id_dropped": self._id_dropout(negatives, step, "negative", replica),
        }

    def _items(self, window: Window, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the features of items, whose rows are int32 [items]."""
        features = {name: tf.gather(values, rows) for name, values in self._features.items()}
        if self._ids is None:
            return features
        numbers = tf.fill(tf.shape(rows), tf.cast(window.number, tf.int32))
        return features | {columns.ID_VECTOR: tf.gather_nd(self._ids, tf.stack([numbers, rows], axis=1))}

    def _queries(
        self, window: Window, users: tf.Tensor, positives: tf.Tensor, step: tf.Tensor, replica: int | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the distinct pairs of a user and a masked slot, those with short histories first.

        Returns:
          users [queries], item rows [queries, slots], the query of each example, and the number of queries with short
          histories.
        """
        length = window.histories.shape[1]
        masked = tf.fill(tf.shape(users), length)
        if self._config.training.mask_target:
            at_target = tf.gather(window.histories, users) == positives[:, tf.newaxis]
            masked = tf.where(
                tf.reduce_any(at_target, axis=1), tf.argmax(at_target, axis=1, output_type=tf.int32), length
            )
        unknown = (
            self._draws.uniform(tf.shape(users) * self._share.replicas, step, "user")
            < self._config.training.user_id_dropout
        )
        as_unknown = tf.cast(self._share.of(unknown, replica), tf.int64)
        keys = (tf.cast(users, tf.int64) * 2 + as_unknown) * (length + 1) + tf.cast(masked, tf.int64)
        distinct, query = tf.unique(keys)
        is_short = tf.gather(window.lengths, distinct // (2 * (length + 1))) <= SHORT
        order = tf.concat([tf.where(is_short)[:, 0], tf.where(tf.logical_not(is_short))[:, 0]], axis=0)
        distinct, query = tf.gather(distinct, order), tf.gather(tf.math.invert_permutation(order), query)
        query_keys = distinct // (length + 1)
        at_mask = tf.range(length, dtype=tf.int64) == (distinct % (length + 1))[:, tf.newaxis]
        rows = tf.where(at_mask, PADDING_ROW, tf.gather(window.histories, query_keys // 2))
        rows = self._dropped_out(rows, query_keys // 2, step)
        query_users = tf.where(query_keys % 2 == 1, UNKNOWN_ROW, tf.gather(window.user_rows, query_keys // 2))
        short = tf.math.count_nonzero(is_short, dtype=tf.int32)
        return query_users, rows, tf.cast(query, tf.int32), short

    def _dropped_out(self, rows: tf.Tensor, users: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns histories int32 [queries, slots] without the clicks that history.dropout leaves out at this step.

        What is left out depends on the user and the step alone, so that all examples of a user share a query. One
        click, at a slot that the step draws, is always kept, so that nobody is treated as a user of whom nothing is
        known.
        """
        chance = self._config.history.dropout
        if not chance:
            return rows
        # Users that share a row of the draw leave out the same slots, but these hold different clicks.
        drawn = tf.gather(self._draws.uniform([_DROPOUT_LINES, rows.shape[1]], step, "dropout"), users % _DROPOUT_LINES)
        filled = rows != PADDING_ROW
        lowest = tf.reduce_min(tf.where(filled, drawn, 2.0), axis=1, keepdims=True)
        return tf.where(tf.logical_or(drawn >= chance, drawn == lowest), rows, PADDING_ROW)

    def _id_dropout(self, rows: tf.Tensor, step: tf.Tensor, which: str, replica: int | tf.Tensor) -> tf.Tensor:
        drawn = self._draws.uniform(tf.shape(rows) * self._share.replicas, step, f"{which}_id_dropped")
        return self._share.of(drawn, replica) < self._config.training.item_id_dropout
