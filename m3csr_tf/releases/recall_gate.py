"""The recall gate of a live index: its recall against exact search, after all items that were added and removed."""

from __future__ import annotations

from dataclasses import dataclass

from m3csr_tf.releases.release import Release
from m3csr_tf.util.progress import progress

WORN = 0.2
"""Share of an index's items that may have changed before a rebuild is due, since its tree fits them less and less."""


LONG = 10_000
"""Number of journal segments beyond which a rebuild is due; each adds about a millisecond to opening a release."""
QUERIES = 500
"""Number of users on whom recall is measured; with millions of items, exact search for them takes seconds."""


@dataclass(frozen=True)
class Gate:
    """The result of the measurement.

    Attributes:
      recall: recall of the index as it is searched now.
      required: the least recall that is accepted.
      at: the k of the recall.
      changed: number of items that were added, changed or removed since the index was built.
      items: number of items of the index.
      segments: number of journal segments, which every process that opens the release must replay.
    """

    recall: float
    required: float
    at: int
    changed: int
    items: int
    segments: int

    @property
    def holds(self) -> bool:
        """Whether the required recall is reached."""
        return self.recall >= self.required

    @property
    def rebuild_due(self) -> bool:
        """Whether the index should be rebuilt."""
        return not self.holds or self.changed > WORN * self.items or self.segments > LONG


def recall_now(release: Release) -> Gate:
    """Measures the recall of a live index on the sample users that are stored with it."""
    index, settings = release.index, release.manifest["config"]["index"]
    with progress("measuring the recall of the index"):
        recall = index.measure(release.sample().vectors[:QUERIES])
    return Gate(recall, settings["recall"], settings["recall_at"], index.changed, len(index), release.position)
