"""The job that embeds items: a release and items in, vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.batch import job as jobs
from m3csr_tf.batch.items import FileOfItems, Items, ReleaseItems
from m3csr_tf.batch.job import Advance, BatchJob, Engine, InputsChanged, JobStatus
from m3csr_tf.batch.job_folder import JobFolder, PartFacts
from m3csr_tf.batch.prefetch import prefetched
from m3csr_tf.config import EmbedConfig
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.releases.release import Release

_FORMAT = 1
"""Of the vectors; those of another one are made again."""
_PREFETCH_DEPTH = 2
"""Batches that wait between two steps."""
SCHEMA = pa.schema(
    [
        (columns.ITEM_ID, pa.string()),
        (columns.ITEM_VECTOR, pa.list_(pa.float32())),
        (columns.MODEL_VERSION, pa.int32()),
    ]
)
"""Columns of the vectors and their types."""


def embed(
    release: Release, items: FileOfItems | None, output: Path, config: EmbedConfig, engine: Engine = jobs.here
) -> JobStatus:
    """Makes the vectors of all items, or of the share of `config.shard`, as a job (`job.run`).

    Columns: item_id, item_vector (float32 [D]) and model_version (the release's). Items come in the order of the input,
    with one row group a batch.

    Args:
      release: a verified release; its item tower is loaded if there is something to do, its index is not.
      items: what to embed; the items of the release, as of now, when None.
      output: the link.
      config: items of a batch and of a part, share.
      engine: where parts are made; the vectors are the same.

    Raises:
      InputError: items cannot be read or change while they are read, one is new and the model places no new items, or
        the output cannot be written.
      RunError: the output is something else than a job's, or another job is being made for it.
      ReleaseError: the release cannot be loaded.
    """
    identity = {
        "format": _FORMAT,
        "release": release.manifest["fingerprint"],
        "source": "release" if items is None else "file",
        "settings": {"batch_size": config.batch_size},
    }

    def work(position: int) -> Embedding:
        whole_release = Release(release.folder, release.manifest, until=position)
        return Embedding(release, items if items is not None else ReleaseItems(whole_release), config)

    # The vector of an item that is given does not depend on the journal.
    position = release.journal.length() if items is None else 0
    inputs = items if items is not None else ReleaseItems(Release(release.folder, release.manifest, until=position))
    job = BatchJob(inputs, "items", identity, release.version, position, work, output, "embed.output")
    return jobs.run(job, config, engine)


@dataclass(frozen=True)
class Embedding:
    """The work of a job that embeds.

    Attributes:
      release: for its item tower.
      items: what to embed.
      config: items of a batch and of a part.
    """

    release: Release
    items: Items
    config: EmbedConfig

    @property
    def paths(self) -> list[Path]:
        """See `job.BatchWork`."""
        return [self.release.folder, *([self.items.path] if isinstance(self.items, FileOfItems) else [])]

    def open_maker(self) -> Embedding:
        """See `job.BatchWork`; the tower is loaded by its first batch."""
        return self

    def shared(self, path: Path) -> Embedding:
        """See `job.BatchWork`; all of it lies in files."""
        return self

    def make(self, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
        """See `job.PartMaker`; reading, embedding and writing overlap, each in a thread of its own."""
        read = prefetched(self.items.read(parts, self.config.part_size, self.config.batch_size), _PREFETCH_DEPTH)
        with (
            closing(read),
            closing(prefetched(((part, self.table(batch)) for part, batch in read), _PREFETCH_DEPTH)) as embedded,
        ):
            for part, part_batches in groupby(embedded, key=itemgetter(0)):
                with job.writing(part, SCHEMA) as writer:
                    for _, table in part_batches:
                        writer.write(table, PartFacts(inputs=len(table)))
                        advance(len(table))
                    if writer.facts.inputs != job.size(part):
                        raise InputsChanged

    def table(self, items: Catalogue) -> pa.Table:
        """The vectors of items, a row an item.

        Raises:
          InputError: an item is new to a model that has vectors only for those it was trained with.
        """
        if isinstance(self.items, FileOfItems):
            self.release.check_placed(items.frame[columns.ITEM_ID].to_numpy(dtype=object), str(self.items.path))
        return vectors_table(self.release, items)


def vectors_table(release: Release, items: Catalogue) -> pa.Table:
    """The vectors of items as a job writes them, a row an item."""
    vectors = release.item_vectors(items)
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * np.int32(vectors.shape[1])
    arrays = [
        pa.array(items.frame[columns.ITEM_ID], pa.string()),
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel())),
        pa.array(np.full(len(vectors), release.version, np.int32)),
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
