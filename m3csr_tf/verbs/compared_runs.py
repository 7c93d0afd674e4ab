"""Turns runs and versions into systems that can be compared, and finds users, and runs that stand in for final fits.

A final fit on all clicks has been trained on the clicks that would judge it. Its quality is therefore that of the run
that chose its settings, which has not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.batch.user_histories import UserHistories
from m3csr_tf.config import ColdConfig, Config, ExposureConfig
from m3csr_tf.data.audience import Audience, read_clicks
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.drift.systems import ComparedUsers, System, of_release
from m3csr_tf.errors import RunError
from m3csr_tf.evaluation import user_draw
from m3csr_tf.export.requests import flatten
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW
from m3csr_tf.releases.release import Release
from m3csr_tf.training import finished as endings
from m3csr_tf.training import run_files
from m3csr_tf.training.final_fit import ALL_CLICKS, FINAL_FIT
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.util.samples import sample
from m3csr_tf.verbs.load_run import open_choice
from m3csr_tf.verbs.released_vectors import ReleasedVectors, released

_DRAW = 0
"""Seed of the sample of users, which is the same for every comparison on the data."""


def of_run(trained: TrainedRun, vectors: ReleasedVectors) -> System:
    """Returns a run as a system that ranks as its release would.

    Users are represented by the histories that are given, and may be unknown to the run.
    """
    prepared, encoder, length = trained.prepared, vectors.users.encoder, trained.config.history.length

    def known(users: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Returns the user rows and the histories of users, as the encoder takes them."""
        histories = _histories(prepared, users[columns.HISTORY], length)
        return prepared.users.rows(users[columns.USER_ID].to_numpy(object)), histories

    def bins(ids: np.ndarray) -> np.ndarray:
        return prepared.bins[prepared.items.rows(ids)]

    return System(
        name=f"run {trained.config.run.name}",
        ids=prepared.items.known,
        item_vectors=lambda positions: vectors.items[FIRST_ROW + positions],
        user_vectors=lambda users: encoder.users(*known(users)),
        bins=bins,
        intensities=(lambda users: encoder.intensities(*known(users))) if encoder.weighs_modalities else None,
        modalities=tuple(prepared.modalities),
    )


def judged_release(release: Release, config: Config) -> System:
    """Returns the system whose quality stands for that of a version.

    It is the version itself, or, if the version is a final fit on all clicks, the run that chose its settings. Such a
    final fit has been trained on all clicks of its log, and thereby on those that a later log shares with it.

    Args:
      release: the version.
      config: its `run.folder` is the folder in which runs lie.

    Raises:
      RunError: the run that chose is missing or broken, or was trained anew since.
    """
    of = release.manifest.get(FINAL_FIT)
    if of is None or of["clicks"] != ALL_CLICKS:
        return of_release(release)
    chose = open_choice(config, of)
    # The exposure of cold items, and the rule for which items are cold, are those with which the version was published.
    then = release.manifest["config"]
    asked = {
        "exposure": ExposureConfig.model_validate(then["exposure"]),
        "cold": ColdConfig.model_validate(then.get("cold", {})),
    }
    chose = dataclasses.replace(chose, config=chose.config.model_copy(update=asked))
    return of_run(chose, released(chose))


def judged_instead(record: Mapping[str, Any]) -> str | None:
    """Returns a note that the run that chose is judged in the place of its final fit; None if it is not.

    Args:
      record: contents of finished.json or of a manifest.
    """
    of = record.get(FINAL_FIT)
    if of is None or of["clicks"] != ALL_CLICKS:
        return None
    return f"quality is that of run {of['run']}: its final fit, which is released, has trained on what would judge it"


def _histories(prepared: Prepared, given: pd.Series, length: int) -> np.ndarray:
    """Returns the item rows of histories, int32 [users, length]: the latest of the items that the run knows."""
    entries, owners = flatten(given)
    rows = prepared.items.rows(entries)
    known = rows >= FIRST_ROW
    rows, owners = rows[known], owners[known]
    counts = np.bincount(owners, minlength=len(given))
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    places -= np.maximum(0, counts - length)[owners]
    histories = np.full((len(given), length), PADDING_ROW, np.int32)
    kept = places >= 0
    histories[owners[kept], places[kept]] = rows[kept]
    return histories


