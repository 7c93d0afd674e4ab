"""A run's folder: its resolved configuration, versions and checkpoints, and the trained model back from it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

import m3csr_tf
from m3csr_tf import columns
from m3csr_tf import config as config_module
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.models import registry
from m3csr_tf.models.contract import Recommender
from m3csr_tf.training import finished as endings
from m3csr_tf.training.finished import FINISHED_FILE
from m3csr_tf.util.documents import parse_json, parse_yaml
from m3csr_tf.util.files import regular, sha256, write_json, write_text
from m3csr_tf.util.locks import held
from m3csr_tf.util.names import job_folders
from m3csr_tf.util.quoting import LONGEST, printable
from m3csr_tf.util.stored import reading

CONFIG_FILE = "config.yaml"
VERSIONS_FILE = "versions.json"
PREPARED_FOLDER = "prepared"
CHECKPOINTS = "checkpoints"
CROSS_IDS = "cross_ids.npz"
LOGS = "logs"
METRICS_FILE = "metrics.json"
LISTS = "top_n"
ITEM_VECTORS = "item_vectors"

_LIBRARIES = ("tensorflow", "tf-keras", "tensorflow-recommenders", "scann", "numpy", "pandas", "scikit-learn")

_PUT_BACK = "put it back; where it is lost, train under another run.name"

_COPIES = 4
"""Of a table while it is trained: the weights, two moments, and the average."""


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
      config: its resolved configuration.
      prepared: the data it was trained on.
      model: the model with the averaged weights of its best validation.
      finished: contents of finished.json: best_step, steps, validation recall@20, seconds of training, and where ids
        have started.
    """

    config: Config
    prepared: Prepared
    model: Recommender
    finished: dict[str, Any]


def check_run(config: Config) -> None:
    """Refuses to go on when the run's folder holds a run of another configuration; writes nothing.

    Only settings that change the trained weights make another run of it; evaluation, index and retrieval may differ.

    Raises:
      RunError: it does, and `run.overwrite` is not set, or as `differing`.
    """
    found = differing(config)
    if found and config.run.overwrite:
        check_replaceable(config.run_folder)
    elif found:
        raise RunError(
            f"{config.run_folder}: a run of this name has another configuration ({'; '.join(found[:4])}); "
            "choose another run.name, or pass run.overwrite=true to replace it"
        )


def check_replaceable(folder: Path) -> None:
    """Refuses to replace a run in whose folder something lies that no run leaves there; writes nothing.

    Raises:
      RunError: naming it.
    """
    links, kept = (LISTS, ITEM_VECTORS), (CONFIG_FILE, VERSIONS_FILE, METRICS_FILE, FINISHED_FILE, CROSS_IDS)
    foreign = [folder / name for name in links if (folder / name).exists() and not (folder / name).is_symlink()]
    foreign += [folder / name for name in kept if (folder / name).is_dir()]
    folders = [folder / name for name in (CHECKPOINTS, LOGS) if os.path.lexists(folder / name)]
    foreign += [path for path in (*folders, *_jobs(folder)) if not _own(path)]
    if foreign:
        raise RunError(
            f"{foreign[0]}: is not what a run leaves there, so run.overwrite=true does not replace it, nor the run; "
            "move it away, or choose another run.name"
        )


def _jobs(folder: Path) -> list[Path]:
    """Folders of the run's batch jobs."""
    return [*job_folders(folder / LISTS), *job_folders(folder / ITEM_VECTORS)]


