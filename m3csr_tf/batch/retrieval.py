"""The top-N job: it makes the lists of a release for some users."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from m3csr_tf import columns
from m3csr_tf.batch import job as jobs
from m3csr_tf.batch.filters import Filters, filter_files, select
from m3csr_tf.batch.job import Advance, BatchJob, Engine, InputsChanged, JobStatus
from m3csr_tf.batch.job_folder import JobFacts, JobFolder, PartFacts
from m3csr_tf.batch.known import KnownIds
from m3csr_tf.batch.list_rules import ListRules, check_rules, without_value
from m3csr_tf.batch.listed import check_listed
from m3csr_tf.batch.lists import ListMaker
from m3csr_tf.batch.prefetch import prefetched
from m3csr_tf.batch.search import Seen
from m3csr_tf.batch.users import FileOfUsers, Users
from m3csr_tf.config import ColdConfig, IndexConfig, RetrieveConfig
from m3csr_tf.releases.release import Release

logger = logging.getLogger(__name__)

_FORMAT = 3
"""Version of the format of the lists; lists of another version are made again."""
_PREFETCH_DEPTH = 2
"""Number of batches that are queued between two stages of the pipeline."""
LISTED_AT_ONCE = 1 << 22
"""Largest number of list positions of a batch; if lists are very long, a batch has fewer users."""


def retrieve(
    release: Release,
    users: Users,
    output: Path,
    config: RetrieveConfig,
    index: IndexConfig | None = None,
    engine: Engine = jobs.here,
    cold: ColdConfig | None = None,
) -> JobStatus:
    """Makes the top-N lists of all users, or of the share of `config.shard`, as a batch job (`job.run`).

    The output has the columns user_id, rank (from 1), item_id, score, model_version (that of the release), part_id and
    part_<modality>. The parts sum to the score. They are not divided by it, because parts can be negative, and shares
    of a sum with negative terms mean nothing; to get shares of what speaks for an item, divide the positive parts by
    their sum (`explain.reasons`). Users are in the order of the input, with one row group for each batch. Users who are
    unknown to the release, and users without a history, get lists too.

    A job that was killed continues with the items, and at the time, it began with; items added meanwhile are left to
    the next job. Lists that depend on the clock (`retrieve.now`) are made anew by every call.

    Args:
      release: a verified release; its index and towers are loaded if there is work to do.
      users: the users; items of their histories and exclusions are left out of their lists.
      output: the path of the link to the output.
      config: length of the lists, numbers of users of a batch and of a part, the share of the parts to make, filters.
      index: the recall, and the number of items from which a search is no longer exact, for the case that filters leave
        few items, which then get an index of their own.
      engine: where parts are made; the lists do not depend on it.
      cold: which items are cold; those without a click if None.

    Raises:
      InputError: users or filters cannot be read, no item remains, the release lacks what a rule of lists looks at,
        ages are asked for and no item has a publish time, the users change while they are read, or the output cannot
        be written.
      RunError: the output path holds something other than a job's lists, or another job is writing to it.
      ReleaseError: the release cannot be loaded, or not as it was when the job began.
    """
    index = index or IndexConfig()
    check_rules(release, config.cap, config.near_duplicates)
    filters = Filters.read(config, cold)
    settings = {name: getattr(config, name) for name in ("top_n", "batch_size", "only", "cold_quota")}
    # A setting that asks for nothing is left out, so that lists which were made before there was such a setting remain.
    settings |= {name: value for name in ("cap", "near_duplicates") if (value := getattr(config, name))}
    identity = {
        "format": _FORMAT,
        "release": release.manifest["fingerprint"],
        "filters": filter_files(config),
        "settings": settings | {"index": index.model_dump(mode="json")} | filters.ages.identity(),
    }

    def work(facts: JobFacts) -> Retrieval:
        then = replace(filters, ages=filters.ages.at(facts.now))
        return Retrieval(jobs.as_it_was(release, facts.position), users, then, config, index)

    position = release.journal.length()
    for sentence in without_value(release, list(config.cap)):
        logger.warning(sentence)
    clock = filters.ages.clock()
    job = BatchJob(users, "users", identity, release.version, position, work, output, "retrieve.output", clock)
    return jobs.run(job, config, engine)


@dataclass(frozen=True)
class Retrieval:
    """The work of a top-N job (`job.BatchWork`).

    Attributes:
      release: the release as of the job's journal position.
      users: the users who get lists.
      filters: the filters of the lists.
      config, index: as in `retrieve`.
    """

    release: Release
    users: Users
    filters: Filters
    config: RetrieveConfig
    index: IndexConfig

    @property
    def paths(self) -> list[Path]:
        """See `job.BatchWork`."""
        return [self.release.folder, *([self.users.path] if isinstance(self.users, FileOfUsers) else [])]

    def open_maker(self) -> ListsOfParts:
        """See `job.BatchWork`."""
        for name, path, ids in (
            ("block", self.config.block, self.filters.block),
            ("allow", self.config.allow, self.filters.allow),
        ):
            if path is not None and ids is not None:
                check_listed(path, ids, self.release, f"retrieve.{name}")
        selection = select(self.release, self.filters, self.index)
        rules = ListRules.of(self.release, self.config.cap, self.config.near_duplicates)
        maker = ListMaker(self.release, selection, self.config.top_n, rules)
        return ListsOfParts(maker, KnownIds(self.release), self.users, self.config)

    def shared(self, path: Path) -> Retrieval:
        """See `job.BatchWork`."""
        return replace(self, users=self.users.shared(path))


@dataclass(frozen=True)
class ListsOfParts:
    """Makes parts of a top-N job (`job.PartMaker`).

    Attributes:
      maker: makes the lists.
      known: the ids that the release knows.
      users: the users who get lists.
      config: numbers of users of a batch and of a part.
    """

    maker: ListMaker
    known: KnownIds
    users: Users
    config: RetrieveConfig

    def make(self, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
        """See `job.PartMaker`; reading, searching and writing run at the same time, each in its own thread."""
        maker = self.maker
        size = max(1, min(self.config.batch_size, LISTED_AT_ONCE // maker.length))
        batches = self.users.read(parts, self.config.part_size, size)
        read = prefetched(((part, self._query_batch(batch)) for part, batch in batches), _PREFETCH_DEPTH)
        searches = ((part, queries.facts, maker.find(queries.users, queries.seen)) for part, queries in read)
        with closing(read), closing(prefetched(searches, _PREFETCH_DEPTH)) as searched:
            for part, part_batches in groupby(searched, key=itemgetter(0)):
                with job.writing(part, maker.schema) as writer:
                    for _, facts, ranked in part_batches:
                        writer.write(maker.table(ranked), facts._replace(short=ranked.short))
                        advance(len(ranked.users))
                    if writer.facts.inputs != job.size(part):
                        raise InputsChanged

    def _query_batch(self, batch: pd.DataFrame) -> _QueryBatch:
        """Returns users with what they have seen; that includes their exclusions, which need not be kept as well."""
        history, exclusions = self.maker.ids(batch)
        if isinstance(self.users, FileOfUsers) and self.users.is_text:
            for name, ids in ((columns.HISTORY, history), (columns.EXCLUSIONS, exclusions)):
                self.known.refuse_separators(ids, batch.index, name, str(self.users.path))
        facts = self.known.facts(batch[columns.USER_ID].to_numpy(dtype=object), history, exclusions)
        return _QueryBatch(batch[[columns.USER_ID, columns.HISTORY]], self.maker.seen(history, exclusions), facts)


class _QueryBatch(NamedTuple):
    users: pd.DataFrame
    seen: Seen
    facts: PartFacts
