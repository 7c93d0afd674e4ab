"""The recall gate of a live index: what it finds now, after all that came and went, against exact search."""

from __future__ import annotations

from dataclasses import dataclass

from m3csr_tf.releases.release import Release
from m3csr_tf.util.progress import progress

WORN = 0.2
"""Share of an index's items that may have changed before a build is due, whatever the recall: its tree has worn."""


LONG = 10_000
"""Segments of a journal from which a build is due: each takes about a millisecond whenever a release is opened."""
QUERIES = 500
"""Users that recall is measured on: exact search for them takes seconds where millions of items are live."""


@dataclass(frozen=True)
class Gate:
    """What was measured.

    Attributes:
      recall: share of the exact nearest that is found, as the index is searched now.
      required: the least that it must be.
      at: how many nearest are looked at.
      changed: items that came, changed or went since the index was built.
      items: that it holds.
      segments: of the journal, which every process that opens the release replays.
    """

    recall: float
    required: float
    at: int
    changed: int
    items: int
    segments: int

    @property
    def holds(self) -> bool:
        """Whether the recall is reached."""
        return self.recall >= self.required

    @property
    def rebuild_due(self) -> bool:
        """Whether the index should be built afresh."""
        return not self.holds or self.changed > WORN * self.items or self.segments > LONG


def recall_now(release: Release) -> Gate:
    """Measures the recall of a live index on the users kept with it."""
    index, settings = release.index, release.manifest["config"]["index"]
    with progress("measuring the recall of the index"):
        recall = index.measure(release.sample().vectors[:QUERIES])
    return Gate(recall, settings["recall"], settings["recall_at"], index.changed, len(index), release.position)
