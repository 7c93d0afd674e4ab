"""M3CSR's batch: what its towers take of the examples of a step.

A batch names things once. `items` holds the distinct items of its histories and candidates, index 0 being the padding
item; `query_*` the distinct (user, masked history) pairs; the examples point into both.
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
"""Different draws of history dropout at a step; many beside the few users of a batch that have long histories."""

Batch = dict[str, Any]


class Collator:
    """Collates drawn examples into the batches of `M3CSR.compute_loss`; graph code of the input pipeline.

    Where the data has ids that have not seen the clicks of a part of the users (`TrainingData.cross_ids`), the examples
    of a window read those of its number; zeros are taken for new items (`ItemEncoder.are_new`).

    Args:
      data: features of every item row, and ids that have not seen their clicks.
      config: settings of history, id dropout and seed.
      replicas: how many share a batch.
    """

    def __init__(self, data: TrainingData, config: Config, replicas: int = 1) -> None:
        self._config = config
        self._draws, self._share = StatelessRandom(config.run.seed), ReplicaShare(replicas)
        self._ids = None if data.cross_ids is None else tf.constant(data.cross_ids.ids)
        self._features = {name: tf.constant(values) for name, values in data.features.items()}

    def __call__(self, examples: Examples) -> Batch:
        """A replica's batch.

        Returns (batch and count being the replica's part of them, candidates those of all replicas):
          items: features of the batch's distinct items [items, ...], at index 0 the padding item.
          query_user: int32 [queries]; query_slots: int32 [queries, slots], indices of `items`, 0 where empty.
          short_queries: int32, how many of them, from the first, have no more than SHORT slots.
          query, positive, positive_id_dropped: the examples' index of the queries, their positive's index of `items`,
            and whether id dropout takes its id, [batch] each.
          negative, negative_id_dropped: [batch] for one uniform negative each, [count] for shared ones.
          allowed, positive_probability: as `Examples` has them, the latter for in-batch negatives alone.
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
        """Features of items (int32 [items] rows)."""
        features = {name: tf.gather(values, rows) for name, values in self._features.items()}
        if self._ids is None:
            return features
        numbers = tf.fill(tf.shape(rows), tf.cast(window.number, tf.int32))
        return features | {columns.ID_VECTOR: tf.gather_nd(self._ids, tf.stack([numbers, rows], axis=1))}

    def _queries(
        self, window: Window, users: tf.Tensor, positives: tf.Tensor, step: tf.Tensor, replica: int | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Distinct (user, masked slot) pairs, those of short histories first.

        Returns:
          users [queries], item rows [queries, slots], each example's query, and the number of short ones.
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
        """Histories int32 [queries, slots] without the clicks that history.dropout leaves out at this step.

        What is left out hangs on the user and the step alone, so that examples of one user share a query. One click, at
        a place that the step draws, is always kept: nobody is taken for a user of whom nothing is known.
        """
        chance = self._config.history.dropout
        if not chance:
            return rows
        # Users that share a row of the draw leave out the same places, which are of different clicks.
        drawn = tf.gather(self._draws.uniform([_DROPOUT_LINES, rows.shape[1]], step, "dropout"), users % _DROPOUT_LINES)
        filled = rows != PADDING_ROW
        lowest = tf.reduce_min(tf.where(filled, drawn, 2.0), axis=1, keepdims=True)
        return tf.where(tf.logical_or(drawn >= chance, drawn == lowest), rows, PADDING_ROW)

    def _id_dropout(self, rows: tf.Tensor, step: tf.Tensor, which: str, replica: int | tf.Tensor) -> tf.Tensor:
        drawn = self._draws.uniform(tf.shape(rows) * self._share.replicas, step, f"{which}_id_dropped")
        return self._share.of(drawn, replica) < self._config.training.item_id_dropout
