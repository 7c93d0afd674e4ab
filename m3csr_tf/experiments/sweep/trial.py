"""Runs a trial: it is trained as any other run, and evaluated on validation alone. The test split is never ranked."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.audience import Audience
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError, RunError
from m3csr_tf.evaluation import report
from m3csr_tf.experiments.sweep.space import Task
from m3csr_tf.prepare import prepare
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.fit import fit
from m3csr_tf.training.vectors import UserVectors, VectorEncoder
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular


def evaluate_trial(config: Config, task: Task, shared: Path) -> float:
    """Trains a run to its end, or continues it, and returns the task's metric of its validation users.

    It leaves config.yaml, versions.json, finished.json, the logs and metrics.json, and deletes the checkpoints. A run
    that was evaluated before on the same data is not trained again.

    Args:
      config: the settings of the run, among them `run.overwrite`, because the folder belongs to the sweep.
      task: the task, which names the metric.
      shared: the prepared folder beside the run's, which all trials of the task use in turn.

    Raises:
      ConfigError, RunError: the settings contradict each other, or the training diverged; this concerns the trial
        alone.
      InputError: the data cannot be read, or no validation user can be evaluated; this concerns every trial.
    """
    prepared = prepare(config, shared)
    figures = _evaluated(config, prepared)
    if figures is None:
        try:
            with _quiet_retracing():
                figures = _train_and_rank(config, prepared)
        except RunError:
            _drop_weights(config.run_folder)
            raise
    _drop_weights(config.run_folder)
    slice_name, metric = task.slice_and_metric
    if metric not in figures[slice_name]:
        raise InputError(
            f"{config.run_folder}: no validation user has truth in the slice {slice_name}; choose another metric, or "
            "give cold items to validation with split.pseudo_cold_share"
        )
    return figures[slice_name][metric]


def _train_and_rank(config: Config, prepared: Prepared) -> dict[str, dict[str, float]]:
    folder = run_files.open_run(config)
    link = folder / run_files.PREPARED_FOLDER
    if not link.is_symlink():
        link.symlink_to(Path("..") / prepared.folder.name, target_is_directory=True)
    fit(config, prepared)
    trained = runs.load_trained(folder)
    encoder = VectorEncoder(trained.model, item_features(prepared))
    evaluation = report.evaluate_split(
        prepared,
        UserVectors(encoder, Audience(prepared, config, (columns.TRAIN,))),
        encoder.items(),
        columns.VAL,
        config.evaluation.model_copy(update={"bootstrap": 0}),
        config.run.seed,
        cold=config.cold,
    )
    figures = evaluation.to_json()
    report.write_metrics(folder / run_files.METRICS_FILE, {columns.VAL: figures, "training": trained.finished})
    # Without this, the graphs of all trials would stay in memory.
    del trained, encoder
    tf.keras.backend.clear_session()
    gc.collect()
    return figures


def _evaluated(config: Config, prepared: Prepared) -> dict[str, dict[str, float]] | None:
    """Returns the figures of a run that was already evaluated with these settings and on this data; otherwise None."""
    try:
        stored = parse_json(regular(config.run_folder / run_files.METRICS_FILE).read_bytes())
        same = stored["training"]["prepared"] == run_files.data_digest(prepared) and not run_files.differing(config)
        return stored[columns.VAL] if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _quiet_retracing() -> Iterator[None]:
    """Hides TensorFlow's warning about retracing, which takes a new model for a function traced anew by mistake."""
    logger = tf.get_logger()

    def unlike_retracing(record: logging.LogRecord) -> bool:
        return "retracing" not in str(record.msg)

    logger.addFilter(unlike_retracing)
    try:
        yield
    finally:
        logger.removeFilter(unlike_retracing)


def _drop_weights(folder: Path) -> None:
    shutil.rmtree(folder / run_files.CHECKPOINTS, ignore_errors=True)
    (folder / run_files.PREPARED_FOLDER).unlink(missing_ok=True)
