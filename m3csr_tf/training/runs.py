"""Opens a run's folder: its resolved configuration, versions and checkpoints, and the trained model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import RunError
from m3csr_tf.models import registry
from m3csr_tf.models.contract import Recommender
from m3csr_tf.training import finished as endings
from m3csr_tf.training.finished import FINISHED_FILE
from m3csr_tf.training.run_files import CHECKPOINTS, CONFIG_FILE, PREPARED_FOLDER, data_digest, settings_of
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular
from m3csr_tf.util.locks import folder_lock
from m3csr_tf.util.progress import progress
from m3csr_tf.util.stored import reading

_COPIES = 4
"""Number of copies of a table during training: the weights, two moments, and the average."""


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
      config: the resolved configuration of the run.
      prepared: the data it was trained on.
      model: the model with the averaged weights of its best validation.
      finished: the contents of finished.json: best_step, steps, validation recall@20, seconds of training, the method
        of initialisation, and more.
    """

    config: Config
    prepared: Prepared
    model: Recommender
    finished: dict[str, Any]


@contextmanager
def figures_of(trained: TrainedRun) -> Iterator[None]:
    """Locks the folder of a run while its figures are written there.

    Raises:
      RunError: the run has been trained anew since it was opened.
    """
    _check_same(trained)  # A first check: a training may hold the lock for hours.
    with folder_lock(trained.config.run_folder):
        _check_same(trained)
        yield


def check_figures_fit(trained: TrainedRun) -> None:
    """Refuses to compute figures that could not be written in the end, because this user may only read the run.

    Raises:
      RunError: the folder is not writable; the message names it.
    """
    folder = trained.config.run_folder
    for writable in (folder, folder.parent):  # The lock of the run lies beside it.
        if not os.access(writable, os.W_OK | os.X_OK):
            raise RunError(
                f"{writable}: it may not be written, and the figures of the run go into {folder}; give this user the "
                "right to write it, or copy the run to another run.folder"
            )


def _check_same(trained: TrainedRun) -> None:
    folder = trained.config.run_folder
    try:
        now = parse_json(regular(folder / FINISHED_FILE).read_bytes())
    except (OSError, ValueError):
        now = {}
    if now != trained.finished:
        raise RunError(f"{folder}: the run was trained anew while this worked on it; run the same command again")


def build_model(config: Config, prepared: Prepared) -> Recommender:
    """Creates a fresh model of `model.kind`, with its weights drawn from `run.seed`.

    Raises:
      RunError: its tables need more memory than this machine has.
    """
    _check_size(config, prepared)
    return registry.build_model(config, prepared)


def _check_size(config: Config, prepared: Prepared) -> None:
    """Refuses tables that are too large, before memory is allocated.

    A system may grant more memory than there is, and end the process later without a message.
    """
    users, items = len(prepared.users), len(prepared.items)
    entries = registry.model_class(config.model).table_entries(config, users, items)
    needed = _COPIES * 4 * entries / 2**30
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    if needed > there:
        raise RunError(
            f"{config.run.name}: tables of {users:,} users and {items:,} items take {needed:,.0f} GiB in training, and "
            f"this machine has {there:,.0f}; lower model.dim, model.id_dim, or the rows of hashed ids "
            "(model.user_hash_rows, model.item_hash_rows)"
        )


def best_weights(folder: Path, step: int) -> Path:
    """Returns the prefix of the checkpoint that holds the averaged weights of a validated step."""
    return folder / CHECKPOINTS / f"validated-{step}" / "weights"


def weights_checkpoint(model: Recommender) -> tf.train.Checkpoint:
    """Returns the checkpoint of a validated step: the model's weights, without the optimizer's state."""
    return tf.train.Checkpoint(**model.checkpointed())


def read_finished(folder: Path) -> tuple[Config, Prepared, dict[str, Any]]:
    """Returns the resolved configuration of a finished run, its data, and the contents of its finished.json.

    Raises:
      RunError: there is no run here, its training has not finished, a file of it is broken, or its settings or data are
        not those with which it was trained.
    """
    folder = Path(folder)
    if not (folder / CONFIG_FILE).exists():
        raise RunError(
            f"{folder}: no run here ({CONFIG_FILE} is missing); run pipelines/train.py first, or check run.name"
        )
    finished = endings.read(folder)
    config = settings_of(folder)
    if finished["fingerprint"] != config.fingerprint():
        raise RunError(
            f"{folder}: {FINISHED_FILE} is of a training with other settings than {CONFIG_FILE}; train again with "
            "run.overwrite=true"
        )
    prepared = Prepared.open(folder / PREPARED_FOLDER)
    if finished["prepared"] != data_digest(prepared):
        raise RunError(
            f"{folder / PREPARED_FOLDER}: this is not the data that the run was trained on; "
            "train again with run.overwrite=true"
        )
    return config, prepared, finished


def load_trained(folder: Path) -> TrainedRun:
    """Opens a finished run, with its resolved configuration and the averaged weights of its best validation.

    Raises:
      RunError: for the same reasons as in `read_finished`, or its weights are missing, broken or not those of the run.
    """
    folder = Path(folder)
    with progress("reading the trained run"):
        config, prepared, finished = read_finished(folder)
        weights = best_weights(folder, finished["best_step"])
        remedy = (
            f"put it back, or delete {folder / FINISHED_FILE} and {folder / CHECKPOINTS} and run pipelines/train.py"
        )
        endings.check_weights(finished, weights, remedy)
        model = build_model(config, prepared)
        with reading(weights, f"another version of this package may have written it; {remedy}", RunError):
            weights_checkpoint(model).read(str(weights)).assert_consumed()
    return TrainedRun(config, prepared, model, finished)


def latest_checkpoint(folder: Path) -> Path | None:
    """Returns the prefix of the checkpoint from which a training continues; None if there is none yet.

    Raises:
      RunError: there are checkpoints, but the list of them is broken.
    """
    checkpoints = folder / CHECKPOINTS
    listed = checkpoints / "checkpoint"
    with reading(listed, f"put it back, or delete {checkpoints} to train from the start", RunError):
        if listed.exists():
            regular(listed)
        latest = tf.train.latest_checkpoint(str(checkpoints))
        if latest is not None and Path(latest).parent == checkpoints:
            return Path(latest)
        # A kill may come between the first checkpoint and the list of checkpoints.
        if listed.exists() or any(path.name != "training-0.index" for path in checkpoints.glob("training-*.index")):
            regular(listed)
            raise ValueError("it names no checkpoint that is there")
    return None
