"""The recall gate of a live index: what it finds now, after all that came and went, against exact search."""

from __future__ import annotations

from dataclasses import dataclass

from m3csr_tf.serving.release import Release

WORN = 0.2
"""Share of an index's items that may have changed before a build is due, whatever the recall: its tree has worn."""


@dataclass(frozen=True)
class Gate:
    """What was measured.

    Attributes:
      recall: share of the exact nearest that is found, as the index is searched now.
      asked: the least that it must be.
      at: how many nearest are looked at.
      changed: items that came, changed or went since the index was built.
      items: that it holds.
    """

    recall: float
    asked: float
    at: int
    changed: int
    items: int

    @property
    def holds(self) -> bool:
        """Whether the recall is reached."""
        return self.recall >= self.asked

    @property
    def rebuild_due(self) -> bool:
        """Whether the index should be built afresh."""
        return not self.holds or self.changed > WORN * self.items


def recall_now(release: Release) -> Gate:
    """Measures the recall of a live index on the users kept with it."""
    index, settings = release.index, release.manifest["config"]["index"]
    recall = index.measure(release.sample().vectors)
    return Gate(recall, settings["recall"], settings["recall_at"], index.changed, len(index))
