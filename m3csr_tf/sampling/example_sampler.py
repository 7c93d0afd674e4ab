"""Draws training examples for every model: users, their positives, and the negatives to compare these with.

The stream of examples has no end. A stateless permutation maps each position in it to an interaction (or a user), and
every random draw is seeded by the training step. A stream that starts at step k therefore gives the same examples as
one that was never interrupted. All of this is TensorFlow graph code; no Python runs for a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix

from m3csr_tf.config import Config
from m3csr_tf.graph.item_graph import ItemGraph
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.sampling.cumulative_sampler import CumulativeSampler
from m3csr_tf.sampling.stateless import ReplicaShare, StatelessRandom
from m3csr_tf.sampling.windows import Window

_TRIES = 5
"""Draws for one uniform negative. An example whose draws are all known positives of its user gets no negative."""


class Examples(NamedTuple):
    """The examples of one replica at one step, before the model collates them into its batch.

    Attributes:
      window: the window of users that the examples are drawn from.
      step: int64 scalar, counted from the first step of training.
      replica: int64 scalar, the index of the replica, from 0.
      users: int32 [batch], indices of the users in the window (`Window.user_rows` has their rows of the id table).
      positives: int32 [batch], item rows.
      negatives: item rows int32: [batch] with one uniform negative for each example, [count] with shared negatives, and
        [0] with in-batch negatives.
      allowed: bool [batch, candidates], False where a candidate is a known positive of the user and must not count as a
        negative; [batch, 1] with uniform negatives.
      positive_probability: with in-batch negatives float32 [candidates], the probability with which each candidate is
        drawn as a positive (for the logQ correction [Yi et al. 2019]); otherwise None. The in-batch candidates are the
        positives of all replicas. They begin with the replica's own; the others follow in the cyclic order of replicas.
    """

    window: Window
    step: tf.Tensor
    replica: int | tf.Tensor
    users: tf.Tensor
    positives: tf.Tensor
    negatives: tf.Tensor
    allowed: tf.Tensor
    positive_probability: tf.Tensor | None

    @property
    def user_rows(self) -> tf.Tensor:
        """The users' rows of the id table, int32 [batch]."""
        return tf.gather(self.window.user_rows, self.users)


