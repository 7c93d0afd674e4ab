"""Windows of users in memory, from which batches are drawn: all users of a small log, or some shards of a larger one.

Each epoch visits the shards in another random order, several of them at a time. The users of a shard are a random
sample of all users, those of a window are a larger sample, and the examples of a window are shuffled as a whole. This
is what a shuffle buffer of `training.window_clicks` clicks would give, without storing an example twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.features.histories import histories
from m3csr_tf.ids import PADDING_ROW
from m3csr_tf.sampling.click_weights import ClickWeights


class Window(NamedTuple):
    """Users in memory with all their training clicks, as numpy arrays or as tensors.

    Attributes:
      user_rows: int32 [users], the users' rows of the id table.
      starts: int64 [users + 1], where each user's clicks begin in `items`.
      items: int32 [clicks], item rows, ascending within a user.
      owners: int32 [clicks], the index in this window of the user of each click.
      keys: int64 [clicks], owner * catalogue + item, ascending, so that a binary search tells whether a pair is a
        click.
      active: int32 [users with a click], their indices in this window.
      histories: int32 [users, slots], padded with PADDING_ROW.
      lengths: int32 [users], number of filled slots.
      sums: float64 [clicks + 1], cumulative weights of the clicks, beginning with 0, or where positives are drawn per
        user of their shares of the user's weight; [0] where all clicks are drawn alike.
      first_step: int64, the training step at which the examples of this window begin.
      number: int64, the number of the window in the run, which is part of the seed of its shuffle.
    """

    user_rows: tf.Tensor
    starts: tf.Tensor
    items: tf.Tensor
    owners: tf.Tensor
    keys: tf.Tensor
    active: tf.Tensor
    histories: tf.Tensor
    lengths: tf.Tensor
    sums: tf.Tensor
    first_step: tf.Tensor
    number: tf.Tensor


SPECS = Window(
    user_rows=tf.TensorSpec([None], tf.int32),
    starts=tf.TensorSpec([None], tf.int64),
    items=tf.TensorSpec([None], tf.int32),
    owners=tf.TensorSpec([None], tf.int32),
    keys=tf.TensorSpec([None], tf.int64),
    active=tf.TensorSpec([None], tf.int32),
    histories=tf.TensorSpec([None, None], tf.int32),
    lengths=tf.TensorSpec([None], tf.int32),
    sums=tf.TensorSpec([None], tf.float64),
    first_step=tf.TensorSpec([], tf.int64),
    number=tf.TensorSpec([], tf.int64),
)
"""Shapes and dtypes of a window as tensors."""


def window_of(
    clicks: csr_matrix,
    slots: np.ndarray,
    user_rows: np.ndarray | None = None,
    first_step: int = 0,
    number: int = 0,
    weights: csr_matrix | None = None,
    per_user: bool = False,
) -> Window:
    """Makes a window of numpy arrays.

    Args:
      clicks: binary [users, items], with sorted indices.
      slots: histories int32 [users, slots].
      user_rows: int32 [users], the users' rows of the id table; None: their indices.
      first_step, number: as in `Window`.
      weights: the weights of the clicks, in the places of `clicks`; None: all are drawn alike.
      per_user: whether a user's click is drawn by them (training.positives=per_user). Her weights are then shares of
        all of hers, so that the cumulative sums tell the clicks of a user of small weights apart as well: as they
        stand, they would be lost beside sums that are 10^16 times as large.
    """
    users, catalogue = clicks.shape
    sizes = np.diff(clicks.indptr)
    owners = np.repeat(np.arange(users, dtype=np.int32), sizes)
    chances = np.zeros(0) if weights is None else weights.data.astype(np.float64)
    if weights is not None and per_user:
        chances = chances / np.bincount(owners, chances, minlength=users)[owners]
    return Window(
        user_rows=np.arange(users, dtype=np.int32) if user_rows is None else user_rows.astype(np.int32),
        starts=clicks.indptr.astype(np.int64),
        items=clicks.indices.astype(np.int32, copy=False),
        owners=owners,
        keys=owners * np.int64(catalogue) + clicks.indices,
        active=np.flatnonzero(sizes).astype(np.int32),
        histories=slots.astype(np.int32, copy=False),
        lengths=(slots != PADDING_ROW).sum(axis=1).astype(np.int32),
        sums=np.zeros(0) if weights is None else np.concatenate([np.zeros(1), np.cumsum(chances)]),
        first_step=np.int64(first_step),
        number=np.int64(number),
    )


class WindowSchedule(NamedTuple):
    """The range of training steps that draw from one window.

    Attributes:
      number: the number of the window in the run, from 1.
      first_step: its first training step.
      steps: its number of steps; the last batch is filled up with the first examples of the window.
      shards: the numbers of the shards that the window consists of.
    """

    number: int
    first_step: int
    steps: int
    shards: tuple[int, ...]


class UsersOfShards(NamedTuple):
    """The users of some shards.

    Attributes:
      clicks: binary [users, items].
      histories: int32 [users, slots].
      rows: int32 [users], the users' rows of the id table.
      weights: float64 [users, items], the weights of the clicks; None: all are drawn alike.
    """

    clicks: csr_matrix
    histories: np.ndarray
    rows: np.ndarray
    weights: csr_matrix | None


@dataclass(frozen=True)
class ShardedClicks:
    """Training clicks that stay on the disk and are read some shards at a time.

    Attributes:
      prepared: the prepared folder that holds them.
      config: settings of windows, histories and batches.
      examples: int64 [shards], the examples in each shard: its clicks, or its users with a click, by
        `training.positives`. Of clicks that are drawn by weight, it is the shard's share of the weight of all clicks.
      clicks: int64 [shards], the clicks in each shard.
      weights: the rule by which clicks are drawn; None: all alike.
    """

    prepared: Prepared
    config: Config
    examples: np.ndarray
    clicks: np.ndarray
    weights: ClickWeights | None = None

    @classmethod
    def of(cls, prepared: Prepared, config: Config) -> ShardedClicks:
        """Describes the shards of a prepared folder; `training.positives` says what an example is."""
        shards = prepared.train_shards
        per_user = config.training.positives == "per_user"
        clicks = np.array([shard.clicks for shard in shards])
        examples = np.array([shard.active_users for shard in shards]) if per_user else clicks
        weights = ClickWeights.of(prepared, config.training)
        if weights is not None and not per_user:
            totals = np.array([weights.of_clicks(prepared.read_shard(number)).sum() for number in range(len(shards))])
            examples = np.maximum(np.rint(clicks.sum() * totals / totals.sum()), 1).astype(np.int64)
        return cls(prepared, config, examples, clicks, weights)

    def turns(self, first_step: int, last_step: int) -> Iterator[WindowSchedule]:
        """Yields, in order, the turns to which the steps from first_step to last_step (exclusive) belong."""
        windows = int(-(-self.clicks.sum() // self.config.training.window_clicks))
        number, begins, epoch = 0, 0, 0
        while begins < last_step:
            order = np.random.default_rng([self.config.run.seed, epoch]).permutation(len(self.clicks))
            middles = np.cumsum(self.clicks[order]) - self.clicks[order] / 2
            window = np.minimum(middles * windows // self.clicks.sum(), windows - 1)
            for place in np.unique(window):
                number += 1
                shards = order[window == place]
                steps = int(-(-self.examples[shards].sum() // self.config.training.batch_size))
                if begins < last_step and begins + steps > first_step:
                    yield WindowSchedule(number, begins, steps, tuple(int(shard) for shard in shards))
                begins += steps
            epoch += 1

    def read(self, shards: tuple[int, ...], first_step: int = 0, number: int = 0) -> Window:
        """Reads some shards and makes them a window of numpy arrays."""
        users = self.read_users(shards)
        per_user = self.config.training.positives == "per_user"
        return window_of(users.clicks, users.histories, users.rows, first_step, number, users.weights, per_user)

    def read_users(self, shards: tuple[int, ...]) -> UsersOfShards:
        """Reads the users of some shards."""
        rows, starts, items, slots, weights = [], [np.zeros(1, np.int64)], [], [], []
        for shard in shards:
            frame = self.prepared.read_shard(shard)
            users = frame[columns.USER_ROW].to_numpy()
            begins = np.flatnonzero(np.diff(users, prepend=-1))
            sizes = np.diff(begins, append=len(users))
            rows.append(users[begins])
            starts.append(starts[-1][-1] + np.cumsum(sizes))
            items.append(frame[columns.ITEM_ROW].to_numpy(np.int32))
            if self.weights is not None:
                weights.append(self.weights.of_clicks(frame))
            positions = np.repeat(np.arange(len(sizes)), sizes)
            slots.append(
                histories(
                    frame.assign(**{columns.USER_ROW: positions}),
                    len(sizes),
                    self.config.history.trained,
                    self.config.split.seed,
                )
            )
        indices = np.concatenate(items)
        shape = (sum(map(len, rows)), len(self.prepared.items))
        ones = np.ones(len(indices), np.float32)
        ends = np.concatenate(starts)
        return UsersOfShards(
            clicks=csr_matrix((ones, indices, ends), shape=shape),
            histories=np.concatenate(slots),
            rows=np.concatenate(rows),
            weights=csr_matrix((np.concatenate(weights), indices, ends), shape=shape) if weights else None,
        )
