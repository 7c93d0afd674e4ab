"""release compare: shows what changes for the same users from one version of a release to another, or to a run."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from rich.table import Table

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.drift.comparison import Comparison, compare, quality
from m3csr_tf.drift.comparison_file import COMPARISON_FILE, FIGURES, StoredComparison
from m3csr_tf.drift.systems import ComparedUsers, of_release
from m3csr_tf.errors import InputError, RunError
from m3csr_tf.releases.publish import released_from
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.final_fit import FINAL_FIT
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.util.files import write_json
from m3csr_tf.util.progress import progress
from m3csr_tf.util.quoting import quoted
from m3csr_tf.verbs.compared_runs import (
    judged_instead,
    judged_release,
    known_clicks,
    of_run,
    other_data,
    users_of_run,
)
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.load_run import judge_of, load_released, run_that_chose
from m3csr_tf.verbs.released_vectors import released

logger = logging.getLogger(__name__)

CURRENT, RUN = "current", "run"
"""The words for the current version, and for the run of the configuration."""


def compare_versions(config: Config, words: Sequence[str], most: int, as_json: bool) -> Comparison:
    """Compares two systems on the same users, and prints tables, or only JSON (docs/releases.md).

    If the run is available, the comparison is also written into its folder, for the page of the run, and replaces an
    earlier one.

    Args:
      config: names the release, and the run on whose held-out clicks quality is compared.
      words: the two systems, each a version number, "current" or "run"; a single word is compared with the current
        version.
      most: largest number of users for whom the systems are compared.
      as_json: print JSON and nothing else.

    Raises:
      InputError: `words` does not hold one or two such words, or both name the same version.
      ReleaseError: a version does not exist or is incomplete.
      RunError: the run is one of the systems and cannot be opened, or it is trained anew during the comparison.
    """
    first_word, second_word = _two(words)
    trained = load_released(config) if RUN in (first_word, second_word) else None
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
    judge = None if trained is None else _judge(trained, notes)
    users = None if judge is None else users_of_run(judge, most, notes)
    if users is None or not len(users.frame):
        # Without users of a run, the sample of the later version serves, since every version has one.
        latest = max(versions.values(), key=lambda release: release.version)
        users = _sampled_users(latest, most)
    if users.clicked is not None and judge is not None:
        notes += [note for release in versions.values() if (note := other_data(release, judge)) is not None]
    first, second = (
        of_run(trained, released(trained)) if word == RUN and trained is not None else of_release(versions[word])
        for word in (first_word, second_word)
    )
    comparison = compare(first, second, users)
    if comparison.quality is not None and trained is not None and judge is not None:
        comparison = _judged(comparison, (first_word, second_word), versions, trained, judge, users, notes)
    comparison.notes.extend(notes)
    found = StoredComparison(release=config.release_folder.name, **comparison.to_json())
    if judge is not None:
        _keep(found, judge)
    if as_json:
        sys.stdout.write(json.dumps(found.model_dump(), indent=2, allow_nan=False) + "\n")
    else:
        _print(found)
    return comparison


def _judge(trained: TrainedRun, notes: list[str]) -> TrainedRun:
    """Returns the run whose test clicks judge quality (`judge_of`).

    If that run cannot be opened, the final fit is returned, which has no test clicks, and a note says why.
    """
    try:
        return judge_of(trained)
    except RunError as error:
        notes.append(f"quality is not compared: {error}")
        return trained


def _judged(
    comparison: Comparison,
    words: tuple[str, str],
    versions: Mapping[str, Release],
    trained: TrainedRun,
    judge: TrainedRun,
    users: ComparedUsers,
    notes: list[str],
) -> Comparison:
    """Returns the comparison with the quality of the run that chose in the place of each final fit on all clicks.

    Notes are added for such a replacement, and for a run whose initial weights know clicks that judge it.
    """
    records = {
        word: trained.finished | {"run": trained.config.run.name} if word == RUN else versions[word].manifest
        for word in words
    }
    notes += dict.fromkeys(note for word in words if (note := known_clicks(records[word], trained.config)) is not None)
    instead = list(dict.fromkeys(note for word in words if (note := judged_instead(records[word])) is not None))
    if not instead:
        return comparison
    try:
        systems = [
            of_run(judge, released(judge)) if word == RUN else judged_release(versions[word], trained.config)
            for word in words
        ]
    except RunError as error:
        notes.append(f"quality is not compared: {error}")
        return dataclasses.replace(comparison, quality=None)
    notes += instead
    return dataclasses.replace(comparison, quality=quality(systems[0], systems[1], users))


def _two(words: Sequence[str]) -> tuple[str, str]:
    """Returns the words for both systems, after checking them."""
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
    """Returns the run of the configuration if one of the versions came from it; otherwise None, and a note says why."""
    if not os.path.lexists(config.run_folder / run_files.CONFIG_FILE):
        runs = " or ".join(dict.fromkeys(str(release.manifest["run"]) for release in reversed(versions)))
        notes.append(
            f"{config.run_folder} holds no run, so quality is not compared; name the run of a version by run.name="
            f"{runs} run.release_name={versions[0].folder.name}"
        )
        return None
    try:
        trained = load_released(config)
    except RunError as error:
        notes.append(f"quality is not compared: {error}")
        return None
    if any(released_from(release.manifest, trained) for release in versions):
        return trained
    notes.append(f"neither version came from run {config.run.name} as it is now, so quality is not compared")
    return None


def _sampled_users(release: Release, most: int) -> ComparedUsers:
    """Returns the users of a version's sample, whose histories reach up to the end of its log."""
    frame = release.sample().users
    frame = frame.iloc[np.arange(min(most, len(frame)))].reset_index(drop=True)
    history = pd.Series([list(one) for one in frame[columns.HISTORY]], dtype=object)
    return ComparedUsers(
        pd.DataFrame({columns.USER_ID: frame[columns.USER_ID], columns.HISTORY: history, columns.EXCLUSIONS: history})
    )


