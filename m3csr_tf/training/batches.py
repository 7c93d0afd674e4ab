"""The graph code of a training batch: what is drawn from a window of users at a step, a function of the seed alone.

Positions in the endless stream of examples are mapped to interactions (or users) by a stateless permutation, and every
draw is seeded by the step, so a stream that starts at step k gives the batches that an uninterrupted one gives. All of
it is TensorFlow graph code: no Python runs per batch.

A batch names things once. `items` holds the distinct items of its histories and candidates, line 0 being the padding
item; `query_*` the distinct (user, masked history) pairs; the examples point into both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.graph.item_graph import Affinities
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.layers.interest_attention import SHORT
from m3csr_tf.training.cumulative_sampler import Draws
from m3csr_tf.training.windows import Window

_DROPOUT_LINES = 1021
"""Different draws of history dropout at a step; many beside the few users of a batch that have long histories."""
_TRIES = 5
"""Draws for one uniform negative; an example whose draws are all known positives of its user has none."""

Batch = dict[str, Any]


class BatchSampler:
    """Draws batches from windows.

    Args:
      config: settings of negatives, positives, cold simulation and batch size.
      features: of every item row (`training_data.item_features`).
      trained: bool [items], the items with a training click.
      probability: float32 [items], how often a positive is drawn (`draws.positive_probabilities`), for in-batch
        negatives; else None.
      affinities: of the items, where walks give positives.
      replicas: how many share a batch: each takes its part of the examples and of the shared negatives.
      ids: float32 [windows, items, d], what stands for the ids of items in the examples of each window, by its number;
        zeros where they are to be taken for new (`ItemEncoder.are_new`). None: what the model has.
    """

    def __init__(
        self,
        config: Config,
        features: dict[str, np.ndarray],
        trained: np.ndarray,
        probability: np.ndarray | None,
        affinities: Affinities | None,
        replicas: int = 1,
        ids: np.ndarray | None = None,
    ) -> None:
        self._config = config
        self._replicas = replicas
        self._seed = config.run.seed
        self._catalogue = len(trained)
        self._ids = None if ids is None else tf.constant(ids)
        self._features = {name: tf.constant(values) for name, values in features.items()}
        clicked, known = np.flatnonzero(trained), np.arange(UNKNOWN_ROW + 1, len(trained))
        self._pool = tf.constant(clicked if config.negatives.pool == "clicked" else known, tf.int32)
        self._probability = None if probability is None else tf.constant(probability, tf.float32)
        self._per_user = config.training.positives == "per_user"
        if config.training.walk_positives:
            assert affinities is not None
            self._walks = Draws.of_rows(affinities.items)
            self._popularity = Draws.of_rows(csr_matrix(affinities.popularity))
            self._popular = affinities.popular

    def batch(
        self, window: Window, step: tf.Tensor, place: int | tf.Tensor = 0, turn: tf.Tensor | None = None
    ) -> Batch:
        """A replica's part of the batch of a step; put together, the parts are the batch that one replica alone draws.

        Args:
          window: the users that it is drawn from.
          step: int64 scalar, counted from the first step of training.
          place: int64 scalar, which replica it is for, from 0.
          turn: int64 scalar, how many batches of this window came before; those since its first step when None.

        Returns (batch and count being the replica's part of them, candidates those of all replicas):
          items: features of the batch's distinct items [items, ...], line 0 the padding item.
          query_user: int32 [queries]; query_slots: int32 [queries, slots], lines of `items`, 0 where empty.
          short_queries: int32, how many of them, from the first, have no more than SHORT slots.
          query, positive, positive_as_new: the examples' line of the queries, their positive's line of `items`, and
            whether it is shown as new, [batch] each.
          negative, negative_as_new: [batch] for one uniform negative each, [count] for shared ones.
          allowed: bool [batch, candidates], False where a candidate is a known positive; [batch, 1] for uniform ones.
          positive_probability: float32 [candidates], how often the stream draws it (in-batch, for the logQ correction).
            In-batch candidates begin with the replica's own, the others follow by place, the first after the last.
        """
        all_users, all_positives = self._positives(window, step, step - window.first_step if turn is None else turn)
        users, positives = self._part(all_users, place), self._part(all_positives, place)
        own_first = self._own_first(all_positives, place)
        negatives, allowed = self._negatives(window, users, own_first, step, place)
        query_users, slot_rows, query, short = self._queries(window, users, positives, step, place)
        mentioned = tf.concat([[PADDING_ROW], tf.reshape(slot_rows, [-1]), positives, negatives], axis=0)
        rows, lines = tf.unique(mentioned)
        in_history = tf.size(slot_rows)
        slots, positive, negative = tf.split(lines[1:], [in_history, tf.size(positives), tf.size(negatives)])
        batch: Batch = {
            "items": self._items(window, rows),
            "query_user": query_users,
            "query_slots": tf.reshape(slots, tf.shape(slot_rows)),
            "short_queries": short,
            "query": query,
            "positive": positive,
            "positive_as_new": self._as_new(positives, step, "positive", place),
            "allowed": allowed,
        }
        if self._config.negatives.kind == "in_batch":
            batch["positive_probability"] = tf.gather(self._probability, own_first)
        else:
            batch |= {"negative": negative, "negative_as_new": self._as_new(negatives, step, "negative", place)}
        return batch

    def _items(self, window: Window, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Features of items (int32 [items] rows)."""
        features = {name: tf.gather(values, rows) for name, values in self._features.items()}
        if self._ids is None:
            return features
        numbers = tf.fill(tf.shape(rows), tf.cast(window.number, tf.int32))
        return features | {columns.ID_VECTOR: tf.gather_nd(self._ids, tf.stack([numbers, rows], axis=1))}

    def _part(self, values: tf.Tensor, place: int | tf.Tensor) -> tf.Tensor:
        """What a replica takes of the values of all [all, ...]."""
        if self._replicas == 1:
            return values
        size = tf.shape(values, tf.int64)[0] // self._replicas
        return values[place * size : (place + 1) * size]

    def _own_first(self, values: tf.Tensor, place: int | tf.Tensor) -> tf.Tensor:
        """The values of all replicas [all], turned so that they begin with a replica's own."""
        if self._replicas == 1:
            return values
        size = tf.size(values, tf.int64) // self._replicas
        return tf.roll(values, -place * size, axis=0)

    def _positives(self, window: Window, step: tf.Tensor, turn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Users, by their place in the window, and their positives, int32 [batch] each."""
        size = self._config.training.batch_size
        examples = tf.size(window.active if self._per_user else window.items, tf.int64)
        positions = turn * size + tf.range(size, dtype=tf.int64)
        rounds, places = positions // examples, positions % examples
        seed = tf.fill([size], tf.constant(self._seed, tf.int64))
        seeds = tf.stack([seed, rounds, tf.fill([size], window.number)], axis=1)
        # The op itself: its wrapper pads a seed for each position to the wrong shape. It knows no index below 1.
        last = tf.maximum(examples - 1, 1)
        shuffled = tf.raw_ops.RandomIndexShuffle(index=places, seed=tf.cast(seeds, tf.int32), max_index=last)
        places = tf.where(examples > 1, shuffled, places)
        if not self._per_user:
            users, items = tf.gather(window.owners, places), tf.gather(window.items, places)
            return users, self._walked(window, users, items, step)
        users = tf.gather(window.active, places)
        starts, ends = tf.gather(window.starts, users), tf.gather(window.starts, users + 1)
        chosen = starts + tf.cast(
            self._uniform([size], step, "interaction") * tf.cast(ends - starts, tf.float32), tf.int64
        )
        return users, self._walked(window, users, tf.gather(window.items, tf.minimum(chosen, ends - 1)), step)

    def _walked(self, window: Window, users: tf.Tensor, clicked: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Positives int32 [batch]: where a walk from the history leads for a share of the examples, else `clicked`.

        Drawing from the affinities is distillation in expectation: cross-entropy to where they would send the user.
        """
        if not self._config.training.walk_positives:
            return clicked
        size = tf.shape(users)
        walks = self._uniform(size, step, "walk") < self._config.training.walk_positives
        slots = tf.cast(window.lengths, tf.float32)
        slot = tf.cast(self._uniform(size, step, "slot") * tf.gather(slots, users), tf.int32)
        origin = tf.gather_nd(window.histories, tf.stack([users, slot], axis=1))
        where = self._uniform(size, step, "where")
        by_item = self._walks.draw(origin, where)
        by_popularity = self._popularity.draw(tf.zeros_like(origin), where)
        lost = tf.logical_or(by_item == PADDING_ROW, self._uniform(size, step, "popular") < self._popular)
        led_to = tf.where(lost, by_popularity, by_item)
        keys = tf.cast(users, tf.int64) * self._catalogue + tf.cast(led_to, tf.int64)
        return tf.where(tf.logical_and(walks, tf.logical_not(self._is_click(window, keys))), led_to, clicked)

    def _is_click(self, window: Window, keys: tf.Tensor) -> tf.Tensor:
        """Whether pairs, user * catalogue + item int64, are training clicks; bool of the same shape."""
        places = tf.searchsorted(window.keys, tf.reshape(keys, [-1]))
        found = tf.gather(window.keys, tf.minimum(places, tf.size(window.keys) - 1))
        return tf.reshape(found, tf.shape(keys)) == keys

    def _negatives(
        self, window: Window, users: tf.Tensor, positives: tf.Tensor, step: tf.Tensor, place: int | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Item rows of the negatives, int32 [batch], [count] if shared, [0] if in-batch; and which may count.

        Users are the replica's own, positives those of all, its own first.
        """
        kind = self._config.negatives.kind
        if kind == "in_batch":
            clashes = self._known_positives(window, users, positives)
            same = tf.eye(tf.size(users), tf.size(positives), dtype=tf.bool)
            return tf.zeros([0], tf.int32), tf.logical_or(tf.logical_not(clashes), same)
        if kind == "shared":
            shared = self._shared(step)
            allowed = tf.logical_not(self._known_positives(window, users, shared))
            return self._part(shared, place), tf.logical_and(allowed, shared != PADDING_ROW)
        tries = self._part(self._from_pool([self._config.training.batch_size, _TRIES], step), place)
        firsts = tries[:, 0]
        owners = tf.cast(users, tf.int64) * self._catalogue
        clash = self._is_click(window, owners + tf.cast(firsts, tf.int64))
        # Few draws are clicks: only for those are the others looked at.
        where = tf.where(clash)
        others = tf.gather_nd(tries, where)
        known = self._is_click(window, tf.gather_nd(owners, where)[:, tf.newaxis] + tf.cast(others, tf.int64))
        first_unknown = tf.argmin(tf.cast(known, tf.int32), axis=1)
        negatives = tf.tensor_scatter_nd_update(firsts, where, tf.gather(others, first_unknown, batch_dims=1))
        allowed = tf.tensor_scatter_nd_update(tf.ones_like(clash), where, tf.logical_not(tf.reduce_all(known, axis=1)))
        return negatives, allowed[:, tf.newaxis]

    def _shared(self, step: tf.Tensor) -> tf.Tensor:
        """Candidates that the batch shares, int32 [n]: the whole pool, or a draw from a larger one."""
        size = self._pool.shape[0]
        if size > self._config.negatives.whole_pool:
            return self._from_pool([self._config.negatives.count], step)
        # Replicas take equal parts.
        return tf.concat([self._pool, tf.fill([-size % self._replicas], PADDING_ROW)], axis=0)

    def _from_pool(self, shape: list[int], step: tf.Tensor) -> tf.Tensor:
        places = tf.random.stateless_uniform(
            shape, self._draw_seed(step, "pool"), maxval=tf.size(self._pool), dtype=tf.int32
        )
        return tf.gather(self._pool, places)

    def _known_positives(self, window: Window, users: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Which candidates a user has clicked in training, bool [users, candidates].

        Walks through the users' clicks rather than all pairs: candidates are sorted, each click is looked up in them,
        and runs of equal candidates are filled from their first.
        """
        order = tf.argsort(candidates)
        ordered = tf.gather(candidates, order)
        starts, ends = tf.gather(window.starts, users), tf.gather(window.starts, users + 1)
        ragged = tf.ragged.range(starts, ends)
        clicked = tf.gather(window.items, ragged.flat_values)
        place = tf.searchsorted(ordered, clicked)
        hit = tf.gather(ordered, tf.minimum(place, tf.size(ordered) - 1)) == clicked
        lines = tf.boolean_mask(tf.cast(ragged.value_rowids(), tf.int32), hit)
        first_of_run = tf.boolean_mask(place, hit)
        shape = tf.stack([tf.size(users), tf.size(candidates)])
        marked = tf.scatter_nd(tf.stack([lines, first_of_run], axis=1), tf.ones_like(lines), shape)
        runs = tf.searchsorted(ordered, candidates)
        return tf.gather(marked, runs, axis=1) > 0

    def _queries(
        self, window: Window, users: tf.Tensor, positives: tf.Tensor, step: tf.Tensor, place: int | tf.Tensor
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
        unknown = self._uniform(tf.shape(users) * self._replicas, step, "user") < self._config.training.cold_users
        as_unknown = tf.cast(self._part(unknown, place), tf.int64)
        keys = (tf.cast(users, tf.int64) * 2 + as_unknown) * (length + 1) + tf.cast(masked, tf.int64)
        distinct, query = tf.unique(keys)
        is_short = tf.gather(window.lengths, distinct // (2 * (length + 1))) <= SHORT
        order = tf.concat([tf.where(is_short)[:, 0], tf.where(tf.logical_not(is_short))[:, 0]], axis=0)
        distinct, query = tf.gather(distinct, order), tf.gather(tf.math.invert_permutation(order), query)
        of_user = distinct // (length + 1)
        at_mask = tf.range(length, dtype=tf.int64) == (distinct % (length + 1))[:, tf.newaxis]
        rows = tf.where(at_mask, PADDING_ROW, tf.gather(window.histories, of_user // 2))
        rows = self._dropped_out(rows, of_user // 2, step)
        query_users = tf.where(of_user % 2 == 1, UNKNOWN_ROW, tf.gather(window.user_rows, of_user // 2))
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
        # Users that share a line of the draw leave out the same places, which are of different clicks.
        drawn = tf.gather(self._uniform([_DROPOUT_LINES, rows.shape[1]], step, "dropout"), users % _DROPOUT_LINES)
        filled = rows != PADDING_ROW
        lowest = tf.reduce_min(tf.where(filled, drawn, 2.0), axis=1, keepdims=True)
        return tf.where(tf.logical_or(drawn >= chance, drawn == lowest), rows, PADDING_ROW)

    def _as_new(self, rows: tf.Tensor, step: tf.Tensor, which: str, place: int | tf.Tensor) -> tf.Tensor:
        drawn = self._uniform(tf.shape(rows) * self._replicas, step, f"{which}_as_new")
        return self._part(drawn, place) < self._config.training.cold_items

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
    "dropout",
)
