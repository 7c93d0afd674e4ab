"""A finished run, opened for a verb, and what several verbs ask of it."""

from __future__ import annotations

import dataclasses

import numpy as np

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.errors import RunError
from m3csr_tf.evaluation import baselines, exposure
from m3csr_tf.features.histories import histories
from m3csr_tf.training import runs
from m3csr_tf.training.runs import TrainedRun, load_trained
from m3csr_tf.training.vectors import VectorEncoder


def opened(config: Config) -> TrainedRun:
    """The finished run of the configuration, refused if another one lies under its name.

    Its settings are the ones given: those of evaluation, index and retrieval may differ from when it was trained.
    """
    config = runs.with_its_start(config)
    found = runs.differing(config)
    if found:
        raise RunError(
            f"{config.run_folder}: the run was trained with other settings ({'; '.join(found[:4])}); "
            "pass the settings it was trained with, or train it again"
        )
    return dataclasses.replace(load_trained(config.run_folder), config=config)


def histories_of(trained: TrainedRun) -> np.ndarray:
    """The run\'s cut of the training histories, int32 [len(users), history.length], as `features.histories`."""
    train_clicks = trained.prepared.split(columns.TRAIN)
    config = trained.config
    return histories(train_clicks, len(trained.prepared.users), config.history.length, config.split.seed)


def vectors_of(trained: TrainedRun, encoder: VectorEncoder, slots: np.ndarray) -> baselines.Vectors:
    """The model's own vectors of all users and items, without a bonus for cold items."""
    rows = np.arange(len(trained.prepared.users), dtype=np.int32)
    return baselines.Vectors(encoder.users(rows, slots), encoder.items())


def cold_bonus(trained: TrainedRun, vectors: baselines.Vectors) -> float:
    """What evaluation and release add to the scores of cold items: one number, so that the two agree."""
    config = trained.config
    return exposure.calibrated_bonus(
        trained.prepared, *vectors, config.exposure, config.run.seed, config.evaluation.block
    )
