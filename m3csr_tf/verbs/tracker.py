"""Logs the results of a verb to MLflow (`run.tracking_uri`), without letting a failure of MLflow lose any result.

A store that cannot be used (MLflow is not installed, the address is mistyped, the run was deleted there) is refused
before the verb begins. A later failure, or a server that does not answer, causes only a warning, and the verb `track`
can log afterwards what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from m3csr_tf.config import Config
from m3csr_tf.errors import M3CSRError
from m3csr_tf.releases.release import Release
from m3csr_tf.tracking import registry
from m3csr_tf.tracking.run import check_run, log_run, log_steps
from m3csr_tf.tracking.store import Connection, Store, StoreAway
from m3csr_tf.util.progress import progress, say

Of = TypeVar("Of")


class Tracker:
    """The MLflow store during a verb. Without `run.tracking_uri` it does nothing, and does not import MLflow.

    Args:
      config: the settings of the verb.
      of_release: whether the verb registers a version, for which the name of the release must be free in the registry.

    Raises:
      TrackingError: the store cannot be used.
      RunError: the file tracking.json of the run is broken.
    """

    def __init__(self, config: Config, of_release: bool = False) -> None:
        self._config, self._lost = config, 0
        self._connection = None if config.run.tracking_uri is None else Connection(config.run)
        if self._connection is None:
            return
        try:
            with progress("opening the MLflow store"):
                self._connection.do(lambda store: check_run(store, config.run_folder))
                if of_release:
                    self._connection.do(lambda store: registry.check_model(store, config.release_folder))
        except StoreAway as error:
            self._lose(error)

    def steps(self) -> None:
        """Logs the steps of a training so far; after a failure they are left to `run`, so that training never waits."""
        if self._lost:
            self._lost += 1
        else:
            self._attempt(lambda store: log_steps(store, self._config.run_folder))

    def run(self) -> None:
        """Logs everything in the run's folder that the store lacks."""
        logged = self._attempt(lambda store: log_run(store, self._config.run_folder))
        if logged is not None:
            say_logged(self._config, *logged)

    def released(self, release: Release) -> None:
        """Registers the version that was published from the run, and makes it the current one of the registry."""
        self._attempt(lambda store: log_release(store, self._config, [release.manifest], release.manifest))

    def current(self, release: Release) -> None:
        """Moves the registry's alias to a version that has been made the current one."""
        found = self._attempt(lambda store: registry.point_to(store, self._config.release_folder, release.manifest))
        if found is False:
            say(
                f"warning: MLflow's registry lacks version {release.version} of {self._config.release_folder}, so its "
                f"alias {registry.CURRENT} stays; run pipelines/track.py with run.name={release.manifest['run']} "
                f"run.release_name={self._config.release_folder.name}"
            )

    def _attempt(self, action: Callable[[Store], Of]) -> Of | None:
        """Returns the result of an action on the store; None without a store, or, after a warning, if it fails."""
        if self._connection is None:
            return None
        try:
            with progress("logging to MLflow"):
                done = self._connection.do(action)
        except M3CSRError as error:
            self._lose(error)
            return None
        if self._lost:
            say(f"MLflow answers again: what {self._lost} attempts could not log is logged now")
        self._lost = 0
        return done

    def _lose(self, error: M3CSRError) -> None:
        """Warns that something could not be logged, and counts the attempt."""
        self._lost += 1
        attempts = f", {self._lost} attempts so far" if self._lost > 1 else ""
        say(
            f"warning: not logged to MLflow{attempts}: {error}. The verb goes on, and pipelines/track.py logs what is "
            "lacking later"
        )


def log_release(
    store: Store, config: Config, manifests: list[dict[str, Any]], current: dict[str, Any] | None
) -> tuple[str, list[str]]:
    """Logs a run, registers versions of its release that came from it, and moves the alias to the current one.

    Args:
      store: the store.
      config: names the folders of run and release.
      manifests: the manifests of the versions.
      current: manifest of the current version, whichever run it came from; None if there is no current version.

    Returns:
      The id of the run in MLflow, and sentences on what could not be logged as it is.
    """
    folder = config.release_folder
    run_id, notes = log_run(store, config.run_folder)
    for manifest in manifests:
        number = registry.register(store, run_id, folder, manifest)
        say(f"version {manifest['version']} of {folder} is version {number} of the model {folder.name} in MLflow")
    if current is not None:
        registry.point_to(store, folder, current)
    return run_id, notes


def say_logged(config: Config, run_id: str, notes: list[str]) -> None:
    """Reports where a run was logged, and what of it could not be logged as it is."""
    for note in notes:
        say(f"note: {note}")
    say(f"logged {config.run_folder} to MLflow: experiment {config.run.tracking_experiment}, run {run_id}")
