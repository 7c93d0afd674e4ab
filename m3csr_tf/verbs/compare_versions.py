"""release compare: what changes for the same users from one version of a release to another, or to a run."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from m3csr_tf import columns
from m3csr_tf.batch.user_histories import UserHistories
from m3csr_tf.config import Config
from m3csr_tf.data.audience import Audience
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.drift.comparison import LENGTH, Comparison, compare
from m3csr_tf.drift.systems import ComparedUsers, System, of_release
from m3csr_tf.errors import InputError, RunError
from m3csr_tf.evaluation import report
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.releases.publish import released_from
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.training import run_files
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.util.progress import progress
from m3csr_tf.util.quoting import quoted
from m3csr_tf.util.samples import sample
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.load_run import load_run
from m3csr_tf.verbs.released_vectors import ReleasedVectors, released

CURRENT, RUN = "current", "run"
_DRAW = 0
"""Seed of the draw of users: the same ones for every comparison on the data."""


def compare_versions(config: Config, words: Sequence[str], most: int, as_json: bool) -> Comparison:
    """Compares two systems on the same users, and prints tables, or JSON alone (docs/releases.md).

    Args:
      config: names the release, and the run whose held-out clicks judge.
      words: from what to what: version numbers, "current" or "run"; of one word, from the current version to that.
      most: users that are compared at most.
      as_json: print JSON alone.

    Raises:
      InputError: the words are not one or two of these, or name the same version twice, or nobody can be asked about.
      ReleaseError: a version is not there or not whole.
      RunError: the run is asked for and cannot be opened.
    """
    first_word, second_word = _two(words)
    trained = load_run(config) if RUN in (first_word, second_word) else None
    with progress("opening the versions"):
        versions = {word: _opened(config, word) for word in (first_word, second_word) if word != RUN}
    if len(versions) == 2 and len({release.version for release in versions.values()}) < 2:
        raise InputError(
            f"release compare: {first_word} and {second_word} are both version {versions[first_word].version}; name "
            "two different ones, or `run` for the run of the configuration"
        )
    notes: list[str] = []
    if trained is None:
        trained = _origin_of_either(config, list(versions.values()), notes)
    users = None if trained is None else users_of_run(trained, most, notes)
    if users is None or not len(users.frame):
        # The sample of the later version; a version always has one.
        latest = max(versions.values(), key=lambda release: release.version)
        users = _sampled_users(latest, most)
    if users.clicked is not None and trained is not None:
        notes += [note for release in versions.values() if (note := other_data(release, trained)) is not None]
    first, second = (
        of_run(trained, released(trained)) if word == RUN and trained is not None else of_release(versions[word])
        for word in (first_word, second_word)
    )
    comparison = compare(first, second, users)
    comparison.notes.extend(notes)
    if as_json:
        sys.stdout.write(json.dumps(comparison.to_json(), indent=2, allow_nan=False) + "\n")
    else:
        _print(comparison)
    return comparison


def of_run(trained: TrainedRun, vectors: ReleasedVectors) -> System:
    """A run as its release would be. Its users must be known to it, in ascending order of their rows."""
    prepared = trained.prepared

    def rows(users: pd.DataFrame) -> np.ndarray:
        return prepared.users.rows(users[columns.USER_ID].to_numpy(object))

    def intensities(users: pd.DataFrame) -> np.ndarray:
        asked = rows(users)
        return vectors.users.encoder.intensities(asked, vectors.users.audience.histories(asked))

    def bins(ids: np.ndarray) -> np.ndarray:
        return prepared.bins[prepared.items.rows(ids)]

    return System(
        name=f"run {trained.config.run.name}",
        ids=prepared.items.known,
        item_vectors=lambda positions: vectors.items[FIRST_ROW + positions],
        user_vectors=lambda users: vectors.users[rows(users)],
        bins=bins,
        intensities=intensities if trained.model.weighs_modalities else None,
        modalities=tuple(prepared.modalities),
    )


def users_of_run(trained: TrainedRun, most: int | None, notes: list[str]) -> ComparedUsers:
    """Users with test clicks, which are what the log has latest; their histories are their training clicks.

    Without test clicks all users may be drawn, and a note says that nothing can be judged.
    """
    prepared, config = trained.prepared, trained.config
    rows, _ = report.drawn_users(prepared, columns.TEST, config.evaluation)
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
    return ComparedUsers(frame, _test_clicks(prepared, rows) if judged else None, counts)


def other_data(release: Release, trained: TrainedRun) -> str | None:
    """What is to be said of a version that was trained on other data than the run whose test clicks judge."""
    if release.manifest["prepared"] == run_files.data_digest(trained.prepared):
        return None
    known = (
        f"version {release.version} was trained on other data than run {trained.config.run.name}, whose test clicks "
        "judge"
    )
    if trained.prepared.manifest["split"] == "time":
        # Of a log that has grown at its end, an earlier night's training clicks end before these test clicks begin.
        return f"{known}; unless it was split by time too, and the log has only grown since, its quality is overstated"
    return f"{known}; it may have been trained on some of them, and then its quality is overstated"


def _two(words: Sequence[str]) -> tuple[str, str]:
    if not 1 <= len(words) <= 2:
        got = ", ".join(map(quoted, words)) or "nothing"
        raise InputError(
            f"release compare: got {got}; expected two of a version number, {CURRENT} and {RUN}, or one of them, which "
            "is compared with the current version"
        )
    for word in words:
        if word not in (CURRENT, RUN) and not re.fullmatch("[1-9][0-9]{0,17}", word):
            raise InputError(
                f"release compare: got {quoted(word)}; expected a version number, {CURRENT} or {RUN} (the run of the "
                "configuration, run.name)"
            )
    first, second = words if len(words) == 2 else (CURRENT, words[0])
    if first == second:
        raise InputError(f"release compare: got {first} twice; name two different versions, or one and {RUN}")
    return first, second


def _opened(config: Config, word: str) -> Release:
    return open_release(config.release_folder, None if word == CURRENT else int(word))


def _origin_of_either(config: Config, versions: Sequence[Release], notes: list[str]) -> TrainedRun | None:
    """The configuration's run if one of the versions came from it; otherwise None, and a note says why."""
    if not os.path.lexists(config.run_folder / run_files.CONFIG_FILE):
        runs = " or ".join(dict.fromkeys(str(release.manifest["run"]) for release in reversed(versions)))
        notes.append(
            f"{config.run_folder} holds no run, so quality is not compared; name the run of a version by run.name="
            f"{runs} run.release_name={versions[0].folder.name}"
        )
        return None
    try:
        trained = load_run(config)
    except RunError as error:
        notes.append(f"quality is not compared: {error}")
        return None
    if any(released_from(release.manifest, trained) for release in versions):
        return trained
    notes.append(f"neither version came from run {config.run.name} as it is now, so quality is not compared")
    return None


