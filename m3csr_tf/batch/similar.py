"""Similar items: for each query item the nearest others by cosine, one by one or as a batch job.

Every item that may be listed is compared, so no neighbour is missed. An item is never in its own list.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.batch import job as jobs
from m3csr_tf.batch.cosine import CosineSpace
from m3csr_tf.batch.filters import Filters, filter_files, select
from m3csr_tf.batch.job import Advance, BatchJob, Engine, InputsChanged, JobStatus
from m3csr_tf.batch.job_folder import JobFacts, JobFolder, PartFacts
from m3csr_tf.batch.listed import check_listed
from m3csr_tf.batch.lists import ListMaker
from m3csr_tf.batch.prefetch import prefetched
from m3csr_tf.batch.query_items import FileOfContent, FileOfIds, ItemsOfRelease, QueryItemBatch, QueryItems
from m3csr_tf.batch.search import Candidates, Seen
from m3csr_tf.config import ColdConfig, IndexConfig, SimilarConfig
from m3csr_tf.errors import InputError
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.index import build_index
from m3csr_tf.releases.release import Release
from m3csr_tf.util.quoting import quoted

_FORMAT = 1
"""Of the lists; lists of another one are made again."""
_PREFETCH_DEPTH = 2
"""Batches that wait between two steps."""
_LISTED_AT_ONCE = 1 << 20
"""Places of the lists of a batch: where lists are very long, its items are fewer."""
_EXACT = IndexConfig(kind="exact")


class Neighbours(NamedTuple):
    """The nearest items of some query items.

    Attributes:
      ids: of the query items, object array of str [queries].
      unit: their compared entries at length 1, float32 [queries, width]; zeros of one that has nothing of them.
      rows: of the release's index, int64 [queries, n], nearest first; NO_ITEM where a list ends.
      cosines: float32 [queries, n].
      facts: counts of the queries, their rows left out.
    """

    ids: np.ndarray
    unit: np.ndarray
    rows: np.ndarray
    cosines: np.ndarray
    facts: PartFacts


class SimilarItems:
    """Finds the nearest items of a release, as its index is when this is made; the index may change afterwards.

    All compared vectors are held once more, at length 1: 4 bytes an entry.

    Args:
      release: a release.
      by: what is compared: "vector", "content", or the name of a modality (`CosineSpace`).
      n: length of the lists, which end where no more items may be listed.
      filters: which items may be listed; all of them when None.

    Raises:
      InputError: the vectors have no such parts, or no item may be listed.
    """

    def __init__(self, release: Release, by: str, n: int, filters: Filters | None = None) -> None:
        self.space = CosineSpace.of(release, by)
        self._release, self._asked = release, n
        self._unit = self.space.unit_items(release)
        self._rows = pd.Index(release.index.ids)
        self._ids = pa.array(release.index.ids, pa.string())
        filters = filters or Filters(section=SimilarConfig.section)
        self._selection = select(release, filters, _EXACT, self._candidates)
        self.length = min(n, self._selection.candidates.count)
        """Of the longest list that there can be, at most n."""
        self.schema = pa.schema(
            [
                (columns.ITEM_ID, pa.string()),
                (columns.RANK, pa.int32()),
                (columns.SIMILAR_ITEM_ID, pa.string()),
                (columns.COSINE, pa.float32()),
                (columns.MODEL_VERSION, pa.int32()),
                *((columns.part_column(part), pa.float32()) for part in self.space.parts),
            ]
        )
        """Columns of the lists and their types."""

    def find(self, batch: QueryItemBatch, n: int | None = None) -> Neighbours:
        """The nearest items of some query items.

        Those that are given by an id that the release lacks, and those that have nothing of what is compared, get empty
        lists.

        Args:
          batch: the query items.
          n: length of the lists, if another one than that of all lists.

        Raises:
          InputError: the item tower has no finite vector for content that is given.
        """
        lists = ListMaker(self._release, self._selection, self._asked if n is None else n)
        rows = self._rows.get_indexer(batch.ids)
        known = rows >= 0
        unit = np.zeros([len(batch.ids), self._unit.shape[1]], np.float32)
        if batch.content is None:
            unit[known] = self._unit[rows[known]]
        else:
            vectors = self._release.item_vectors(batch.content)
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                raise InputError(
                    f"the item tower gives item {quoted(batch.ids[int(np.argmin(finite))])} a vector that is not "
                    f"finite ({int((~finite).sum())} such items); check its content vectors"
                )
            unit = self.space.unit(vectors)
        compared = unit.any(axis=1)
        found = np.full([len(batch.ids), lists.length], NO_ITEM, np.int64)
        cosines = np.full(found.shape, -np.inf, np.float32)
        some = np.flatnonzero(compared)
        if len(some):
            own = np.flatnonzero(known[some])
            themselves = Seen(own, rows[some[own]], len(self._rows))
            found[some], cosines[some] = lists.nearest(unit[some], themselves)
        by_id = batch.content is None
        strangers = int((~known).sum()) if by_id else 0
        facts = PartFacts(
            inputs=len(batch.ids),
            short=int((compared & ((found != NO_ITEM).sum(axis=1) < (self._asked if n is None else n))).sum()),
            empty=int((~compared).sum()) - strangers,
            ids=len(batch.ids) if by_id else 0,
            unknown_ids=strangers,
        )
        return Neighbours(batch.ids, unit, found, cosines, facts)

    def table(self, found: Neighbours) -> pa.Table:
        """The lists, a row an item, with the parts of the cosines, which sum to them."""
        owner, place = np.nonzero(found.rows != NO_ITEM)
        rows = found.rows[owner, place]
        parts = np.empty([len(self.space.parts), len(rows)], np.float32)
        for start in range(0, len(rows), _LISTED_AT_ONCE >> 4):
            some = slice(start, start + (_LISTED_AT_ONCE >> 4))
            products = self._unit[rows[some]] * found.unit[owner[some]]
            for part, where in zip(parts, self.space.slices.values(), strict=True):
                part[some] = products[:, where].sum(axis=1)
        arrays = [
            pa.array(found.ids, pa.string()).take(pa.array(owner)),
            pa.array((place + 1).astype(np.int32)),
            self._ids.take(pa.array(rows)),
            pa.array(np.clip(found.cosines[owner, place], -1, 1)),
            pa.array(np.full(len(owner), self._release.version, np.int32)),
            *map(pa.array, parts),
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _candidates(self, kept: np.ndarray) -> Candidates:
        rows = np.flatnonzero(kept & self._unit.any(axis=1))
        if not len(rows):
            raise InputError(
                f"similar.by={self.space.by}: none of the {int(kept.sum()):,} items that may be listed has it, so "
                "there is nothing to compare"
            )
        return Candidates(build_index(self._release.index.ids[rows], self._unit[rows], _EXACT), rows=rows)


def similar(
    release: Release,
    queries: FileOfIds | FileOfContent | None,
    output: Path,
    config: SimilarConfig,
    engine: Engine = jobs.here,
    cold: ColdConfig | None = None,
) -> JobStatus:
    """Makes the lists of all query items, or of the share of `config.shard`, as a job (`job.run`).

    Columns: item_id (the query), rank (from 1), similar_item_id, cosine, model_version, and part_<part> for each part
    that is compared, which sum to the cosine. Query items come in the order of the input, with one row group a batch.
    One that gets no list has no row; the outcome counts such items (`empty`, `unknown_ids`).

    Args:
      release: a verified release; index and tower are loaded if there is something to do.
      queries: whose neighbours; all items of the release, as of now, when None.
      output: the link.
      config: what is compared, length of the lists, filters, items of a batch and of a part, share.
      engine: where parts are made; the lists are the same.
      cold: which items are cold; those without a click if None.

    Raises:
      InputError: items or filters cannot be read or leave nothing, the release has nothing of what is to be compared,
        items change while they are read, or the output cannot be written.
      RunError: the output is something else than lists of similar items, or another job is being made for it.
      ReleaseError: the release cannot be loaded, or not as it was when the job began.
    """
    CosineSpace.of(release, config.by)  # Before anything is read or written.
    filters = Filters.read(config, cold)
    identity = {
        "format": _FORMAT,
        "release": release.manifest["fingerprint"],
        "source": "release" if queries is None else type(queries).__name__,
        "filters": filter_files(config),
        "settings": {name: getattr(config, name) for name in ("by", "top_n", "batch_size", "only", "cold_quota")}
        | filters.ages.identity(),
    }

    def items(position: int) -> QueryItems:
        return queries or ItemsOfRelease(Release(release.folder, release.manifest, until=position))

    def work(facts: JobFacts) -> SimilarityJob:
        then = replace(filters, ages=filters.ages.at(facts.now))
        return SimilarityJob(jobs.as_it_was(release, facts.position), items(facts.position), then, config)

    position = release.journal.length()
    job = BatchJob(
        items(position),
        "query items",
        identity,
        release.version,
        position,
        work,
        output,
        f"{config.section}.output",
        filters.ages.clock(),
    )
    return jobs.run(job, config, engine)


@dataclass(frozen=True)
class SimilarityJob:
    """The work of a job that finds similar items.

    Attributes:
      release: as of the job's position.
      queries: whose neighbours.
      filters: what is in no list.
      config: see `similar`.
    """

    release: Release
    queries: QueryItems
    filters: Filters
    config: SimilarConfig

    @property
    def paths(self) -> list[Path]:
        """See `job.BatchWork`."""
        return [self.release.folder, *([] if self.queries.path is None else [self.queries.path])]

    def open_maker(self) -> SimilarPartMaker:
        """See `job.BatchWork`."""
        check_filters(self.release, self.filters, self.config)
        finder = SimilarItems(self.release, self.config.by, self.config.top_n, self.filters)
        return SimilarPartMaker(finder, self.release, self.queries, self.config)

    def shared(self, path: Path) -> SimilarityJob:
        """See `job.BatchWork`; all of it lies in files."""
        return self


@dataclass(frozen=True)
class SimilarPartMaker:
    """Makes parts of lists of similar items.

    Attributes:
      finder: of neighbours.
      release, queries, config: see `SimilarityJob`.
    """

    finder: SimilarItems
    release: Release
    queries: QueryItems
    config: SimilarConfig

    def make(self, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
        """See `job.PartMaker`; reading, searching and writing overlap, each in a thread of its own."""
        size = max(1, min(self.config.batch_size, _LISTED_AT_ONCE // self.finder.length))
        read = prefetched(self.queries.read(parts, self.config.part_size, size), _PREFETCH_DEPTH)
        searches = ((part, self.finder.find(self._checked(batch))) for part, batch in read)
        with closing(read), closing(prefetched(searches, _PREFETCH_DEPTH)) as searched:
            for part, part_batches in groupby(searched, key=itemgetter(0)):
                with job.writing(part, self.finder.schema) as writer:
                    for _, found in part_batches:
                        writer.write(self.finder.table(found), found.facts)
                        advance(found.facts.inputs)
                    if writer.facts.inputs != job.size(part):
                        raise InputsChanged

    def _checked(self, batch: QueryItemBatch) -> QueryItemBatch:
        if batch.content is not None:
            self.release.check_placed(batch.ids, str(self.queries.path))
        return batch


def check_filters(release: Release, filters: Filters, config: SimilarConfig) -> None:
    """Refuses files of filters that cannot mean what they say (`listed.check_listed`).

    Raises:
      InputError: no id of one is known, or an id seems to be several.
    """
    for name, path, ids in (("block", config.block, filters.block), ("allow", config.allow, filters.allow)):
        if path is not None and ids is not None:
            check_listed(path, ids, release, f"{config.section}.{name}")
