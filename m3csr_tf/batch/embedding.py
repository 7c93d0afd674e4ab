"""The batch job that embeds items: it computes the item vectors of a release for a file of items, or for its own."""

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
from m3csr_tf.batch.job_folder import JobFacts, JobFolder, PartFacts
from m3csr_tf.batch.prefetch import prefetched
from m3csr_tf.config import EmbedConfig
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.releases.release import Release

_FORMAT = 1
"""Version of the format of the vectors; vectors of another version are computed again."""
_PREFETCH_DEPTH = 2
"""Number of batches that are queued between two stages of the pipeline."""
SCHEMA = pa.schema(
    [
        (columns.ITEM_ID, pa.string()),
        (columns.ITEM_VECTOR, pa.list_(pa.float32())),
        (columns.MODEL_VERSION, pa.int32()),
    ]
)
"""The columns of the output and their types."""


def embed(
    release: Release, items: FileOfItems | None, output: Path, config: EmbedConfig, engine: Engine = jobs.here
) -> JobStatus:
    """Computes the vectors of all items, or of the share of `config.shard`, as a batch job (`job.run`).

    The output has the columns item_id, item_vector (float32 [D]) and model_version (that of the release). Its items are
    in the order of the input, with one row group for each batch.

    Args:
      release: a verified release. Its item tower is loaded if there is work to do; its index is not loaded.
      items: the items to embed; None embeds the items that the release has now.
      output: the path of the link to the output.
      config: numbers of items of a batch and of a part, and the share of the parts to make.
      engine: where parts are made; the vectors do not depend on it.

    Raises:
      InputError: the items cannot be read or change while they are read, an item is new and the model has no vectors
        for new items, or the output cannot be written.
      RunError: the output path holds something other than a job's output, or another job is writing to it.
      ReleaseError: the release cannot be loaded.
    """
    identity = {
        "format": _FORMAT,
        "release": release.manifest["fingerprint"],
        "source": "release" if items is None else "file",
        "settings": {"batch_size": config.batch_size},
    }

    def work(facts: JobFacts) -> Embedding:
        whole_release = Release(release.folder, release.manifest, until=facts.position)
        return Embedding(release, items if items is not None else ReleaseItems(whole_release), config)

    # Vectors of the items of a file do not depend on the journal, so a refresh does not outdate them.
    position = release.journal.length() if items is None else 0
    inputs = items if items is not None else ReleaseItems(Release(release.folder, release.manifest, until=position))
    job = BatchJob(inputs, "items", identity, release.version, position, work, output, "embed.output")
    return jobs.run(job, config, engine)


@dataclass(frozen=True)
class Embedding:
    """The work of a job that embeds items (`job.BatchWork`), which also makes its own parts (`job.PartMaker`).

    Attributes:
      release: the release whose item tower is used.
      items: the items to embed.
      config: numbers of items of a batch and of a part.
    """

    release: Release
    items: Items
    config: EmbedConfig

    @property
    def paths(self) -> list[Path]:
        """See `job.BatchWork`."""
        return [self.release.folder, *([self.items.path] if isinstance(self.items, FileOfItems) else [])]

    def open_maker(self) -> Embedding:
        """See `job.BatchWork`; the item tower is loaded at the first batch."""
        return self

    def shared(self, path: Path) -> Embedding:
        """See `job.BatchWork`; all inputs are files, so other processes read them as they are."""
        return self

    def make(self, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
        """See `job.PartMaker`; reading, embedding and writing run at the same time, each in its own thread."""
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
        """Returns the vectors of some items as a table, one row for each item.

        Raises:
          InputError: an item is new, and the model has vectors only for the items that it was trained with.
        """
        if isinstance(self.items, FileOfItems):
            self.release.check_placed(items.frame[columns.ITEM_ID].to_numpy(dtype=object), str(self.items.path))
        return vectors_table(self.release, items)


def vectors_table(release: Release, items: Catalogue) -> pa.Table:
    """Returns the vectors of items as a table with the columns of `SCHEMA`, one row for each item."""
    vectors = release.item_vectors(items)
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * np.int32(vectors.shape[1])
    arrays = [
        pa.array(items.frame[columns.ITEM_ID], pa.string()),
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel())),
        pa.array(np.full(len(vectors), release.version, np.int32)),
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
