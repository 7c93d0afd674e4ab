"""Losses and weights of some steps, by any strategy: `replica_steps.py CONFIG OUTPUT KIND...`, a process a worker."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import m3csr_tf  # noqa: F401, before TensorFlow
from m3csr_tf.config import Config, load
from m3csr_tf.graph.cross_fitting import CrossIds
from m3csr_tf.models.ranking_loss import RankingLoss
from m3csr_tf.ops import replicas
from m3csr_tf.prepare import prepare
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training import distribution, runs
from m3csr_tf.training.steps import make_optimizer, take_steps
from m3csr_tf.training.streams import ExampleStream
from m3csr_tf.training.validation import validation_recall_of

STEPS = 100
SETTINGS = {
    "shared": ["negatives.kind=shared"],
    "whole": ["negatives.kind=shared", "negatives.whole_pool=8192"],
    "in_batch": ["negatives.kind=in_batch", "training.walk_positives=0"],
    "uniform": ["negatives.kind=uniform"],
}
UNSHARED = "in_batch_unshared"
"""In-batch negatives of a replica's own examples alone: what it would be without gathering."""


def unshare() -> None:
    """Takes the other replicas' candidates away."""
    in_batch = RankingLoss._in_batch
    replicas.gathered_own_first = lambda values: values  # type: ignore[assignment]

    def of_own(loss: RankingLoss, queries: Any, candidates: Any, probability: Any, allowed: Any) -> Any:
        own = tf.shape(candidates)[0]
        return in_batch(loss, queries, candidates, probability[:own], allowed[:, :own])

    RankingLoss._in_batch = of_own


def steps(config: Config) -> dict[str, np.ndarray]:
    """Losses of STEPS steps, and the weights after them."""
    several = distribution.open_distribution(config.run)
    several.check(config)
    prepared = prepare(config)
    data = TrainingData.of(prepared, config)
    with several.strategy.scope():
        model = runs.build_model(config, prepared)
    kept = Path(config.run.folder) / "cross_ids.npz"
    if several.is_chief:
        ids = model.initialise(data, prepared, validation_recall_of(model, data, prepared, config)).cross_ids
        assert ids is not None
        ids.save(kept)
    several.agree(0)  # The file is there.
    data = dataclasses.replace(data, cross_ids=CrossIds.load(kept))
    with several.strategy.scope():
        optimizer = make_optimizer(config.training, model, 400)
        model.compile(optimizer=optimizer)
    several.share([*model.variables, *optimizer.state])
    batches = several.batches(
        ExampleStream(data, config, model.collator(data, several.replicas), several.replicas), 0, STEPS
    )
    losses = [float(take_steps(model, batches, tf.constant(1))) for _ in range(STEPS)]
    averages = optimizer.averages(model.trainable_variables)
    weights = {f"weight_{place}": value.numpy() for place, value in enumerate(model.trainable_variables)}
    return {
        "losses": np.array(losses),
        **weights,
        **{f"average_{place}": value.numpy() for place, value in enumerate(averages)},
    }


def main(config_file: str, output: str, *kinds: str) -> None:
    for kind in kinds:
        if kind == UNSHARED:
            unshare()
        settings = SETTINGS["in_batch" if kind == UNSHARED else kind]
        np.savez(Path(output) / f"{kind}.npz", **steps(load(Path(config_file), settings)))
    sys.stdout.flush()
    os._exit(0)  # A worker that tears TensorFlow down while another still trains would wait for it.


if __name__ == "__main__":
    main(*sys.argv[1:])
