"""Training batches as a tf.data stream: one window of users after the other, with batches drawn in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix

from m3csr_tf.config import Config
from m3csr_tf.models.contract import Batch, Collate
from m3csr_tf.sampling.cumulative_sampler import positive_probabilities
from m3csr_tf.sampling.example_sampler import ExampleSampler
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.sampling.windows import SPECS, Window, WindowSchedule, window_of

_BATCHES_AHEAD = 4


class ExampleStream:
    """The endless stream of training batches of a run; a batch is a function of the seed and its step.

    Args:
      data: the data from which examples are drawn.
      config: the settings of negatives, positives, windows and batch size.
      collate: makes the model's batches from examples.
      replicas: number of replicas that share a batch.
    """

    def __init__(self, data: TrainingData, config: Config, collate: Collate, replicas: int = 1) -> None:
        self._config, self._collate = config, collate
        self._shards = shards = data.shards
        per_user = config.training.positives == "per_user"
        self._windows = [] if shards is not None else [_tensors(window) for window in _windows(data, per_user)]
        probability = None
        if config.negatives.kind == "in_batch":
            probability = positive_probabilities(_drawn_clicks(data), config.training.positives)
        weighted = data.weights is not None
        self._sampler = ExampleSampler(config, data.trained, probability, data.item_graph, replicas, weighted)

    @property
    def examples_per_epoch(self) -> int:
        """Number of examples of an epoch: training clicks, or users with one, by `training.positives`."""
        if self._shards is not None:
            return int(self._shards.examples.sum())
        per_user = self._config.training.positives == "per_user"
        return sum(int((window.active if per_user else window.items).shape[0]) for window in self._windows)

    def dataset(self, first_step: int, steps: int, replicas: range = range(1)) -> tf.data.Dataset:
        """Returns the batches of `steps` steps from `first_step` on, in order.

        Args:
          first_step: the first step.
          steps: number of steps.
          replicas: the replicas for which the batches are; each step has each replica's part, one after the other.
        """
        if self._shards is None:
            return self._batches(self._drawn, first_step, first_step + steps, replicas).prefetch(_BATCHES_AHEAD)
        last_step = first_step + steps
        turns = list(self._shards.turns(first_step, last_step))
        windows = tf.data.Dataset.range(len(turns)).map(lambda turn: self._load(turns, turn))
        # One window is read while batches are drawn from the one before.
        return (
            windows.prefetch(1)
            .flat_map(
                lambda window, first, last: self._batches(
                    partial(self._batch_of, window),
                    tf.maximum(first, first_step),
                    tf.minimum(last, last_step),
                    replicas,
                )
            )
            .prefetch(_BATCHES_AHEAD)
        )

    def batch(self, step: tf.Tensor, replica: int | tf.Tensor = 0) -> Batch:
        """Returns the batch of a step (int64 scalar) of a log that is held in memory, as the model collates it."""
        assert self._windows
        return self._drawn(step, replica)

    def _drawn(self, step: tf.Tensor, replica: int | tf.Tensor) -> Batch:
        """Returns a batch of a log in memory: of all users, or with cross-fitted ids of each part of them in turn."""
        parts = len(self._windows)
        if parts == 1:
            return self._batch_of(self._windows[0], step, replica)
        part = tf.cast(step % parts, tf.int32)
        arrays = tf.switch_case(part, [lambda window=window: tuple(window) for window in self._windows])
        return self._batch_of(Window(*arrays), step, replica, step // parts)

    def _batch_of(
        self, window: Window, step: tf.Tensor, replica: int | tf.Tensor, turn: tf.Tensor | None = None
    ) -> Batch:
        return self._collate(self._sampler.draw(window, step, replica, turn))

    def _batches(
        self,
        draw_of: Callable[[tf.Tensor, tf.Tensor], Batch],
        first: int | tf.Tensor,
        last: int | tf.Tensor,
        replicas: range,
    ) -> tf.data.Dataset:
        parallel = tf.data.AUTOTUNE if self._config.run.threads != 1 else 1
        here = len(replicas)

        # The function is graph code already; searching it for Python to convert takes seconds.
        @tf.autograph.experimental.do_not_convert
        def draw(number: tf.Tensor) -> Batch:
            return draw_of(number // here, replicas.start + number % here)

        numbers = tf.data.Dataset.range(first * here, last * here)
        return numbers.map(draw, num_parallel_calls=parallel, deterministic=True)

    def _load(self, turns: list[WindowSchedule], place: tf.Tensor) -> tuple[Window, tf.Tensor, tf.Tensor]:
        """Returns the window of a turn, its first step, and the step after its last."""
        assert self._shards is not None
        shards = self._shards

        def read(number: np.ndarray) -> list[np.ndarray]:
            turn = turns[int(number)]
            return [*shards.read(turn.shards, turn.first_step, turn.number), np.int64(turn.first_step + turn.steps)]

        kinds = [spec.dtype for spec in SPECS]
        *arrays, last = tf.numpy_function(read, [place], [*kinds, tf.int64], stateful=False)
        for array, spec in zip(arrays, SPECS, strict=True):
            array.set_shape(spec.shape)
        last.set_shape([])
        window = Window(*arrays)
        slots = self._config.history.trained
        window = window._replace(histories=tf.ensure_shape(window.histories, [None, slots]))
        return window, window.first_step, last


def _windows(data: TrainingData, per_user: bool) -> list[Window]:
    """Returns one window of all users of a log in memory, or one for each part of them, which reads ids of its own."""
    if data.cross_ids is None:
        return [window_of(data.clicks, data.histories, weights=data.weights, per_user=per_user)]
    users_of_fold = [np.flatnonzero(data.cross_ids.parts == part) for part in range(len(data.cross_ids.ids))]
    return [
        window_of(
            data.clicks[users],
            data.histories[users],
            users,
            number=part,
            weights=None if data.weights is None else data.weights[users],
            per_user=per_user,
        )
        for part, users in enumerate(users_of_fold)
    ]


def _drawn_clicks(data: TrainingData) -> Iterator[csr_matrix]:
    """All training clicks, [users, items] of some users each, as their weights where they are drawn by weight."""
    if data.shards is None:
        yield data.clicks if data.weights is None else data.weights
        return
    for shard in range(len(data.shards.clicks)):
        users = data.shards.read_users((shard,))
        yield users.clicks if users.weights is None else users.weights


def _tensors(window: Window) -> Window:
    return Window(*(tf.constant(array, spec.dtype) for array, spec in zip(window, SPECS, strict=True)))