def _own(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink()


@contextmanager
def figures_of(trained: TrainedRun) -> Iterator[None]:
    """Holds the folder of a run while its figures are written there.

    Raises:
      RunError: the run has been trained anew since it was opened.
    """
    _check_same(trained)  # Now as well: a training may hold the run for hours, and end in nothing but this error.
    with held(trained.config.run_folder):
        _check_same(trained)
        yield


def check_figures_fit(trained: TrainedRun) -> None:
    """Refuses to work on figures that could not be written in the end: of a run that this user may only read.

    Raises:
      RunError: naming the folder.
    """
    folder = trained.config.run_folder
    for place in (folder, folder.parent):  # Beside the run lies its lock.
        if not os.access(place, os.W_OK | os.X_OK):
            raise RunError(
                f"{place}: it may not be written, and the figures of the run go into {folder}; give this user the "
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


def has_trained(config: Config) -> bool:
    """Whether the run of this name has a checkpoint, or has finished."""
    folder = config.run_folder
    return (folder / FINISHED_FILE).exists() or any((folder / CHECKPOINTS).glob("*"))


def data_digest(prepared: Prepared) -> str:
    """What ties weights to the data they were trained on: SHA-256 of the prepared manifest, hex."""
    return sha256(prepared.folder / columns.MANIFEST)


def open_run(config: Config, afresh: bool = False) -> Path:
    """Creates a run's folder, or opens it to go on; a run of another configuration is replaced if it may be.

    Args:
      config: the run's settings.
      afresh: replace what has been trained in any case.

    Returns:
      The folder, with config.yaml and versions.json written.

    Raises:
      RunError: as `check_run`.
    """
    check_run(config)
    folder = config.run_folder
    if afresh or differing(config):
        check_replaceable(folder)
        for stale in (CHECKPOINTS, LOGS):
            shutil.rmtree(folder / stale, ignore_errors=True)
        for stale in (METRICS_FILE, FINISHED_FILE, LISTS, ITEM_VECTORS):
            (folder / stale).unlink(missing_ok=True)
        for job in _jobs(folder):
            shutil.rmtree(job)
    write_text(folder / CONFIG_FILE, config.to_yaml())
    write_json(folder / VERSIONS_FILE, versions())
    return folder


def settings_of(folder: Path) -> Config:
    """The resolved configuration of a run.

    Raises:
      RunError: the file is broken, empty, or cannot be read.
    """
    path = folder / CONFIG_FILE
    with reading(path, _PUT_BACK, RunError):
        text = regular(path).read_text(encoding="utf-8")
        if not parse_yaml(text):
            raise ValueError("it says nothing")
        try:
            found = config_module.load(path)
        except ConfigError as error:
            # What else it says to do is for files that a user has written.
            raise ValueError(str(error).removeprefix(f"{path}: ").partition("; ")[0]) from None
        if not text.endswith(config_module.END_OF_YAML):
            raise ValueError("its end is missing")
        return found


def differing(config: Config) -> list[str]:
    """How the run of this name, if there is one, differs from the configuration: settings, as `differences`.

    What has been trained under the name may differ too, where two trainings were at it.

    Raises:
      RunError: what it was trained with cannot be told, and `run.overwrite` is not set.
    """
    if not os.path.lexists(config.run_folder / CONFIG_FILE):
        return []
    try:
        found = differences(settings_of(config.run_folder), config)
    except RunError as error:
        if not config.run.overwrite:
            raise
        return [str(error)]
    # Another training may have ended after the settings were written.
    if not found and endings.fingerprint(config.run_folder) not in (None, config.fingerprint()):
        return [f"{FINISHED_FILE} is of a training with others"]
    return found


def with_its_start(config: Config) -> Config:
    """The configuration with the start that the run of this name was trained from, where it names none itself.

    Where weights come from is a matter of training; whoever releases or evaluates them need not say it again.

    Raises:
      RunError: as `settings_of`.
    """
    if config.training.warm_start is not None or not os.path.lexists(config.run_folder / CONFIG_FILE):
        return config
    start = settings_of(config.run_folder).training.warm_start
    return config.model_copy(update={"training": config.training.model_copy(update={"warm_start": start})})


def differences(old: Config, new: Config, *sections: str) -> list[str]:
    """Settings that differ, as "section.name: old -> new"; of `sections`, or all that change the weights."""
    trees = old.model_dump(mode="json"), new.model_dump(mode="json")
    found = []
    for section in sections or (*config_module.TRAINING_SECTIONS, "run"):
        for name, value in trees[1][section].items():
            if section == "run" and name not in config_module.RUN_IDENTITY:
                continue
            if name in trees[0][section] and trees[0][section][name] != value:  # Kinds of model share a few alone.
                found.append(f"{section}.{name}: {_said(trees[0][section][name])} -> {_said(value)}")
    return found


def _said(value: Any) -> str:
    text = printable(str(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def versions() -> dict[str, Any]:
    """What a run was made with: this package, Python, the libraries, the number of cores."""
    return {
        "m3csr_tf": m3csr_tf.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        **{name: metadata.version(name) for name in _LIBRARIES},
    }


def build_model(config: Config, prepared: Prepared) -> Recommender:
    """A fresh model of `model.kind`, initialised from `run.seed`.

    Raises:
      RunError: its tables take more memory than this machine has.
    """
    _check_size(config, prepared)
    return registry.build_model(config, prepared)


def _check_size(config: Config, prepared: Prepared) -> None:
    """Before memory is asked for: a system may grant more than there is, and end the process later without a word."""
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
    """Prefix of the checkpoint that holds the averaged weights of a validated step."""
    return folder / CHECKPOINTS / f"validated-{step}" / "weights"


def weights_checkpoint(model: Recommender) -> tf.train.Checkpoint:
    """What is kept of a validated step: the model's weights, without the optimizer's state."""
    return tf.train.Checkpoint(**model.checkpointed())


def read_finished(folder: Path) -> tuple[Config, Prepared, dict[str, Any]]:
    """The resolved configuration of a finished run, its data, and the contents of its finished.json.

    Raises:
      RunError: there is no run here, its training has not finished, a file of it is broken, or its settings or data
        are not those it was trained with.
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
      RunError: as `read_finished`, or its weights are missing, broken or others.
    """
    folder = Path(folder)
    config, prepared, finished = read_finished(folder)
    weights = best_weights(folder, finished["best_step"])
    remedy = f"put it back, or delete {folder / FINISHED_FILE} and {folder / CHECKPOINTS} and run pipelines/train.py"
    endings.check_weights(finished, weights, remedy)
    model = build_model(config, prepared)
    with reading(weights, f"another version of this package may have written it; {remedy}", RunError):
        weights_checkpoint(model).read(str(weights)).assert_consumed()
    return TrainedRun(config, prepared, model, finished)


def latest_checkpoint(folder: Path) -> Path | None:
    """Prefix of the checkpoint that a training goes on from; None before the first.

    Raises:
      RunError: the list of checkpoints is broken, while there are some.
    """
    place = folder / CHECKPOINTS
    listed = place / "checkpoint"
    with reading(listed, f"put it back, or delete {place} to train from the start", RunError):
        if listed.exists():
            regular(listed)
        latest = tf.train.latest_checkpoint(str(place))
        if latest is not None and Path(latest).parent == place:
            return Path(latest)
        # A kill may come between the first checkpoint and the list of them.
        if listed.exists() or any(path.name != "training-0.index" for path in place.glob("training-*.index")):
            regular(listed)
            raise ValueError("it names no checkpoint that is there")
    return None
