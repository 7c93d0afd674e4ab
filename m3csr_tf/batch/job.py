"""The batch job: a release and users in, parts of lists out; it survives being killed and can be shared by machines."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from m3csr_tf import columns
from m3csr_tf.batch import output as outputs
from m3csr_tf.batch.ahead import ahead
from m3csr_tf.batch.filters import Filters, filter_files, select
from m3csr_tf.batch.lists import ListMaker
from m3csr_tf.batch.output import JobFolder, PartFacts
from m3csr_tf.batch.progress import Tracker, tracked
from m3csr_tf.batch.search import Seen
from m3csr_tf.batch.users import Users
from m3csr_tf.config import IndexConfig, RetrieveConfig
from m3csr_tf.errors import InputError
from m3csr_tf.serving.release import Release

_FORMAT = 1
"""Of the lists; lists of another one are made again."""
_AHEAD = 2
"""Batches that wait between two steps."""


class _UsersChanged(Exception):
    """The users are no more those that the job began with."""


@dataclass(frozen=True)
class Retrieved:
    """Where a job stands.

    Attributes:
      output: the link to the parts.
      folder: where the parts lie.
      users, rows, short: of the parts that are there: users, rows, and users with fewer than N items, because no more
        were left that they had not seen.
      parts: of the job.
      made: parts that this process made.
      missing: parts that are not there, which other processes are to make; only without any the lists are in place.
      position: segments of the release's journal that the lists know of.
    """

    output: Path
    folder: Path
    users: int
    rows: int
    short: int
    parts: int
    made: int
    missing: int
    position: int


def retrieve(
    release: Release, users: Users, output: Path, config: RetrieveConfig, index: IndexConfig | None = None
) -> Retrieved:
    """Makes the top-N lists of all users, or of the share of `config.shard`, and puts them in place when all are there.

    Columns: user_id, rank (from 1), item_id, score, model_version (the release's), part_id and part_<modality>. The
    parts sum to the score. They are kept as they are and not divided by it: a part can be negative, and then shares of
    the sum mean nothing; who wants shares of what speaks for an item divides the positive parts (`explain.reasons`).
    Users come in the order of the input, with one row group a batch. Users whom the release has never seen, and users
    without a history, get lists too.

    The lists are a folder of parquet parts behind a link, see `output`. Killed at any moment, the same call makes the
    parts that are missing, from the same items: fresh ones that came meanwhile are left to the next job. If release,
    users, filters or settings have changed, the job starts anew. A finished job is not made again.

    Args:
      release: a verified release; index and towers are loaded if there is something to do.
      users: whose lists; items of history and exclusions are left out of a user's list.
      output: the link.
      config: length of the lists, users of a batch and of a part, share, filters.
      index: recall and size from which a search is no longer exact, where filters leave few items and those get an
        index of their own.

    Raises:
      InputError: users or filters cannot be read or leave nothing to retrieve, users change while they are read, or the
        output cannot be written.
      RunError: the output is something else than the lists of a job, or another job is being made for it.
      ReleaseError: the release cannot be loaded, or not as it was when the job began.
    """
    if output.name in {"", ".."}:
        raise InputError(f"{output}: does not end in a name; retrieve.output must, e.g. runs/small/top_n")
    index = index or IndexConfig()
    filters = Filters.read(config)
    identity = _identity(release, users, config, index)
    position = release.journal.length()
    share, shares = config.shard_of
    try:
        with outputs.claimed(output, identity, release.version, position, users.count, config.overwrite) as job:
            own = range(share - 1, job.facts.parts, shares)
            there = {part: job.part(part) for part in own}
            todo = [part for part, facts in there.items() if facts is None]
            if todo:
                live = _as_it_was(release, job.facts.position)
                maker = ListMaker(live, select(live, filters, index), config.top_n)
                total = sum(_size(part, job, config) for part in own)
                with tracked(total, total - sum(_size(part, job, config) for part in todo)) as tracker:
                    try:
                        _make(job, todo, users, maker, config, tracker)
                        _require_same(users, job)
                    except _UsersChanged:
                        outputs.discard(output, job, todo)
                        raise InputError(f"{output}: the file of users changed while it was read; run again") from None
            while True:
                in_place = outputs.commit(output, job)
                done = _summary(output, job, len(todo))
                # Another process may have made the last part between the two.
                if in_place or done.missing:
                    return done
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror or error}); check retrieve.output") from None


def _identity(release: Release, users: Users, config: RetrieveConfig, index: IndexConfig) -> dict[str, Any]:
    """What the lists depend on, but for the journal."""
    settings = {name: getattr(config, name) for name in ("top_n", "batch_size", "only", "cold_quota")}
    return {
        "format": _FORMAT,
        "release": release.manifest["fingerprint"],
        "users": users.digest(),
        "filters": filter_files(config),
        "settings": settings | {"index": index.model_dump(mode="json")},
        "shard_users": config.shard_users,
    }


def _as_it_was(release: Release, position: int) -> Release:
    """The release as of a position of its journal."""
    if release.journal.length() == position and release.position == position:
        return release
    return Release(release.folder, release.manifest, until=position)


def _size(part: int, job: JobFolder, config: RetrieveConfig) -> int:
    """Users of a part."""
    return min(config.shard_users, job.facts.users - part * config.shard_users)


def _make(
    job: JobFolder, todo: Iterable[int], users: Users, maker: ListMaker, config: RetrieveConfig, tracker: Tracker
) -> None:
    # Reading, searching and writing overlap, each in a thread of its own.
    batches = users.read(list(todo), config.shard_users, config.batch_size)
    read = ahead(((part, *_with_seen(batch, maker)) for part, batch in batches), _AHEAD)
    with closing(read), closing(ahead(((part, maker.find(*of)) for part, *of in read), _AHEAD)) as searched:
        for part, of_part in groupby(searched, key=itemgetter(0)):
            with job.writing(part, maker.schema) as writer:
                for _, found in of_part:
                    writer.write(maker.table(found), len(found.users), found.short)
                    tracker.advance(len(found.users))
                if writer.facts.users != _size(part, job, config):
                    raise _UsersChanged


def _require_same(users: Users, job: JobFolder) -> None:
    """Raises _UsersChanged unless the users are still those that the job began with."""
    try:
        same = users.digest() == job.facts.identity["users"]
    except OSError:
        same = False
    if not same:
        raise _UsersChanged


def _with_seen(batch: pd.DataFrame, maker: ListMaker) -> tuple[pd.DataFrame, Seen]:
    """Users and what they have seen; their exclusions, which are that as well, need not wait in memory."""
    return batch[[columns.USER_ID, columns.HISTORY]], maker.seen(batch)


def _summary(output: Path, job: JobFolder, made: int) -> Retrieved:
    there = [facts for part in range(job.facts.parts) if (facts := job.part(part))]
    sums = PartFacts(*(sum(column) for column in zip(*there, strict=True))) if there else PartFacts(0, 0, 0)
    missing = job.facts.parts - len(there)
    return Retrieved(
        output, job.folder, *sums, parts=job.facts.parts, made=made, missing=missing, position=job.facts.position
    )
