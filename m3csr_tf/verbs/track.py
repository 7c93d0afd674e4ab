"""track: logs a run that is there to MLflow, e.g. what a training could not log while the server was away."""

from __future__ import annotations

from typing import Any

from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.releases import versions
from m3csr_tf.tracking.store import Connection
from m3csr_tf.training import run_files
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.tracker import log_release, say_logged


def track(config: Config) -> str:
    """Logs all of a run that the store lacks, and registers the versions of its release that came from it.

    Returns:
      The id of its run in MLflow.

    Raises:
      ConfigError: `run.tracking_uri` is not set.
      TrackingError: the store cannot be used, or does not answer.
      RunError: there is no such run.
    """
    if config.run.tracking_uri is None:
        raise ConfigError("track: run.tracking_uri is not set; give the MLflow store, e.g. sqlite:///mlflow.db")
    if not (config.run_folder / run_files.CONFIG_FILE).exists():
        raise RunError(f"{config.run_folder}: no run here ({run_files.CONFIG_FILE} is missing); check run.name")
    released, current = _versions(config)
    with progress("logging to MLflow"):
        logged = Connection(config.run).do(lambda store: log_release(store, config, released, current))
    say_logged(config, *logged)
    return logged[0]


def _versions(config: Config) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Manifests of the versions that came from the run as it is now, and of the current version of any run."""
    if not config.release_folder.is_dir():
        return [], None
    run = config.run.name, run_files.settings_of(config.run_folder).fingerprint()
    found = [one for one in versions.listing(config.release_folder) if one.complete]
    own = [one.manifest for one in found if (one.manifest["run"], one.manifest["trained"]) == run]
    return own, next((one.manifest for one in found if one.current), None)
