"""train: trains the model that the configuration names."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.training import distribution, run_files
from m3csr_tf.training import finished as endings
from m3csr_tf.training.distribution import Distribution
from m3csr_tf.training.final_fit import FINAL_FIT, choice_digest, final_settings
from m3csr_tf.training.finished import selection
from m3csr_tf.training.fit import fit
from m3csr_tf.training.runs import TrainedRun, load_trained
from m3csr_tf.util.locks import folder_lock
from m3csr_tf.verbs.console import say
from m3csr_tf.verbs.prepare import prepare
from m3csr_tf.verbs.tracker import Tracker


def train(config: Config) -> TrainedRun:
    """Prepares the data if necessary, then trains, or continues a run that was interrupted.

    With `training.final_fit`, the final fit of the run follows, as the run NAME-final.

    If there are several workers (`run.strategy`), the chief prepares and prints for all. It holds the lock of the run,
    so that other processes that would write the run wait.

    Returns:
      The run of the configuration; with a final fit, this is the run that chose its settings, not the final fit.

    Raises:
      ConfigError: a final fit is asked for on several workers.
      RunError: the name of the run, or of its final fit, is taken by another run.
    """
    if config.training.final_fit and config.run.strategy == "multi_worker":
        raise ConfigError(
            "training.final_fit=true prepares and trains a second run, which run.strategy=multi_worker cannot do: "
            "train without it on all workers, then run pipelines/train.py --final on one with run.strategy=one_device "
            "or mirrored, which goes on with the final fit alone"
        )
    replicas = distribution.open_distribution(config.run)
    with folder_lock(config.run_folder) if replicas.is_chief else nullcontext():
        tracker = Tracker(config) if replicas.is_chief else None
        trained = _train(config, replicas, tracker)
        # The settings in the run's folder have the address of the MLflow store without user and password.
        trained = dataclasses.replace(trained, config=trained.config.model_copy(update={"run": config.run}))
        if config.training.final_fit:
            final_fit(trained)
    return trained


def final_fit(trained: TrainedRun) -> TrainedRun:
    """Fits the recipe of a finished run on more clicks, as the run NAME-final, or continues that fit.

    Raises:
      RunError: another run has that name, or NAME-final is the final fit of an earlier training of this run; and
        `run.overwrite` is not set.
    """
    config = final_settings(trained.config, trained.finished)
    folder = config.run_folder
    say(f"final fit of {trained.config.run.name}: run {config.run.name}, on {_CLICKS[config.split.train_on]}")
    with folder_lock(folder):
        if (folder / run_files.FINISHED_FILE).exists() and not run_files.differing(config):
            of = endings.read(folder).get(FINAL_FIT, {})
            if of.get("finished") != choice_digest(trained.config.run_folder):
                if not config.run.overwrite:
                    raise RunError(
                        f"{folder}: is the final fit of an earlier training of {trained.config.run.name}; pass "
                        "run.overwrite=true to replace it"
                    )
                run_files.open_run(config, afresh=True)
        return _train(config, distribution.open_distribution(config.run), Tracker(config))


_CLICKS = {"all": "the clicks of all splits", "train_val": "the clicks of train and validation"}
"""`training.final_clicks` -> the same in words."""


def _train(config: Config, replicas: Distribution, tracker: Tracker | None) -> TrainedRun:
    """Prepares the data, trains on this worker, and logs to the tracker, which only the chief has."""
    with replicas.together():
        if replicas.is_chief:
            prepared = prepare(config)
        replicas.agree(0)
    if not replicas.is_chief:
        prepared = Prepared.open(config.run_folder / run_files.PREPARED_FOLDER)
    trained = load_trained(fit(config, prepared, None if tracker is None else tracker.steps))
    finished = trained.finished
    if replicas.is_chief and FINAL_FIT in finished:
        say(
            f"trained {finished['steps']:,} steps in {finished['training_seconds']:,.0f} s; nothing was validated: the "
            f"metrics are those of {finished[FINAL_FIT]['run']}"
        )
    elif replicas.is_chief:
        by, best = selection(finished)
        started = f", initialisation {finished['initialisation']}" if finished.get("initialisation") else ""
        say(
            f"trained {finished['steps']:,} steps in {finished['training_seconds']:,.0f} s{started}; "
            f"best validation {by} {best:.4f} at step {finished['best_step']:,}"
        )
    if tracker is not None:
        tracker.run()
    return trained
