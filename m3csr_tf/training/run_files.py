"""The contents of a run's folder: names, settings and versions, and whether a run of that name may be replaced."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import m3csr_tf
from m3csr_tf import columns
from m3csr_tf import config as config_module
from m3csr_tf.config import Config
from m3csr_tf.config.renamed import old_names
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.training import finished as endings
from m3csr_tf.training.finished import FINISHED_FILE
from m3csr_tf.util.documents import parse_yaml
from m3csr_tf.util.files import regular, sha256, write_json, write_text
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

SIMILAR_ITEMS = "similar_items"

JOB_LINKS = (LISTS, ITEM_VECTORS, SIMILAR_ITEMS)
"""Links to their parts that batch jobs leave in a run's folder by default."""

REPORT_FILES = ("report.html", "model_card.md", "frontier.csv", "frontier.png", "comparison.json")

FIGURES = "figures"

TRACKING_FILE = "tracking.json"
"""Which run of an MLflow store this run is logged to."""

EVALUATIONS = "evaluations"
"""The folder of evaluations of lists or vectors of other systems by the held-out clicks of the run."""

_LIBRARIES = ("tensorflow", "tf-keras", "tensorflow-recommenders", "scann", "numpy", "pandas", "scikit-learn")

_MOST_RENAMED = 2
"""Largest number of renamed settings that the refusal of a run of an earlier version names."""

_PUT_BACK = "put it back; where it is lost, train under another run.name"


def check_run(config: Config) -> None:
    """Refuses a configuration if the run's folder holds a run of another one; writes nothing.

    Only settings that change the trained weights count; those of evaluation, index and retrieval may differ.

    Raises:
      RunError: it does, and `run.overwrite` is not set; or for the same reason as in `differing`.
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
    """Refuses to replace a run whose folder holds something that no run leaves there; writes nothing.

    Raises:
      RunError: there is such a thing; the message names it.
    """
    kept = (CONFIG_FILE, VERSIONS_FILE, METRICS_FILE, FINISHED_FILE, CROSS_IDS, TRACKING_FILE, *REPORT_FILES)
    foreign = [folder / name for name in JOB_LINKS if (folder / name).exists() and not (folder / name).is_symlink()]
    foreign += [folder / name for name in kept if (folder / name).is_dir()]
    folders = [folder / name for name in (CHECKPOINTS, LOGS, FIGURES, EVALUATIONS) if os.path.lexists(folder / name)]
    foreign += [path for path in (*folders, *_jobs(folder)) if not _own(path)]
    if foreign:
        raise RunError(
            f"{foreign[0]}: is not what a run leaves there, so run.overwrite=true does not replace it, nor the run; "
            "move it away, or choose another run.name"
        )


def _jobs(folder: Path) -> list[Path]:
    """Returns the folders of the run's batch jobs."""
    return [job for name in JOB_LINKS for job in job_folders(folder / name)]