def _keep(found: StoredComparison, judge: TrainedRun) -> None:
    """Writes the comparison into the run's folder, for the page of the run; if it cannot be written, a warning says so.

    Raises:
      RunError: the run has been trained anew since it was opened.
    """
    try:
        # A final fit has no page, so the comparison is kept for the page of the run that chose.
        host = run_that_chose(judge) if FINAL_FIT in judge.finished else judge
        runs.check_figures_fit(host)
    except RunError as error:
        logger.warning("the comparison is not kept for the page of the run: %s", error)
        return
    with runs.figures_of(host):
        write_json(host.config.run_folder / COMPARISON_FILE, found.model_dump())


def _print(found: StoredComparison) -> None:
    names = found.first, found.second
    title = f"lists of {found.length} for the same {found.users:,} users"
    table = Table("figure", *names, "change", title=title, title_justify="left")
    for figure, (meaning, form) in FIGURES.items():
        both = found.both(figure)
        if both is not None:
            table.add_row(meaning, *(format(value, form) for value in both), format(both[1] - both[0], f"+{form}"))
    for name, figures in (found.intensities or {}).items():
        both = figures["first"], figures["second"]
        cells = (*(f"{value:.4f}" for value in both), f"{both[1] - both[0]:+.4f}")
        table.add_row(f"intensity of {name}, mean", *cells)
    for metric, test in (found.quality or {}).items():
        cells = (f"{test.first:.4f}", f"{test.second:.4f}", f"{test.difference:+.4f}")
        table.add_row(f"{metric} on {test.users:,} users' test clicks", *cells)
    console.print(table)
    for line in found.sentences():
        say(line)
    for metric, test in (found.quality or {}).items():
        say(
            f"{metric}: change {test.difference:+.4f}, 95% interval {test.low:+.4f} to {test.high:+.4f}, paired "
            f"t-test p = {test.p_value:.3g}"
        )
    for note in found.notes:
        say(f"note: {note}")
