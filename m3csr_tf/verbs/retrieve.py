"""retrieve: makes top-N lists with a release."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow.parquet as pq
from rich.table import Table

from m3csr_tf import columns, explain
from m3csr_tf.batch.ages import AgeRules
from m3csr_tf.batch.job import JobStatus
from m3csr_tf.batch.retrieval import retrieve as retrieve_lists
from m3csr_tf.batch.summary import distinct_lists, doubts, said_of
from m3csr_tf.batch.user_histories import UserHistories
from m3csr_tf.batch.users import FileOfUsers, PreparedUsers, Users
from m3csr_tf.config import Config
from m3csr_tf.data.audience import Audience
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.training import run_files
from m3csr_tf.util.files import regular
from m3csr_tf.util.progress import progress
from m3csr_tf.util.quoting import shortened
from m3csr_tf.verbs.batch_jobs import engine_of, parts_made, print_missing
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.origin import origin

logger = logging.getLogger(__name__)

_EXAMPLE_LISTS = 10
_EXAMPLE_PLACES = 3
"""Numbers of lists, and of places of each, that are printed as examples."""


def retrieve(config: Config) -> Path:
    """Makes top-N lists with the release, for a file of users or for all users of the prepared data.

    Returns:
      The path of the link to the folder of the lists, which exists once all parts are there.

    Raises:
      InputError: the file of users or a filter is malformed.
      ReleaseError: the release cannot be opened.
      RunError: histories come from the run, which cannot be opened (`origin`).
    """
    with progress("opening the release"):
        released = open_release(config.release_folder)
    output = config.retrieve.output or config.run_folder / run_files.LISTS
    engine = engine_of(config, config.retrieve)
    with progress("reading the users"):
        users = users_of(config, released)
    done = retrieve_lists(released, users, output, config.retrieve, config.index, engine, config.cold)
    _print_done(done, config)
    if not done.missing:
        _print_counts(done, released, users, config)
        _print_examples(done.folder, released)
    return output


def users_of(config: Config, released: Release) -> Users:
    """Returns the users of `retrieve.users`, or all users of the run's log, from which missing histories come as well.

    Raises:
      InputError: the file cannot be read.
      RunError: histories come from the run, which is missing, or is not the one that was released (`origin`).
    """
    otherwise = "name a file of users and their histories, retrieve.users"
    if config.retrieve.users is not None:
        users = FileOfUsers(config.retrieve.users)
        if users.has_history:
            return users
        otherwise = f"give {config.retrieve.users} a column {columns.HISTORY}; without one, histories come from the run"
    trained = origin(config, released, otherwise)
    audience = Audience(trained.prepared, trained.config, columns.SPLITS)
    if config.retrieve.users is None:
        return PreparedUsers(trained.prepared, audience)
    return users.with_past(UserHistories(trained.prepared, audience))


def _print_done(done: JobStatus, config: Config) -> None:
    if done.missing:
        print_missing(done, config.retrieve)
        return
    say(f"{done.rows:,} rows for {done.inputs:,} users in {done.output} ({parts_made(done)})")
    if not done.made:
        say("these lists were made before; retrieve.overwrite=true makes them again")
    if done.short:
        rules = [f"retrieve.{name}" for name in ("cap", "near_duplicates") if getattr(config.retrieve, name)]
        gone = f"excluded, filtered or ruled out by {' and '.join(rules)}" if rules else "excluded or filtered"
        say(
            f"{done.short:,} lists are shorter than {config.retrieve.top_n}: the rest was seen, {gone}, or the "
            "catalogue is smaller"
        )


def _print_counts(done: JobStatus, released: Release, users: Users, config: Config) -> None:
    """Prints counts of the lists, and warns of what is suspicious, unless a later job has replaced the lists by now."""
    try:
        distinct = distinct_lists(done.folder)
    except FileNotFoundError:
        return
    say(said_of(done, distinct))
    for doubt in doubts(done, distinct, released, users, config.retrieve.part_size):
        logger.warning("%s: %s", done.output, doubt)
    for doubt in AgeRules.of(config.retrieve, config.cold).at(done.now).doubts(released):
        logger.warning("%s: %s", released.folder, doubt)


def _print_examples(folder: Path, released: Release) -> None:
    """Prints the top of the first lists with a reason for each item, unless a later job has replaced them by now."""
    try:
        first = min(folder.glob("part-*"), default=None)
        lists = first and next(pq.ParquetFile(regular(first)).iter_batches(batch_size=_EXAMPLE_LISTS * 1000), None)
    except FileNotFoundError:
        return
    if not lists:
        return
    lists = lists.to_pandas()
    table = Table("user", "rank", "item", "score", "because of", title="example lists", title_justify="left")
    for user in lists[columns.USER_ID].unique()[:_EXAMPLE_LISTS]:
        rows = lists[lists[columns.USER_ID] == user].head(_EXAMPLE_PLACES)
        for position, (_, row) in enumerate(rows.iterrows()):
            because = explain.reasons(row, released.layout)
            item = shortened(row[columns.ITEM_ID])
            cells = (str(row[columns.RANK]), item, f"{row[columns.SCORE]:.3f}", because)
            table.add_row("" if position else shortened(user), *cells, end_section=position == len(rows) - 1)
    console.print(table)