def _own(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink()


def has_trained(config: Config) -> bool:
    """Returns whether the run of this name has a checkpoint or has finished."""
    folder = config.run_folder
    return (folder / FINISHED_FILE).exists() or any((folder / CHECKPOINTS).glob("*"))


def data_digest(prepared: Prepared) -> str:
    """Returns the digest that ties weights to their training data: SHA-256 of the prepared manifest, in hex."""
    return sha256(prepared.folder / columns.MANIFEST)


def open_run(config: Config, afresh: bool = False) -> Path:
    """Creates or opens a run's folder; a run of another configuration is replaced if that is allowed.

    Args:
      config: the run's settings.
      afresh: whether to replace what has been trained in any case.

    Returns:
      The folder, with config.yaml and versions.json written.

    Raises:
      RunError: for the same reasons as in `check_run`.
    """
    check_run(config)
    folder = config.run_folder
    if afresh or differing(config):
        check_replaceable(folder)
        for stale in (CHECKPOINTS, LOGS, FIGURES, EVALUATIONS):
            shutil.rmtree(folder / stale, ignore_errors=True)
        for stale in (METRICS_FILE, FINISHED_FILE, TRACKING_FILE, *JOB_LINKS, *REPORT_FILES):
            (folder / stale).unlink(missing_ok=True)
        for job in _jobs(folder):
            shutil.rmtree(job)
    write_text(folder / CONFIG_FILE, config.to_yaml())
    write_json(folder / VERSIONS_FILE, versions())
    return folder


def settings_of(folder: Path) -> Config:
    """Returns the resolved configuration of a run.

    Raises:
      RunError: the file is broken, empty, from a version with other names of settings, or cannot be read.
    """
    path = folder / CONFIG_FILE
    with reading(path, _PUT_BACK, RunError):
        text = regular(path).read_text(encoding="utf-8")
        tree = parse_yaml(text)
        if not tree:
            raise ValueError("it says nothing")
        renamed = [f"{old} is {new} now" for old, new in old_names(tree).items()]
        if renamed:
            more = "; ..." if len(renamed) > _MOST_RENAMED else ""
            raise RunError(
                f"{path}: an earlier version of this package has trained this run, with other names of settings "
                f"({'; '.join(renamed[:_MOST_RENAMED])}{more}), and its weights cannot be read; train under another "
                "run.name, or pass run.overwrite=true to train to replace it"
            )
        try:
            found = config_module.load(path)
        except ConfigError as error:
            # Its further advice is meant for files that a user has written.
            raise ValueError(str(error).removeprefix(f"{path}: ").partition("; ")[0]) from None
        if not text.endswith(config_module.END_OF_YAML):
            raise ValueError("its end is missing")
        return found


def differing(config: Config) -> list[str]:
    """Returns how the run of this name, if there is one, differs from the configuration, as `differences` does.

    The weights under this name may be of other settings than config.yaml, where two trainings wrote the folder at the
    same time; that counts as a difference, too.

    Raises:
      RunError: the settings of the run cannot be read, and `run.overwrite` is not set.
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


def as_trained(config: Config) -> Config:
    """The configuration with the warm start and the final fit that the run of this name was last trained with.

    Both are matters of training; whoever releases or evaluates the run need not say them again. A warm start that the
    configuration names itself stays, and so does a final fit that it asks for.

    Raises:
      RunError: for the same reasons as in `settings_of`.
    """
    if not os.path.lexists(config.run_folder / CONFIG_FILE):
        return config
    stored, given = settings_of(config.run_folder).training, config.training
    update: dict[str, Any] = {}
    if given.warm_start is None:
        update["warm_start"] = stored.warm_start
    if not given.final_fit and stored.final_fit:
        update |= {"final_fit": True, "final_clicks": stored.final_clicks}
    return config.model_copy(update={"training": given.model_copy(update=update)})


def differences(old: Config, new: Config, *sections: str) -> list[str]:
    """Returns the settings that differ, as "section.name: old -> new"; by default all that change the weights."""
    trees = old.model_dump(mode="json"), new.model_dump(mode="json")
    found = []
    for section in sections or (*config_module.TRAINING_SECTIONS, "run"):
        for name, value in trees[1][section].items():
            if section == "run" and name not in config_module.RUN_IDENTITY:
                continue
            if name in config_module.AFTER_TRAINING.get(section, ()):
                continue
            if name in trees[0][section] and trees[0][section][name] != value:  # Kinds of model share a few alone.
                found.append(f"{section}.{name}: {_said(trees[0][section][name])} -> {_said(value)}")
    return found


def _said(value: Any) -> str:
    text = printable(str(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def versions() -> dict[str, Any]:
    """Returns the versions that a run was made with (this package, Python, libraries), and the number of cores."""
    return {
        "m3csr_tf": m3csr_tf.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        **{name: metadata.version(name) for name in _LIBRARIES},
    }
