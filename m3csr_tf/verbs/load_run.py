"""Opens a finished run for a verb, and computes what several verbs need of it."""

from __future__ import annotations

import dataclasses

import numpy as np

from m3csr_tf import columns, exposure
from m3csr_tf.config import Config
from m3csr_tf.data.audience import Audience
from m3csr_tf.errors import RunError
from m3csr_tf.evaluation.cold_items import items_then
from m3csr_tf.ranking.full_ranking import Vectors
from m3csr_tf.training import run_files
from m3csr_tf.training.runs import TrainedRun, load_trained
from m3csr_tf.training.vectors import UserVectors, VectorEncoder
from m3csr_tf.util.progress import PERCENT, progress


def load_run(config: Config) -> TrainedRun:
    """Opens the finished run that the configuration names.

    The run gets the given settings, because those of evaluation, index and retrieval may differ from its training.

    Raises:
      RunError: a run with other settings of data or training lies under this name, or it has not finished.
    """
    config = run_files.with_warm_start(config)
    found = run_files.differing(config)
    if found:
        raise RunError(
            f"{config.run_folder}: the run was trained with other settings ({'; '.join(found[:4])}); "
            f"pass the settings it was trained with (--config {config.run_folder / run_files.CONFIG_FILE}), "
            "or train it again"
        )
    return dataclasses.replace(load_trained(config.run_folder), config=config)


def vectors_of(trained: TrainedRun, encoder: VectorEncoder) -> Vectors:
    """Computes the model's own vectors of all users and items, without the bonuses of `bonuses`.

    Users are represented by their training clicks alone, because metrics and bonuses are computed with these vectors.
    """
    with progress("item vectors, items") as stage:
        items = encoder.items(stage)
    return Vectors(UserVectors(encoder, Audience(trained.prepared, trained.config, (columns.TRAIN,))), items)


def bonuses(trained: TrainedRun, vectors: Vectors) -> np.ndarray:
    """Calibrates the bonus of each popularity bin, float32 [bins], which evaluation and release add alike.

    With the settings of section `cold`, cold items are those at the end of training, when validation begins.
    """
    config = trained.config
    then = items_then(trained.prepared, columns.VAL, config.cold)
    with progress(f"calibrating how often new items are shown, {PERCENT}") as stage:
        return exposure.calibrated_bonuses(
            trained.prepared,
            *vectors,
            config.exposure,
            config.run.seed,
            config.evaluation.block,
            on_progress=stage,
            cold=None if then is None else then.cold,
        )