def users_of_run(trained: TrainedRun, most: int | None, notes: list[str]) -> ComparedUsers:
    """Samples users with test clicks, whose histories are their training clicks.

    If the run has no test clicks, the sample is drawn from all users, and a note says that quality is not compared.

    Args:
      trained: the run.
      most: largest number of users; None takes all.
      notes: list to which the note is added.
    """
    prepared, config = trained.prepared, trained.config
    rows, _ = user_draw.drawn_users(prepared, columns.TEST, config.evaluation)
    judged = len(rows) > 0
    if not judged:
        notes.append(f"run {config.run.name} has no test clicks, so quality is not compared")
        rows = np.arange(FIRST_ROW, len(prepared.users))
    rows = sample(rows, most, _DRAW, nested=True)
    past = UserHistories(prepared, Audience(prepared, config, (columns.TRAIN,)))
    history, exclusions = past.lists(past.of_rows(rows))
    frame = pd.DataFrame(
        {
            columns.USER_ID: prepared.users.ids(rows),
            columns.HISTORY: pd.Series(history.to_numpy(), dtype=object),
            columns.EXCLUSIONS: pd.Series(exclusions.to_numpy(), dtype=object),
        }
    )
    counts = pd.Series(prepared.train_clicks[FIRST_ROW:], index=pd.Index(prepared.items.known, dtype=object))
    clicked = _test_clicks(prepared, rows, config.evaluation.kinds) if judged else None
    return ComparedUsers(frame, clicked, counts)


def other_data(release: Release, trained: TrainedRun) -> str | None:
    """Returns a note if a version was trained on other data than the run whose test clicks judge it; otherwise None.

    If the version is a final fit on all clicks, the note is about the run that chose, which is judged in its place
    (`judged_release`).

    Args:
      release: the version.
      trained: the run whose test clicks judge.
    """
    manifest, name = release.manifest, f"version {release.version}"
    prepared = manifest["prepared"]
    if judged_instead(manifest) is not None:
        chose = manifest[FINAL_FIT]["run"]
        name = f"run {chose}, which chose version {release.version},"
        try:
            prepared = endings.read(trained.config.run.folder / chose)["prepared"]
        except RunError:  # This is reported when the run is opened to be judged (`judged_release`).
            return None
    if prepared == run_files.data_digest(trained.prepared):
        return None
    known = f"{name} was trained on other data than run {trained.config.run.name}, whose test clicks judge"
    if trained.prepared.manifest["split"] == "time":
        # If a log has only grown at its end, the training clicks of an earlier night end before these test clicks.
        return f"{known}; unless it was split by time too, and the log has only grown since, its quality is overstated"
    return f"{known}; it may have been trained on some of them, and then its quality is overstated"


def known_clicks(record: Mapping[str, Any], config: Config) -> str | None:
    """Returns a note if a run started from another one that was trained on the run's test clicks; otherwise None.

    Args:
      record: contents of finished.json, with the run's name under "run", or of a manifest. If it is of a final fit on
        all clicks, the note is about the run that chose.
      config: its `run.folder` is the folder in which runs lie.
    """
    name = record[FINAL_FIT]["run"] if judged_instead(record) is not None else record["run"]
    try:
        finished = endings.read(config.run.folder / name)
    except RunError:  # A version can be compared without its run; if the run is needed, opening it reports the error.
        return None
    known = finished.get(endings.KNOWN_CLICKS, {}).get(columns.TEST)
    if known is None:
        return None
    return (
        f"run {name} started from {finished['initialisation']}, which was trained on {known:,} of the test clicks of "
        f"{name}, so the quality of {name} is overstated; a run that starts from the one that chose, not from its "
        "final fit, is judged fairly"
    )


def _test_clicks(prepared: Prepared, rows: np.ndarray, kinds: Sequence[str]) -> pd.Series:
    """Returns the items that each user has clicked in the test split, as lists of ids; `kinds` leaves others out."""
    clicks = read_clicks(prepared, columns.TEST, rows, kinds)
    ids = prepared.items.ids(clicks.indices)
    return pd.Series(np.split(ids, clicks.indptr[1:-1]), dtype=object, name="clicked")
