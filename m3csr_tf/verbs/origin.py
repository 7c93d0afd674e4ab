"""Opens the run that a release came from."""

from __future__ import annotations

from m3csr_tf.config import Config
from m3csr_tf.errors import RunError
from m3csr_tf.releases.publish import released_from
from m3csr_tf.releases.release import Release
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.verbs.load_run import load_released


def origin(config: Config, release: Release, otherwise: str) -> TrainedRun:
    """Opens the run of the configuration, and requires that the release came from it.

    Args:
      config: names the run.
      release: the version in question.
      otherwise: the alternative to having the run, as a part of an error message.

    Raises:
      RunError: the release came from another run or from another training of this run, or the run cannot be opened
        (`load_released`).
    """
    try:
        trained = load_released(config)
    except RunError as error:
        raise RunError(f"{error}; or {otherwise}") from None
    if released_from(release.manifest, trained):
        return trained
    name, run = trained.config.run.name, release.manifest["run"]
    if run == name:
        came, this = f"another training of run {run}", ""
    else:
        came = f"run {run}, not from {name}"
        this = f", name that run (run.name={run} run.release_name={release.folder.name})"
    raise RunError(
        f"{release.folder}: version {release.version}, the current one, came from {came}; publish {name} with "
        f"pipelines/release.py{this}, or {otherwise}"
    )
