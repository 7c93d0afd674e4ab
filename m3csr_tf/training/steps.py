"""The parts of a training step: the optimizer, steps in one graph call, and the weights that they average to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from m3csr_tf.config import TrainingConfig
from m3csr_tf.models.contract import Batch, Recommender
from m3csr_tf.training.optimizer import RowwiseAdam


def make_optimizer(config: TrainingConfig, model: Recommender, steps: int) -> RowwiseAdam:
    """Returns the optimizer of a model, with its state for every weight created.

    Args:
      config: the settings of learning rates, their schedule, and averaging.
      model: the model.
      steps: number of steps of the whole training (`Budget.steps`), at which a cosine schedule ends.
    """
    rate: float | tf.keras.optimizers.schedules.LearningRateSchedule = config.learning_rate
    if config.schedule == "cosine":
        rate = tf.keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = RowwiseAdam(rate, config.averaging)
    optimizer.build(model.trainable_variables)
    optimizer.slow_down(model.learning_rates())
    return optimizer


def take_steps(model: Recommender, batches: Iterator, count: tf.Tensor) -> tf.Tensor:
    """Takes `count` steps (int32 scalar), in one call where one replica trains; returns the sum of their losses."""
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return _steps_alone(model, batches, count)
    # In a graph's loop, a collective operation is the same one in every iteration, and refuses batches of other shapes.
    return tf.add_n([_shared_step(model, batches) for _ in range(int(count))])


@tf.function
def _steps_alone(model: Recommender, batches: Iterator, count: tf.Tensor) -> tf.Tensor:
    # Only this loop has to be converted to a graph; searching the model for more takes seconds.
    train_step = tf.autograph.experimental.do_not_convert(model.train_step)
    total = tf.constant(0.0)
    for _ in tf.range(count):
        total += train_step(next(batches))["loss"]
    return total


@tf.function(autograph=False)
def _shared_step(model: Recommender, batches: Iterator) -> tf.Tensor:
    """Takes one step of several replicas, and returns its loss, the sum of their parts."""
    strategy = model.distribute_strategy

    def step(batch: Batch) -> tf.Tensor:
        part = model.train_step(batch)["loss"]
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, part)

    return strategy.experimental_local_results(strategy.run(step, (next(batches),)))[0]


@contextmanager
def averaged_weights(model: Recommender, optimizer: RowwiseAdam) -> Iterator[None]:
    """Puts the averaged weights into a model for the length of a block."""
    weights = [tf.identity(variable) for variable in model.trainable_variables]
    for variable in model.trainable_variables:
        optimizer.put_averages(variable)
    try:
        yield
    finally:
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            variable.assign(weight)
