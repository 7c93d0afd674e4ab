"""The parts of a training step: where the id embeddings start, the optimizer, and steps in one graph call."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix

from m3csr_tf.config import TrainingConfig
from m3csr_tf.features.factors import item_factors
from m3csr_tf.model import M3CSR
from m3csr_tf.training.optimizer import RowwiseAdam


def start_from_factors(model: M3CSR, clicks: csr_matrix, seed: int) -> None:
    """Starts the id embeddings of clicked items from the singular vectors of the training clicks."""
    table = model.encoder.id_embedding
    clicked = np.flatnonzero(np.asarray(clicks.sum(axis=0)).ravel())
    factors = item_factors(clicks, table.shape[1], seed)
    table.scatter_update(tf.IndexedSlices(factors[clicked], clicked))


def make_optimizer(config: TrainingConfig, model: M3CSR) -> RowwiseAdam:
    """The optimizer of a model, with its state for every weight created."""
    rate: float | tf.keras.optimizers.schedules.LearningRateSchedule = config.learning_rate
    if config.schedule == "cosine":
        rate = tf.keras.optimizers.schedules.CosineDecay(rate, config.max_steps)
    optimizer = RowwiseAdam(rate, config.averaging)
    optimizer.build(model.trainable_variables)
    return optimizer


@tf.function
def take_steps(model: M3CSR, batches: Iterator, count: tf.Tensor) -> tf.Tensor:
    """Takes `count` steps (int32 scalar) in one call; returns the sum of their losses, a scalar."""
    # Only this loop is Python to convert to a graph; looking for more in the model takes seconds.
    train_step = tf.autograph.experimental.do_not_convert(model.train_step)
    total = tf.constant(0.0)
    for _ in tf.range(count):
        total += train_step(next(batches))["loss"]
    return total
