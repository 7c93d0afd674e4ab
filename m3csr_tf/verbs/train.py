"""train: trains the model that the configuration names."""

from __future__ import annotations

from contextlib import nullcontext

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.training import distribution, run_files
from m3csr_tf.training.distribution import Distribution
from m3csr_tf.training.finished import selection
from m3csr_tf.training.fit import fit
from m3csr_tf.training.runs import TrainedRun, load_trained
from m3csr_tf.util.locks import folder_lock
from m3csr_tf.verbs.console import say
from m3csr_tf.verbs.prepare import prepare


def train(config: Config) -> TrainedRun:
    """Prepares the data if necessary, then trains, or continues a run that was interrupted.

    If there are several workers (`run.strategy`), the chief prepares and prints for all. It holds the lock of the run,
    so that other processes that would write the run wait.
    """
    replicas = distribution.open_distribution(config.run)
    with folder_lock(config.run_folder) if replicas.is_chief else nullcontext():
        return _train(config, replicas)


def _train(config: Config, replicas: Distribution) -> TrainedRun:
    with replicas.together():
        if replicas.is_chief:
            prepared = prepare(config)
        replicas.agree(0)
    if not replicas.is_chief:
        prepared = Prepared.open(config.run_folder / run_files.PREPARED_FOLDER)
    trained = load_trained(fit(config, prepared))
    finished = trained.finished
    by, best = selection(finished)
    if replicas.is_chief:
        started = f", initialisation {finished['initialisation']}" if finished.get("initialisation") else ""
        say(
            f"trained {finished['steps']:,} steps in {finished['training_seconds']:,.0f} s{started}; "
            f"best validation {by} {best:.4f} at step {finished['best_step']:,}"
        )
    return trained