def _sampled_users(release: Release, most: int) -> ComparedUsers:
    """The users whom a version keeps, with their histories up to the end of its log."""
    frame = release.sample().users
    frame = frame.iloc[np.arange(min(most, len(frame)))].reset_index(drop=True)
    history = pd.Series([list(one) for one in frame[columns.HISTORY]], dtype=object)
    return ComparedUsers(
        pd.DataFrame({columns.USER_ID: frame[columns.USER_ID], columns.HISTORY: history, columns.EXCLUSIONS: history})
    )


def _test_clicks(prepared: Prepared, rows: np.ndarray) -> pd.Series:
    """The items that each user has clicked in the test split, as lists of ids."""
    clicks = prepared.split(columns.TEST, rows)
    ids = prepared.items.ids(clicks[columns.ITEM_ROW].to_numpy())
    owners = np.searchsorted(rows, clicks[columns.USER_ROW].to_numpy())
    ends = np.cumsum(np.bincount(owners, minlength=len(rows)))[:-1]
    return pd.Series(np.split(ids, ends), dtype=object, name="clicked")


_FIGURES: Mapping[str, tuple[str, str]] = {
    "items": ("items that it can list", ",d"),
    "coverage": ("coverage: share of its items in some list", ".2%"),
    "cold_share": ("places of cold items (popularity bin 0)", ".2%"),
    "new_share": ("places of items that the other lacks", ".2%"),
    "popularity_bin": ("popularity bin of a listed item, mean", ".3f"),
    "training_clicks": ("training clicks of a listed item, mean", ".2f"),
    "score": ("score of a listed item, mean", ".4f"),
    "score_spread": ("and its standard deviation", ".4f"),
}


def _print(comparison: Comparison) -> None:
    names = comparison.first, comparison.second
    title = f"lists of {LENGTH} for the same {comparison.users:,} users"
    table = Table("figure", *names, "change", title=title, title_justify="left")
    for key, (meaning, form) in _FIGURES.items():
        values = [value for name in names if (value := comparison.figures[name].get(key)) is not None]
        if len(values) == len(names):
            table.add_row(
                meaning, *(format(value, form) for value in values), format(values[1] - values[0], f"+{form}")
            )
    for name, figures in (comparison.intensities or {}).items():
        both = figures["first"], figures["second"]
        cells = (*(f"{value:.4f}" for value in both), f"{both[1] - both[0]:+.4f}")
        table.add_row(f"intensity of {name}, mean", *cells)
    for metric, test in (comparison.quality or {}).items():
        # The second system is the one that is tested against what was there first.
        cells = (f"{test.second:.4f}", f"{test.first:.4f}", f"{test.difference:+.4f}")
        table.add_row(f"{metric} on {test.users:,} users' test clicks", *cells)
    console.print(table)
    for line in _sentences(comparison):
        say(line)
    for note in comparison.notes:
        say(f"note: {note}")


def _sentences(comparison: Comparison) -> list[str]:
    shown = partial(_shown, form=".3f")
    lines = [
        f"overlap of lists at {LENGTH}: {shown(comparison.overlap)} of the places on average; the same list for "
        f"{comparison.same_lists:.1%} of the users",
        "rank correlation of what both lists of a user hold (Kendall's tau, mean): "
        f"{shown(comparison.rank_correlation)}",
    ]
    if comparison.scores is not None:
        found = comparison.scores
        lines.append(
            f"scores of {found['pairs']:,} pairs of a user and a listed item: correlation "
            f"{shown(found['correlation'])}, mean change {found['difference']:+.4f}, mean absolute change "
            f"{found['absolute_difference']:.4f}"
        )
    if comparison.intensity_drift is not None:
        lines.append(
            f"intensity drift: {comparison.intensity_drift:.4f} (half the sum of absolute changes of a user's "
            "intensities, mean over users; 1 at most)"
        )
    for metric, test in (comparison.quality or {}).items():
        lines.append(
            f"{metric}: change {test.difference:+.4f}, 95% interval {test.low:+.4f} to {test.high:+.4f}, paired "
            f"t-test p = {test.p_value:.3g}"
        )
    return lines


def _shown(value: Any, form: str) -> str:
    return "none" if value is None else format(value, form)
