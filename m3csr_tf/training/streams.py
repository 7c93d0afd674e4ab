"""Training batches as a tf.data stream, each a function of the seed and the step alone.

Positions in the endless stream of examples are mapped to interactions (or users) by a stateless permutation of each
epoch, and every draw is seeded by the step, so a stream that starts at step k gives the batches that an uninterrupted
one gives. All of it is TensorFlow graph code: no Python runs per batch.

A batch names things once. `items` holds the distinct items of its histories and candidates, line 0 being the padding
item; `query_*` the distinct (user, masked history) pairs; the examples point into both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.features.affinities import Affinities
from m3csr_tf.features.histories import click_matrix, histories
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW

_TRIES = 5
"""Draws for one uniform negative; an example whose draws are all known positives of its user has none."""

Batch = dict[str, Any]


def item_features(prepared: Prepared) -> dict[str, np.ndarray]:
    """Features of every item row, as the towers take them (`ItemTower.call`), each [len(items), ...].

    The padding and unknown rows have no content, no cluster and popularity bin 0.
    """
    features: dict[str, np.ndarray] = {
        columns.ITEM_ROW: np.arange(len(prepared.items), dtype=np.int32),
        columns.CLUSTER_IDS: prepared.cluster_ids,
        columns.POPULARITY_BIN: prepared.bins,
    }
    for name, raw in prepared.content.items():
        features[name] = prepared.scaler.transform(name, raw)
    return features


@dataclass(frozen=True)
class TrainingData:
    """The training clicks in the form that the stream draws from.

    Attributes:
      clicks: binary user x item matrix of training clicks, rows of the id tables.
      histories: int32 [users, slots], padded with PADDING_ROW.
      features: as `item_features`.
      affinities: of the items, where walks give positives or starts; else None, since they take long on large logs.
    """

    clicks: csr_matrix
    histories: np.ndarray
    features: dict[str, np.ndarray]
    affinities: Affinities | None

    @classmethod
    def of(cls, prepared: Prepared, config: Config) -> TrainingData:
        """Takes the training data from a prepared folder."""
        train = prepared.split(columns.TRAIN)
        clicks = click_matrix(train, len(prepared.users), len(prepared.items))
        needed = config.model.id_start == "walks" or config.training.walk_positives > 0
        return cls(
            clicks=clicks,
            histories=histories(train, len(prepared.users), config.history.length, config.split.seed),
            features=item_features(prepared),
            affinities=Affinities.of(clicks, prepared.content, config.affinities) if needed else None,
        )


class ExampleStream:
    """The endless stream of training batches of a run.

    Args:
      data: what to draw from.
      config: settings of negatives, positives, cold simulation and batch size.
    """

    def __init__(self, data: TrainingData, config: Config) -> None:
        self._config = config
        self._seed = config.run.seed
        clicks = data.clicks
        lengths = np.diff(clicks.indptr)
        self._users = tf.constant(np.repeat(np.arange(clicks.shape[0]), lengths), tf.int32)
        self._items = tf.constant(clicks.indices, tf.int32)
        self._starts = tf.constant(clicks.indptr, tf.int64)
        self._active = tf.constant(np.flatnonzero(lengths), tf.int32)
        # Sorted, because the matrix is: membership of a pair is one binary search.
        self._pairs = tf.constant(
            np.repeat(np.arange(clicks.shape[0]), lengths) * clicks.shape[1] + clicks.indices, tf.int64
        )
        self._catalogue = clicks.shape[1]
        self._histories = tf.constant(data.histories, tf.int32)
        self._features = {name: tf.constant(values) for name, values in data.features.items()}
        clicked = np.flatnonzero(np.asarray(clicks.sum(axis=0)).ravel())
        known = np.arange(UNKNOWN_ROW + 1, clicks.shape[1])
        self._pool = tf.constant(clicked if config.negatives.pool == "clicked" else known, tf.int32)
        self._probability = tf.constant(positive_probabilities(clicks, config.training.positives), tf.float32)
        self._per_user = config.training.positives == "per_user"
        self._slots = tf.constant((data.histories != PADDING_ROW).sum(axis=1), tf.int32)
        if config.training.walk_positives:
            assert data.affinities is not None
            self._walks = _Draws.of_rows(data.affinities.items)
            self._popularity = _Draws.of_rows(csr_matrix(data.affinities.popularity))
            self._popular = data.affinities.popular

    @property
    def examples_per_epoch(self) -> int:
        """Examples that make an epoch: training clicks, or users with one, by `training.positives`."""
        return int((self._active if self._per_user else self._items).shape[0])

    def dataset(self, first_step: int, steps: int) -> tf.data.Dataset:
        """Batches of steps first_step, first_step + 1, ..., `steps` of them, in order."""
        parallel = tf.data.AUTOTUNE if self._config.run.threads != 1 else 1
        dataset = tf.data.Dataset.range(first_step, first_step + steps)
        # All of it is graph code already; looking for Python to convert takes seconds.
        batch = tf.autograph.experimental.do_not_convert(self.batch)
        return dataset.map(batch, num_parallel_calls=parallel, deterministic=True).prefetch(4)

    def batch(self, step: tf.Tensor) -> Batch:
        """The batch of a step (int64 scalar).

        Returns:
          items: features of the batch's distinct items [items, ...], line 0 the padding item.
          query_user: int32 [queries]; query_slots: int32 [queries, slots], lines of `items`, 0 where empty.
          query, positive, positive_as_new: the examples' line of the queries, their positive's line of `items`, and
            whether it is shown as new, [batch] each.
          negative, negative_as_new: [batch] for one uniform negative each, [count] for shared ones.
          allowed: bool [batch, candidates], False where a candidate is a known positive; [batch, 1] for uniform ones.
          positive_probability: float32 [batch], how often the stream draws it (in-batch, for the logQ correction).
        """
        users, positives = self._positives(step)
        negatives, allowed = self._negatives(users, positives, step)
        query_users, slot_rows, query = self._queries(users, positives, step)
        mentioned = tf.concat([[PADDING_ROW], tf.reshape(slot_rows, [-1]), positives, negatives], axis=0)
        rows, lines = tf.unique(mentioned)
        in_history = tf.size(slot_rows)
        slots, positive, negative = tf.split(lines[1:], [in_history, tf.size(positives), tf.size(negatives)])
        batch: Batch = {
            "items": {name: tf.gather(values, rows) for name, values in self._features.items()},
            "query_user": query_users,
            "query_slots": tf.reshape(slots, tf.shape(slot_rows)),
            "query": query,
            "positive": positive,
            "positive_as_new": self._as_new(positives, step, "positive"),
            "allowed": allowed,
        }
        if self._config.negatives.kind == "in_batch":
            batch["positive_probability"] = tf.gather(self._probability, positives)
        else:
            batch |= {"negative": negative, "negative_as_new": self._as_new(negatives, step, "negative")}
        return batch

    def _positives(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Users and their positives, int32 [batch] each."""
        size = self._config.training.batch_size
        epoch_size = self.examples_per_epoch
        positions = step * size + tf.range(size, dtype=tf.int64)
        epochs, places = positions // epoch_size, positions % epoch_size
        seeds = tf.stack([tf.fill([size], tf.constant(self._seed, tf.int64)), epochs, tf.zeros_like(epochs)], axis=1)
        if epoch_size > 1:
            last = tf.constant(epoch_size - 1, tf.int64)
            # The op itself: its wrapper pads a seed for each position to the wrong shape.
            places = tf.raw_ops.RandomIndexShuffle(index=places, seed=tf.cast(seeds, tf.int32), max_index=last)
        if not self._per_user:
            users, items = tf.gather(self._users, places), tf.gather(self._items, places)
            return users, self._walked(users, items, step)
        users = tf.gather(self._active, places)
        starts, ends = tf.gather(self._starts, users), tf.gather(self._starts, users + 1)
        chosen = starts + tf.cast(
            self._uniform([size], step, "interaction") * tf.cast(ends - starts, tf.float32), tf.int64
        )
        return users, self._walked(users, tf.gather(self._items, tf.minimum(chosen, ends - 1)), step)

    def _walked(self, users: tf.Tensor, clicked: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Positives int32 [batch]: where a walk from the history leads for a share of the examples, else `clicked`.

        Drawing from the affinities is distillation in expectation: cross-entropy to where they would send the user.
        """
        if not self._config.training.walk_positives:
            return clicked
        size = tf.shape(users)
        walks = self._uniform(size, step, "walk") < self._config.training.walk_positives
        slots = tf.cast(self._slots, tf.float32)
        slot = tf.cast(self._uniform(size, step, "slot") * tf.gather(slots, users), tf.int32)
        origin = tf.gather_nd(self._histories, tf.stack([users, slot], axis=1))
        where = self._uniform(size, step, "where")
        by_item = self._walks.draw(origin, where)
        by_popularity = self._popularity.draw(tf.zeros_like(origin), where)
        lost = tf.logical_or(by_item == PADDING_ROW, self._uniform(size, step, "popular") < self._popular)
        led_to = tf.where(lost, by_popularity, by_item)
        keys = tf.cast(users, tf.int64) * self._catalogue + tf.cast(led_to, tf.int64)
        return tf.where(tf.logical_and(walks, tf.logical_not(self._is_click(keys))), led_to, clicked)

    def _is_click(self, keys: tf.Tensor) -> tf.Tensor:
        """Whether pairs, user * catalogue + item int64, are training clicks; bool of the same shape."""
        places = tf.searchsorted(self._pairs, tf.reshape(keys, [-1]))
        found = tf.gather(self._pairs, tf.minimum(places, tf.size(self._pairs) - 1))
        return tf.reshape(found, tf.shape(keys)) == keys

    def _negatives(self, users: tf.Tensor, positives: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Item rows of the negatives, int32 [batch], [count] if shared, [0] if in-batch; and which may count."""
        kind = self._config.negatives.kind
        if kind == "in_batch":
            clashes = self._known_positives(users, positives)
            same = tf.eye(tf.size(positives), dtype=tf.bool)
            return tf.zeros([0], tf.int32), tf.logical_or(tf.logical_not(clashes), same)
        if kind == "shared":
            shared = self._from_pool([self._config.negatives.count], step)
            return shared, tf.logical_not(self._known_positives(users, shared))
        tries = self._from_pool([self._config.training.batch_size, _TRIES], step)
        keys = tf.cast(users, tf.int64)[:, tf.newaxis] * self._catalogue + tf.cast(tries, tf.int64)
        known = self._is_click(keys)
        first_unknown = tf.argmin(tf.cast(known, tf.int32), axis=1)
        allowed = tf.logical_not(tf.reduce_all(known, axis=1, keepdims=True))
        return tf.gather(tries, first_unknown, batch_dims=1), allowed

    def _from_pool(self, shape: list[int], step: tf.Tensor) -> tf.Tensor:
        places = tf.random.stateless_uniform(
            shape, self._draw_seed(step, "pool"), maxval=tf.size(self._pool), dtype=tf.int32
        )
        return tf.gather(self._pool, places)

    def _known_positives(self, users: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Which candidates a user has clicked in training, bool [users, candidates].

        Walks through the users' clicks rather than all pairs: candidates are sorted, each click is looked up in them,
        and runs of equal candidates are filled from their first.
        """
        order = tf.argsort(candidates)
        ordered = tf.gather(candidates, order)
        starts, ends = tf.gather(self._starts, users), tf.gather(self._starts, users + 1)
        ragged = tf.ragged.range(starts, ends)
        clicked = tf.gather(self._items, ragged.flat_values)
        place = tf.searchsorted(ordered, clicked)
        hit = tf.gather(ordered, tf.minimum(place, tf.size(ordered) - 1)) == clicked
        lines = tf.boolean_mask(tf.cast(ragged.value_rowids(), tf.int32), hit)
        first_of_run = tf.boolean_mask(place, hit)
        shape = tf.stack([tf.size(users), tf.size(candidates)])
        marked = tf.scatter_nd(tf.stack([lines, first_of_run], axis=1), tf.ones_like(lines), shape)
        runs = tf.searchsorted(ordered, candidates)
        return tf.gather(marked, runs, axis=1) > 0

    def _queries(
        self, users: tf.Tensor, positives: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Distinct (user, masked slot) pairs: users [queries], item rows [queries, slots], each example's query."""
        length = self._histories.shape[1]
        masked = tf.fill(tf.shape(users), length)
        if self._config.training.mask_target:
            at_target = tf.gather(self._histories, users) == positives[:, tf.newaxis]
            masked = tf.where(
                tf.reduce_any(at_target, axis=1), tf.argmax(at_target, axis=1, output_type=tf.int32), length
            )
        as_unknown = tf.cast(self._uniform(tf.shape(users), step, "user") < self._config.training.cold_users, tf.int64)
        keys = (tf.cast(users, tf.int64) * 2 + as_unknown) * (length + 1) + tf.cast(masked, tf.int64)
        distinct, query = tf.unique(keys)
        of_user = distinct // (length + 1)
        rows = tf.gather(self._histories, of_user // 2)
        at_mask = tf.range(length, dtype=tf.int64) == (distinct % (length + 1))[:, tf.newaxis]
        query_users = tf.where(of_user % 2 == 1, UNKNOWN_ROW, tf.cast(of_user // 2, tf.int32))
        return query_users, tf.where(at_mask, PADDING_ROW, rows), query

    def _as_new(self, rows: tf.Tensor, step: tf.Tensor, which: str) -> tf.Tensor:
        return self._uniform(tf.shape(rows), step, f"{which}_as_new") < self._config.training.cold_items

    def _uniform(self, shape: Any, step: tf.Tensor, purpose: str) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, self._draw_seed(step, purpose))

    def _draw_seed(self, step: tf.Tensor, purpose: str) -> tf.Tensor:
        """Two words: the run's seed with what is drawn, and the step."""
        return tf.stack([tf.constant(self._seed * len(_PURPOSES) + _PURPOSES.index(purpose), tf.int64), step])


_PURPOSES = (
    "interaction",
    "pool",
    "user",
    "positive_as_new",
    "negative_as_new",
    "walk",
    "slot",
    "where",
    "popular",
)


@dataclass(frozen=True)
class _Draws:
    """Draws of a column from the distribution of a row.

    Attributes:
      columns: int32 [entries].
      ends: int64 [rows], one past the last entry of each row.
      sums: float64 [entries], running sums over all entries.
    """

    columns: tf.Tensor
    ends: tf.Tensor
    sums: tf.Tensor

    @classmethod
    def of_rows(cls, weights: csr_matrix) -> _Draws:
        columns = weights.indices if weights.nnz else np.array([PADDING_ROW])
        sums = np.cumsum(weights.data, dtype=np.float64) if weights.nnz else np.zeros(1)
        return cls(tf.constant(columns, tf.int32), tf.constant(weights.indptr, tf.int64), tf.constant(sums))

    def draw(self, rows: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Columns int32 of the shape of `rows`, by numbers in [0, 1); PADDING_ROW of an empty row."""
        starts, ends = tf.gather(self.ends, rows), tf.gather(self.ends, rows + 1)
        sums = tf.concat([tf.zeros([1], tf.float64), self.sums], axis=0)
        below, above = tf.gather(sums, starts), tf.gather(sums, ends)
        wanted = below + tf.cast(uniform, tf.float64) * (above - below)
        place = tf.searchsorted(self.sums, wanted, side="right", out_type=tf.int64)
        place = tf.clip_by_value(place, starts, tf.maximum(ends - 1, starts))
        column = tf.gather(self.columns, tf.minimum(place, tf.size(self.columns, out_type=tf.int64) - 1))
        return tf.where(starts == ends, PADDING_ROW, column)


def positive_probabilities(clicks: csr_matrix, positives: str) -> np.ndarray:
    """How often the stream draws each item as a positive, float32 [items], summing to 1.

    The logQ correction of in-batch negatives [Yi et al. 2019] needs the probabilities of the very sampler that draws.

    Args:
      clicks: binary user x item matrix of training clicks.
      positives: "per_interaction" or "per_user" (users uniformly, then one click each).
    """
    lengths = np.diff(clicks.indptr)
    weights = np.repeat(1.0 / np.maximum(lengths, 1), lengths) if positives == "per_user" else np.ones(clicks.nnz)
    totals = np.bincount(clicks.indices, weights=weights, minlength=clicks.shape[1])
    return (totals / totals.sum()).astype(np.float32)
