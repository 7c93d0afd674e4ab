"""track: logs an existing run to MLflow, e.g. what a training could not log while the server did not answer."""

from __future__ import annotations

from typing import Any

from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.releases import versions
from m3csr_tf.tracking.store import Connection
from m3csr_tf.training import finished as endings
from m3csr_tf.training import run_files
from m3csr_tf.training.final_fit import final_settings
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.console import say
from m3csr_tf.verbs.tracker import log_release, say_logged


def track(config: Config) -> str:
    """Logs all of a run that the store lacks, and registers the versions of its release that came from it.

    With `training.final_fit`, the final fit of the run is logged as well, if its training has begun, since the release
    comes from it.

    Returns:
      The id of the run in MLflow; if a final fit is logged as well, that of the run that chose its settings.

    Raises:
      ConfigError: `run.tracking_uri` is not set.
      TrackingError: the store cannot be used, or does not answer.
      RunError: there is no such run.
    """
    if config.run.tracking_uri is None:
        raise ConfigError("track: run.tracking_uri is not set; give the MLflow store, e.g. sqlite:///mlflow.db")
    if not (config.run_folder / run_files.CONFIG_FILE).exists():
        raise RunError(f"{config.run_folder}: no run here ({run_files.CONFIG_FILE} is missing); check run.name")
    connection = Connection(config.run)
    run_id = _log(connection, config)
    final = _final_fit(config)
    if final is not None:
        _log(connection, final)
    return run_id


def _log(connection: Connection, config: Config) -> str:
    """Logs a run and registers its versions, and returns the id of the run in MLflow."""
    released, current = _versions(config)
    if not released:
        say(f"{config.release_folder} has no version of run {config.run.name} as it is now, so none is registered")
    with progress("logging to MLflow"):
        logged = connection.do(lambda store: log_release(store, config, released, current))
    say_logged(config, *logged)
    return logged[0]


def _final_fit(config: Config) -> Config | None:
    """Returns the settings of the run's final fit; None if none is asked for, or its training has not begun."""
    asked = run_files.as_trained(config)
    if not asked.training.final_fit or not (config.run_folder / run_files.FINISHED_FILE).exists():
        return None
    final = final_settings(asked, endings.read(config.run_folder))
    return final if (final.run_folder / run_files.CONFIG_FILE).exists() else None


def _versions(config: Config) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Returns the manifests of the versions that came from the run as it is now, and that of the current version.

    The current version may have come from another run; its manifest is None if there is no current version.
    """
    if not config.release_folder.is_dir():
        return [], None
    run = config.run.name, run_files.settings_of(config.run_folder).fingerprint()
    found = [one for one in versions.listing(config.release_folder) if one.complete]
    own = [one.manifest for one in found if (one.manifest["run"], one.manifest["trained"]) == run]
    return own, next((one.manifest for one in found if one.current), None)