class ExampleSampler:
    """Draws examples from windows of users.

    Args:
      config: settings of negatives, positives and batch size.
      trained: bool [items], the items with a training click.
      probability: for in-batch negatives float32 [items], the probability with which each item is drawn as a positive
        (`cumulative_sampler.positive_probabilities`); otherwise None.
      item_graph: the item graph, needed where random walks give positives (training.walk_positives).
      weighted: whether clicks are drawn by the weights of the windows (`Window.sums`).
      replicas: number of replicas that share a batch. Each takes its part of the examples and of the shared negatives.
    """

    def __init__(
        self,
        config: Config,
        trained: np.ndarray,
        probability: np.ndarray | None,
        item_graph: ItemGraph | None,
        replicas: int = 1,
        weighted: bool = False,
    ) -> None:
        self._config = config
        self._draws, self._share = StatelessRandom(config.run.seed), ReplicaShare(replicas)
        self._catalogue = len(trained)
        clicked, known = np.flatnonzero(trained), np.arange(UNKNOWN_ROW + 1, len(trained))
        self._pool = tf.constant(clicked if config.negatives.pool == "clicked" else known, tf.int32)
        self._probability = None if probability is None else tf.constant(probability, tf.float32)
        self._per_user, self._weighted = config.training.positives == "per_user", weighted
        if config.training.walk_positives:
            assert item_graph is not None
            self._walks = CumulativeSampler.of_rows(item_graph.items)
            self._popularity = CumulativeSampler.of_rows(csr_matrix(item_graph.popularity))
            self._popularity_share = item_graph.popularity_share

    def draw(
        self, window: Window, step: tf.Tensor, replica: int | tf.Tensor = 0, turn: tf.Tensor | None = None
    ) -> Examples:
        """Draws one replica's part of the examples of a step.

        The parts of all replicas together are the examples that a single replica would draw.

        Args:
          window: the window of users to draw from.
          step: int64 scalar, counted from the first step of training.
          replica: int64 scalar, the index of the replica, from 0.
          turn: int64 scalar, the number of batches that were drawn from this window before; None: the steps since the
            window's first step.
        """
        all_users, all_positives = self._positives(window, step, step - window.first_step if turn is None else turn)
        users, positives = self._share.of(all_users, replica), self._share.of(all_positives, replica)
        own_first = self._share.own_first(all_positives, replica)
        negatives, allowed = self._negatives(window, users, own_first, step, replica)
        in_batch = self._config.negatives.kind == "in_batch"
        probability = tf.gather(self._probability, own_first) if in_batch else None
        return Examples(window, step, replica, users, positives, negatives, allowed, probability)

    def _positives(self, window: Window, step: tf.Tensor, turn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws users, as indices in the window, and their positives, item rows; int32 [batch] each."""
        size = self._config.training.batch_size
        examples = tf.size(window.active if self._per_user else window.items, tf.int64)
        positions = turn * size + tf.range(size, dtype=tf.int64)
        rounds, positions = positions // examples, positions % examples
        seed = tf.fill([size], tf.constant(self._config.run.seed, tf.int64))
        seeds = tf.stack([seed, rounds, tf.fill([size], window.number)], axis=1)
        # The raw op, since its wrapper pads a seed for each position to the wrong shape. It refuses a largest index of
        # 0, so a window of one example is not shuffled.
        last = tf.maximum(examples - 1, 1)
        shuffled = tf.raw_ops.RandomIndexShuffle(index=positions, seed=tf.cast(seeds, tf.int32), max_index=last)
        positions = tf.where(examples > 1, shuffled, positions)
        if not self._per_user:
            if self._weighted:
                positions = self._by_weight(window, positions, examples, step)
            users, items = tf.gather(window.owners, positions), tf.gather(window.items, positions)
            return users, self._walked(window, users, items, step)
        users = tf.gather(window.active, positions)
        starts, ends = tf.gather(window.starts, users), tf.gather(window.starts, users + 1)
        uniform = self._draws.uniform([size], step, "interaction")
        if self._weighted:
            below, above = tf.gather(window.sums, starts), tf.gather(window.sums, ends)
            wanted = below + tf.cast(uniform, tf.float64) * (above - below)
            chosen = tf.maximum(_place_in(window.sums, wanted), starts)
        else:
            chosen = starts + tf.cast(uniform * tf.cast(ends - starts, tf.float32), tf.int64)
        return users, self._walked(window, users, tf.gather(window.items, tf.minimum(chosen, ends - 1)), step)

    def _by_weight(self, window: Window, positions: tf.Tensor, examples: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Draws clicks of a window by weight, in strata: position k of n gives a point in the k-th n-th of all weight.

        So how often a round of n examples draws a click differs by less than 2 from what its weight asks for, and with
        equal weights each click is drawn once.

        Args:
          window: the window of users.
          positions: int64 [batch], shuffled positions of the round.
          examples: int64 scalar, n.
          step: int64 scalar.

        Returns:
          Indices of clicks, int64 [batch].
        """
        within = tf.cast(self._draws.uniform(tf.shape(positions), step, "weight"), tf.float64)
        wanted = (tf.cast(positions, tf.float64) + within) / tf.cast(examples, tf.float64) * window.sums[-1]
        return tf.clip_by_value(_place_in(window.sums, wanted), 0, examples - 1)

    def _walked(self, window: Window, users: tf.Tensor, clicked: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Replaces the positives of a share of the examples by items that a random walk from the history reaches.

        In expectation this is distillation: the cross-entropy with the distribution of the item graph over the items
        that the user might click next.

        Args:
          window: the window of users.
          users: int32 [batch], indices in the window.
          clicked: int32 [batch], the clicked positives, which the other examples keep.
          step: int64 scalar.

        Returns:
          Item rows int32 [batch].
        """
        if not self._config.training.walk_positives:
            return clicked
        size = tf.shape(users)
        walks = self._draws.uniform(size, step, "walk") < self._config.training.walk_positives
        slots = tf.cast(window.lengths, tf.float32)
        slot = tf.cast(self._draws.uniform(size, step, "slot") * tf.gather(slots, users), tf.int32)
        origin = tf.gather_nd(window.histories, tf.stack([users, slot], axis=1))
        where = self._draws.uniform(size, step, "where")
        by_item = self._walks.draw(origin, where)
        by_popularity = self._popularity.draw(tf.zeros_like(origin), where)
        lost = tf.logical_or(
            by_item == PADDING_ROW, self._draws.uniform(size, step, "popular") < self._popularity_share
        )
        led_to = tf.where(lost, by_popularity, by_item)
        keys = tf.cast(users, tf.int64) * self._catalogue + tf.cast(led_to, tf.int64)
        return tf.where(tf.logical_and(walks, tf.logical_not(self._is_click(window, keys))), led_to, clicked)

    def _is_click(self, window: Window, keys: tf.Tensor) -> tf.Tensor:
        """Returns whether (user, item) pairs are training clicks.

        Args:
          window: the window of users.
          keys: pairs int64 of any shape, encoded as user * catalogue + item.

        Returns:
          bool of the same shape.
        """
        positions = tf.searchsorted(window.keys, tf.reshape(keys, [-1]))
        found = tf.gather(window.keys, tf.minimum(positions, tf.size(window.keys) - 1))
        return tf.reshape(found, tf.shape(keys)) == keys

    def _negatives(
        self, window: Window, users: tf.Tensor, positives: tf.Tensor, step: tf.Tensor, replica: int | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws the negatives, and says which candidates may count as negatives.

        Args:
          window: the window of users.
          users: int32 [batch], the replica's own users, as indices in the window.
          positives: the positives of all replicas, the replica's own first.
          step: int64 scalar.
          replica: int64 scalar, the index of the replica.

        Returns:
          Negatives and `allowed`, as attributes of `Examples`.
        """
        kind = self._config.negatives.kind
        if kind == "in_batch":
            clashes = self._known_positives(window, users, positives)
            same = tf.eye(tf.size(users), tf.size(positives), dtype=tf.bool)
            return tf.zeros([0], tf.int32), tf.logical_or(tf.logical_not(clashes), same)
        if kind == "shared":
            shared = self._shared(step)
            allowed = tf.logical_not(self._known_positives(window, users, shared))
            return self._share.of(shared, replica), tf.logical_and(allowed, shared != PADDING_ROW)
        tries = self._share.of(self._from_pool([self._config.training.batch_size, _TRIES], step), replica)
        firsts = tries[:, 0]
        owners = tf.cast(users, tf.int64) * self._catalogue
        clash = self._is_click(window, owners + tf.cast(firsts, tf.int64))
        # Few of the first draws are clicks of the user. Only for those are the other draws looked at, and the first
        # that is no click is taken.
        where = tf.where(clash)
        others = tf.gather_nd(tries, where)
        known = self._is_click(window, tf.gather_nd(owners, where)[:, tf.newaxis] + tf.cast(others, tf.int64))
        first_unknown = tf.argmin(tf.cast(known, tf.int32), axis=1)
        negatives = tf.tensor_scatter_nd_update(firsts, where, tf.gather(others, first_unknown, batch_dims=1))
        allowed = tf.tensor_scatter_nd_update(tf.ones_like(clash), where, tf.logical_not(tf.reduce_all(known, axis=1)))
        return negatives, allowed[:, tf.newaxis]

    def _shared(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the negatives that the batch shares, int32 [n]: the whole pool, or a sample of it if it is larger."""
        size = self._pool.shape[0]
        if size > self._config.negatives.whole_pool:
            return self._from_pool([self._config.negatives.count], step)
        # Padded to a multiple of the number of replicas, which take equal parts.
        return tf.concat([self._pool, tf.fill([-size % self._share.replicas], PADDING_ROW)], axis=0)

    def _from_pool(self, shape: list[int], step: tf.Tensor) -> tf.Tensor:
        positions = tf.random.stateless_uniform(
            shape, self._draws.seed(step, "pool"), maxval=tf.size(self._pool), dtype=tf.int32
        )
        return tf.gather(self._pool, positions)

    def _known_positives(self, window: Window, users: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns which candidates each user has clicked in training, bool [users, candidates].

        It goes through the users' clicks and not through all pairs. The candidates are sorted, each click is looked up
        among them, and where several candidates are the same item the others take the value of the first.
        """
        order = tf.argsort(candidates)
        ordered = tf.gather(candidates, order)
        starts, ends = tf.gather(window.starts, users), tf.gather(window.starts, users + 1)
        ragged = tf.ragged.range(starts, ends)
        clicked = tf.gather(window.items, ragged.flat_values)
        position = tf.searchsorted(ordered, clicked)
        hit = tf.gather(ordered, tf.minimum(position, tf.size(ordered) - 1)) == clicked
        owners = tf.boolean_mask(tf.cast(ragged.value_rowids(), tf.int32), hit)
        first_of_run = tf.boolean_mask(position, hit)
        shape = tf.stack([tf.size(users), tf.size(candidates)])
        marked = tf.scatter_nd(tf.stack([owners, first_of_run], axis=1), tf.ones_like(owners), shape)
        runs = tf.searchsorted(ordered, candidates)
        return tf.gather(marked, runs, axis=1) > 0


def _place_in(sums: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Returns the entries whose range of the cumulative sums holds the wanted numbers, int64 of their shape."""
    return tf.searchsorted(sums, wanted, side="right", out_type=tf.int64) - 1
